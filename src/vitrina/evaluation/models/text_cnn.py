"""The encoder's own network, trained from zero on each task (Kim 2014; paper A.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from vitrina.classification.linear import Labels, Rows, Scores, over_classes
from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.errors import InputError
from vitrina.evaluation.model import Fitted, Model
from vitrina.evaluation.task import Task
from vitrina.files import atomic_path
from vitrina.metrics import PRIMARY, Kind, metrics
from vitrina.progress import Progress
from vitrina.ragged import Ragged
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

if TYPE_CHECKING:
    from torch import Tensor

PIECES = 30_000
"""The largest vocabulary (paper A.1)."""
VALIDATION_ROWS = 1_000
"""Early stopping looks at so many validation rows: with few labels they cost as much as an epoch,
and a metric's spread over 1,000 rows is small beside its spread over subsamples."""

Loss: TypeAlias = Callable[["Tensor", Rows], "Tensor"]  # (n, outputs), row numbers -> number


@dataclass(frozen=True, kw_only=True)
class TextCNN(Model):
    """Embeddings and Text CNN as the paper's encoder has them, then dropout and a linear layer,
    all trained on the subsample alone (paper A.2).

    The vocabulary comes from the titles of all training rows, which takes no labels. Training
    stops after `patience` epochs without gain in the primary metric on validation rows, and the
    weights of the best epoch are kept.

    Attributes
    ----------
    seeds : networks a subsample; the mean of their metrics is reported (paper A.2)
    seeds_above : likewise, for subsamples of more than `few` labels
    few : labels
    epochs : at most
    patience : epochs
    batch_size : titles
    learning_rate : Adam's
    dropout : of the linear layer's inputs (Kim 2014, §2.1)
    """

    packages: ClassVar[tuple[str, ...]] = ("torch",)
    needs: ClassVar[str] = "a GPU in practice"

    seeds: int = 5
    seeds_above: int = 1
    few: int = 1_000
    epochs: int = 25
    patience: int = 5
    batch_size: int = 64
    learning_rate: float = 1e-3
    dropout: float = 0.5

    def repeats(self, size: int) -> int:
        return self.seeds if size <= self.few else self.seeds_above

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        """Train each task's tokenizer on the titles of its training rows."""
        missing = [task for task in tasks if not self._vocabulary(task).exists()]
        with Progress("Text CNN vocabularies", len(missing), quiet=quiet) as progress:
            for done, task in enumerate(missing):
                progress.update(done, task.name)
                tokenizer = TitleTokenizer.train(task.titles_of(task.train), Normalizer(), PIECES)
                with atomic_path(self._vocabulary(task)) as temporary:
                    temporary.write_bytes(tokenizer.model)
        return {}

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        """Train one network; its seed decides first weights, order, dropout and which validation
        rows are looked at."""
        self.check()
        import torch

        from vitrina.pretraining.torch_speed import faster_torch

        path = self._vocabulary(task)
        if not path.exists():
            raise InputError(f"{path}: no vocabulary for {task.name}; call prepare first")
        tokenizer = _tokenizer(path)
        rng = np.random.default_rng(seed)
        watched = task.validation
        if len(watched) > VALIDATION_ROWS:
            watched = rng.choice(watched, VALIDATION_ROWS, replace=False)
        titles, watched_titles = (tokenizer(task.titles_of(part)) for part in (rows, watched))
        outputs, loss, scores_of = _head(task.kind, task.labels[rows], len(task.classes))

        with torch.random.fork_rng(devices=[]), faster_torch():
            torch.manual_seed(seed)
            network = _Network(initial_weights(tokenizer, seed=seed), outputs, self)
            best, best_epoch, kept = -np.inf, 0, network.weights()
            for epoch in range(1, self.epochs + 1):
                order = rng.permutation(len(rows))
                for start in range(0, len(rows), self.batch_size):
                    batch = order[start : start + self.batch_size]
                    network.learn(titles.take(batch), loss, batch)
                scores = scores_of(network(watched_titles))
                value = metrics(task.kind, task.labels[watched], scores)[PRIMARY[task.kind]]
                if not value <= best:  # not-a-number, where all rows have one label, stops nothing
                    best, best_epoch, kept = value, epoch, network.weights()
                elif epoch - best_epoch >= self.patience:
                    break
        network.restore(kept)

        def score(rows: Rows) -> Scores:
            with faster_torch():
                return scores_of(network(tokenizer(task.titles_of(rows))))

        return Fitted(score, network.bytes, {"epochs": best_epoch})

    def _vocabulary(self, task: Task) -> Path:
        return self.folder / f"{task.digest}.sentencepiece"


