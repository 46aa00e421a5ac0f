"""SetFit: a sentence transformer, tuned on pairs of few labelled titles (Tunstall et al. 2022,
arXiv 2209.11055)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from sklearn.linear_model import LogisticRegression

from vitrina.classification.linear import Rows, Scores, over_classes
from vitrina.evaluation.model import Fitted, Model
from vitrina.evaluation.models.transformer import (
    ATTENTION,
    load,
    require_model,
    silent_transformers,
    source_digest,
)
from vitrina.evaluation.task import Task
from vitrina.metrics import Kind


@dataclass(frozen=True, kw_only=True)
class SetFit(Model):
    """The package setfit with its defaults: titles of one class are drawn together and those of two
    apart (cosine similarity towards 1 and 0), then logistic regression on the tuned vectors.

    The package would train on all pairs that it can make of the subsample, for hours on a
    processor; here it stops after `steps`.

    Attributes
    ----------
    source : folder or hub name of a sentence transformer
    steps : of training, at most
    batch_size : pairs a step
    max_length : tokens; the rest of a title is cut off
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(("binary", "multiclass"))
    packages: ClassVar[tuple[str, ...]] = ("torch", "sentence_transformers", "setfit")
    needs: ClassVar[str] = "a GPU in practice"
    max_size: ClassVar[int | None] = 1_000

    source: str
    steps: int = 60
    batch_size: int = 16
    max_length: int = 64

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "source": source_digest(self.source)}

    def check(self) -> None:
        super().check()
        require_model(self.source)

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        """Tune and learn; the seed decides the order of the pairs."""
        self.check()
        import torch

        from vitrina.pretraining.torch_speed import faster_torch

        setfit: Any = import_module("setfit")
        texts, labels = task.titles_of(rows), task.labels[rows].astype(np.int64).tolist()
        with torch.random.fork_rng(devices=[]), faster_torch(), _silent():
            body, head = self._body(), LogisticRegression()
            with TemporaryDirectory() as folder:
                arguments = setfit.TrainingArguments(
                    output_dir=folder,
                    max_steps=self.steps,
                    batch_size=self.batch_size,
                    seed=seed,
                    report_to="none",
                    save_strategy="no",
                    logging_strategy="no",
                    show_progress_bar=False,
                )
                trainer = setfit.Trainer(setfit.SetFitModel(body, head), arguments)
                for name in ("PrinterCallback", "ProgressCallback"):
                    trainer.pop_callback(getattr(import_module("transformers"), name))
                trainer.st_trainer.args.dataloader_pin_memory = False  # it would warn
                # not train(): it would look at the titles to write a model card
                trainer.train_embeddings(texts, labels)
                trainer.train_classifier(texts, labels)

        def score(rows: Rows) -> Scores:
            with faster_torch():
                vectors = body.encode(task.titles_of(rows), batch_size=64, show_progress_bar=False)
            found = np.asarray(head.decision_function(vectors), np.float64)
            if task.kind == "binary":
                return found
            if found.ndim == 1:  # two classes
                found = np.column_stack([-found, found])
            return over_classes(found, head.classes_, len(task.classes))

        return Fitted(score, sum(p.nbytes for p in body.parameters()) + head.coef_.nbytes)

    def _body(self) -> Any:
        from sentence_transformers import SentenceTransformer

        options = {"attn_implementation": ATTENTION, "dtype": "float32"}
        body = load(self.source, partial(SentenceTransformer, device="cpu", model_kwargs=options))
        body.max_seq_length = self.max_length
        return body


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing that the packages say of their progress."""
    loggers = [logging.getLogger(name) for name in ("setfit", "sentence_transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with silent_transformers():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
