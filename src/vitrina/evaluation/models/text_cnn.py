"""The encoder's network, trained from scratch on each task (Kim 2014; paper A.2)."""

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
from vitrina.pretraining.openmp import sleeping_openmp
from vitrina.progress import Progress
from vitrina.ragged import Ragged
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

if TYPE_CHECKING:
    from torch import Tensor

VOCAB_SIZE = 30_000
"""Maximum number of SentencePiece pieces (paper A.1)."""
VALIDATION_ROWS = 1_000
"""Maximum number of validation rows that early stopping uses.

With few labels, evaluating these rows costs as much as an epoch. The standard deviation of a metric
on 1,000 rows is small compared with its standard deviation between subsamples.
"""

Loss: TypeAlias = Callable[["Tensor", Rows], "Tensor"]
"""Takes outputs of shape (n, outputs) and the n row numbers; returns the mean loss."""


@dataclass(frozen=True, kw_only=True)
class TextCNN(Model):
    """A Text CNN that is trained on the subsample alone (paper A.2).

    It has the embeddings and convolutions of the paper's encoder, then dropout and a linear layer.
    The vocabulary comes from the titles of all training rows, which needs no labels. Training stops
    after `patience` epochs without improvement of the primary metric on validation rows, and the
    weights of the best epoch are kept.

    Attributes
    ----------
    seeds : int, default 5
        Number of networks for each subsample of up to `few` labels; their metrics are averaged
        (paper A.2).
    seeds_above : int, default 1
        The same for subsamples of more than `few` labels.
    few : int, default 1,000
        Number of labels.
    epochs : int, default 25
        Maximum number of epochs.
    patience : int, default 5
        Number of epochs without improvement after which training stops.
    batch_size : int, default 64
        Number of titles in a batch.
    learning_rate : float, default 1e-3
        Learning rate of Adam.
    dropout : float, default 0.5
        Fraction of the linear layer's inputs that are dropped (Kim 2014, §2.1).
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
                titles = task.titles_of(task.train)
                tokenizer = TitleTokenizer.train(titles, Normalizer(), VOCAB_SIZE)
                with atomic_path(self._vocabulary(task)) as temporary:
                    temporary.write_bytes(tokenizer.model)
        return {}

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        """Train one network.

        The seed decides the initial weights, the order of the rows, dropout, and which validation
        rows early stopping uses.
        """
        self.check()
        with sleeping_openmp():
            import torch

        from vitrina.pretraining.torch_speed import faster_torch

        path = self._vocabulary(task)
        if not path.exists():
            raise InputError(f"{path}: no vocabulary for {task.name}; call prepare first")
        tokenizer = _load_tokenizer(path)
        rng = np.random.default_rng(seed)
        validation = task.validation
        if len(validation) > VALIDATION_ROWS:
            validation = rng.choice(validation, VALIDATION_ROWS, replace=False)
        titles = tokenizer(task.titles_of(rows))
        validation_titles = tokenizer(task.titles_of(validation))
        outputs, loss, scores_of = _head(task.kind, task.labels[rows], len(task.classes))

        with torch.random.fork_rng(devices=[]), faster_torch():
            torch.manual_seed(seed)
            network = _Network(initial_weights(tokenizer, seed=seed), outputs, self)
            best_value = -np.inf
            best_epoch = 0
            best_weights = network.weights()
            for epoch in range(1, self.epochs + 1):
                order = rng.permutation(len(rows))
                for start in range(0, len(rows), self.batch_size):
                    batch = order[start : start + self.batch_size]
                    network.learn(titles.take(batch), loss, batch)
                scores = scores_of(network(validation_titles))
                value = metrics(task.kind, task.labels[validation], scores)[PRIMARY[task.kind]]
                # The metric is NaN if all validation rows have one label. NaN counts as an
                # improvement here, so that it doesn't stop training.
                if not value <= best_value:
                    best_value = value
                    best_epoch = epoch
                    best_weights = network.weights()
                elif epoch - best_epoch >= self.patience:
                    break
        network.restore(best_weights)

        def predict_scores(rows: Rows) -> Scores:
            with faster_torch():
                return scores_of(network(tokenizer(task.titles_of(rows))))

        return Fitted(predict_scores, network.bytes, {"epochs": best_epoch})

    def _vocabulary(self, task: Task) -> Path:
        return self.folder / f"{task.digest}.sentencepiece"


class _Network:
    """The network and its optimisers.

    Calling it with n titles, as pieces, returns the outputs of the linear layer, ndarray of shape
    (n, outputs), float64.

    Parameters
    ----------
    start : EncoderWeights
        Initial weights of embeddings and convolutions.
    outputs : int
        Number of outputs of the linear layer.
    settings : TextCNN
    """

    def __init__(self, start: EncoderWeights, outputs: int, settings: TextCNN) -> None:
        from torch import nn, optim

        from vitrina.pretraining.networks import EncoderNetwork

        self.encoder = EncoderNetwork(start)
        self.head = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(len(start.bias), outputs))
        dense = [self.encoder.filters, self.encoder.bias, *self.head.parameters()]
        self.parameters = [self.encoder.embeddings, *dense]
        self.bytes = sum(parameter.nbytes for parameter in self.parameters)
        # A batch contains few pieces of a large vocabulary. SparseAdam updates only these: it saves
        # the work on all others and doesn't move them by old momentum.
        self.optimizers = [
            optim.Adam(dense, settings.learning_rate, fused=True),
            optim.SparseAdam([self.encoder.embeddings], settings.learning_rate),
        ]

    def forward(self, titles: Ragged) -> Tensor:
        import torch
        from torch.nn import functional

        # The encoder gets a table of only those pieces that occur, so that the gradient is sparse.
        distinct, local = np.unique(titles.values, return_inverse=True)
        pieces = torch.from_numpy(distinct.astype(np.int64))
        embeddings = functional.embedding(pieces, self.encoder.embeddings, sparse=True)
        local_titles = Ragged(local.astype(np.int32), titles.offsets)
        encoded = torch.func.functional_call(
            self.encoder,
            {"embeddings": embeddings},
            (torch.arange(len(pieces)), local_titles),
        )
        out: Tensor = self.head(encoded)
        return out

    def learn(self, titles: Ragged, loss: Loss, rows: Rows) -> None:
        """Take one training step; `rows` are the titles' row numbers, for the loss."""
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
        """Return a copy of all weights, for `restore`."""
        return [parameter.detach().clone() for parameter in self.parameters]

    def restore(self, weights: list[Tensor]) -> None:
        for parameter, kept in zip(self.parameters, weights, strict=True):
            parameter.data.copy_(kept)