class _Network:
    """Titles -> outputs of the linear layer, and Adam."""

    def __init__(self, start: EncoderWeights, outputs: int, settings: TextCNN) -> None:
        from torch import nn, optim

        from vitrina.pretraining.networks import EncoderNetwork

        self.encoder = EncoderNetwork(start)
        self.head = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(len(start.bias), outputs))
        dense = [self.encoder.filters, self.encoder.bias, *self.head.parameters()]
        self.parameters = [self.encoder.embeddings, *dense]
        self.bytes = sum(parameter.nbytes for parameter in self.parameters)
        # of a large vocabulary a batch has few pieces: Adam's work on the others, and their
        # movement by stale momentum, are left out
        self.optimizers = [
            optim.Adam(dense, settings.learning_rate, fused=True),
            optim.SparseAdam([self.encoder.embeddings], settings.learning_rate),
        ]

    def forward(self, titles: Ragged) -> Tensor:
        import torch
        from torch.nn import functional

        distinct, local = np.unique(titles.values, return_inverse=True)
        pieces = torch.from_numpy(distinct.astype(np.int64))
        embeddings = functional.embedding(pieces, self.encoder.embeddings, sparse=True)
        y = torch.func.functional_call(
            self.encoder,
            {"embeddings": embeddings},
            (torch.arange(len(pieces)), Ragged(local.astype(np.int32), titles.offsets)),
        )
        out: Tensor = self.head(y)
        return out

    def learn(self, titles: Ragged, loss: Loss, rows: Rows) -> None:
        self.head.train()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss(self.forward(titles), rows).backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.step()

    def __call__(self, titles: Ragged) -> Scores:
        import torch

        with torch.no_grad():
            self.head.eval()
            return self.forward(titles).numpy().astype(np.float64)

    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]

    def restore(self, weights: list[Tensor]) -> None:
        for parameter, kept in zip(self.parameters, weights, strict=True):
            parameter.data.copy_(kept)


def _head(kind: Kind, labels: Labels, classes: int) -> tuple[int, Loss, Callable[[Scores], Scores]]:
    """Number of outputs, loss, outputs -> scores.

    Cross entropy, binary or over the classes that the subsample has (the others score below
    them); squared error of the standardised labels.
    """
    import torch
    from torch.nn import functional

    if kind == "binary":
        truth = torch.from_numpy(labels.astype(np.float32))[:, None]
        return (
            1,
            lambda out, rows: functional.binary_cross_entropy_with_logits(out, truth[rows]),
            lambda out: out[:, 0],
        )
    if kind == "multiclass":
        known, code = np.unique(labels, return_inverse=True)
        number = torch.from_numpy(code)
        return (
            len(known),
            lambda out, rows: functional.cross_entropy(out, number[rows]),
            lambda out: over_classes(out, known, classes),
        )
    mean, std = labels.mean(), labels.std() or 1.0
    target = torch.from_numpy(((labels - mean) / std).astype(np.float32))[:, None]
    return (
        1,
        lambda out, rows: functional.mse_loss(out, target[rows]),
        lambda out: out[:, 0] * std + mean,
    )


@lru_cache(maxsize=2)  # it remembers the words that it has seen
def _tokenizer(path: Path) -> TitleTokenizer:
    return TitleTokenizer(path.read_bytes(), Normalizer())
