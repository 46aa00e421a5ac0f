"""SetFit: a sentence transformer, fine-tuned on pairs of a few labelled titles.

Source: Tunstall et al. 2022, arXiv 2209.11055.
"""

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
from vitrina.pretraining.openmp import sleeping_openmp


@dataclass(frozen=True, kw_only=True)
class SetFit(Model):
    """The package setfit with its default settings.

    Fine-tuning moves the cosine similarity of two titles towards 1 if they have the same class and
    towards 0 otherwise. A logistic regression on the fine-tuned vectors follows. By default the
    package trains on all pairs that the subsample has, which takes hours without a GPU; here it
    stops after `steps`.

    Attributes
    ----------
    source : str
        Folder of a sentence transformer, or its name on the Hugging Face hub.
    steps : int, default 60
        Maximum number of training steps.
    batch_size : int, default 16
        Number of pairs in a step.
    max_length : int, default 64
        Maximum number of tokens of a title; the rest is cut off.
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
        """Fine-tune the transformer and fit the classifier; `seed` orders the pairs."""
        self.check()
        with sleeping_openmp():
            import torch

        from vitrina.pretraining.torch_speed import faster_torch

        setfit: Any = import_module("setfit")
        transformers: Any = import_module("transformers")
        titles = task.titles_of(rows)
        labels = task.labels[rows].astype(np.int64).tolist()
        with torch.random.fork_rng(devices=[]), faster_torch(), _silent():
            body = self._body()
            head = LogisticRegression()
            with TemporaryDirectory() as folder:
                # train in silence and write nothing: no logs, no checkpoints, no progress bars
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
                trainer.pop_callback(transformers.PrinterCallback)
                trainer.pop_callback(transformers.ProgressCallback)
                trainer.st_trainer.args.dataloader_pin_memory = False  # warns without a GPU
                # train() would also process the titles for a model card
                trainer.train_embeddings(titles, labels)
                trainer.train_classifier(titles, labels)

        def predict_scores(rows: Rows) -> Scores:
            with faster_torch():
                vectors = body.encode(task.titles_of(rows), batch_size=64, show_progress_bar=False)
            scores = np.asarray(head.decision_function(vectors), np.float64)
            if task.kind == "binary":
                return scores
            # a subsample with two of the classes has one column of scores, for the second class
            if scores.ndim == 1:
                scores = np.column_stack([-scores, scores])
            return over_classes(scores, head.classes_, len(task.classes))

        size = sum(parameter.nbytes for parameter in body.parameters()) + head.coef_.nbytes
        return Fitted(predict_scores, size)

    def _body(self) -> Any:
        """Load the sentence transformer."""
        from sentence_transformers import SentenceTransformer

        # one attention and number type for all models, whatever their configuration says
        options = {"attn_implementation": ATTENTION, "dtype": "float32"}
        body = load(self.source, partial(SentenceTransformer, device="cpu", model_kwargs=options))
        body.max_seq_length = self.max_length
        return body


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress the packages' messages about their progress."""
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