def _head(kind: Kind, labels: Labels, classes: int) -> tuple[int, Loss, Callable[[Scores], Scores]]:
    """Choose the loss of a kind of task: cross-entropy, or squared error of standardised labels.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"}
    labels : ndarray of shape (n,)
        The subsample's labels.
    classes : int
        Number of classes of a multi-class task.

    Returns
    -------
    outputs : int
        Number of outputs of the linear layer. For a multi-class task these are the classes that the
        subsample has.
    loss : callable
        See `Loss`.
    scores_of : callable
        Takes the outputs and returns scores as in `Fitted.predict_scores`. A class that the
        subsample doesn't have scores below all others.
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
        known, codes = np.unique(labels, return_inverse=True)
        class_numbers = torch.from_numpy(codes)
        return (
            len(known),
            lambda out, rows: functional.cross_entropy(out, class_numbers[rows]),
            lambda out: over_classes(out, known, classes),
        )
    mean = labels.mean()
    std = labels.std() or 1.0  # equal labels all become 0
    target = torch.from_numpy(((labels - mean) / std).astype(np.float32))[:, None]
    return (
        1,
        lambda out, rows: functional.mse_loss(out, target[rows]),
        lambda out: out[:, 0] * std + mean,
    )


# kept between cells, because a tokenizer caches the words that it has seen
@lru_cache(maxsize=2)
def _load_tokenizer(path: Path) -> TitleTokenizer:
    return TitleTokenizer(path.read_bytes(), Normalizer())
