"""The frozen title encoder with a linear model (paper §4), and with words beside it; SimCLR and
untrained kin."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import normalize

from vitrina.classification.linear import (
    DEFAULT_PARAMS,
    Rows,
    features_of,
    fit_linear,
    stack_features,
    tune_hyperparameters,
)
from vitrina.classification.tfidf import HashedTfidf
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.evaluation.model import Fitted, VectorModel
from vitrina.evaluation.models.stored_vectors import LinearOnVectors
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.files import file_digest
from vitrina.pretraining.settings import Settings, preset

_TIMED = 20_000  # titles whose encoding is timed


@dataclass(frozen=True, kw_only=True)
class FrozenEncoder(VectorModel):
    """A title encoder that learns nothing of the task, and the linear model on its vectors, or on
    vectors and words (`vitrina.classification.classifier.TitleClassifier`).

    Attributes
    ----------
    saved : path of an encoder for all tasks; None to pre-train one on each task's own sessions
    shops : sessions by name
    changes : changes to the default recipe of pre-training, see `vitrina.pretraining.settings`;
        or to another, named by "preset"
    untrained : the same network with its weights as they were before training
    use_words : words and n-grams beside the vectors
    max_sessions : pre-train on so many sessions, drawn at random; None for all
    """

    saved: Path | None = None
    shops: Mapping[str, Shop] = field(default_factory=dict, repr=False)
    changes: Mapping[str, Any] = field(default_factory=dict)
    untrained: bool = False
    use_words: bool = False
    max_sessions: int | None = None

    @property
    def needs(self) -> str:  # type: ignore[override]
        return "sessions" if self.saved is None and not self.untrained else ""

    @property
    def packages(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("torch",) if self.saved is None else ()

    def settings(self) -> dict[str, Any]:
        if self.saved is not None:
            origin: Any = file_digest(self.saved / "manifest.json")
        else:
            origin = {name: shop.digest for name, shop in self.shops.items()}
        own = {"origin": origin, "untrained": self.untrained, "max_sessions": self.max_sessions}
        own["use_words"] = self.use_words
        # whole, not as changes: a new default makes another model
        recipe = {} if self.saved is not None else self._recipe().asdict()
        return {"model": "FrozenEncoder", **own, **recipe}

    def _recipe(self, **more: Any) -> Settings:
        changes = {**more, **self.changes}
        return preset(changes.pop("preset", "default"), **changes)

    def suits(self, task: Task) -> bool:
        return self.saved is not None or task.sessions in self.shops

    def check(self) -> None:
        if self.saved is not None:
            TitleEncoder.load(self.saved)
        super().check()

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        encoders = {self.encoder_of(task): task for task in tasks}
        minutes, sizes, seconds, titles = [], [], 0.0, 0
        for path, task in encoders.items():
            if self.saved is None:
                self._pretrain(path, self.shops[task.sessions], quiet)
            encoder = TitleEncoder.load(path)
            minutes.append(float(encoder.weights.training.get("minutes", 0)))
            sizes.append((path / "model.safetensors").stat().st_size)
            timed = list(task.titles[:_TIMED])
            encoder.encode(timed)  # the table is derived, the words become known
            start = time.perf_counter()
            encoder.encode(timed)
            seconds, titles = seconds + time.perf_counter() - start, titles + len(timed)
        costs = {"titles_per_second": titles / seconds, "bytes": float(np.mean(sizes))}
        return (
            costs if self.untrained else {"pretraining_minutes": float(np.mean(minutes)), **costs}
        )

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        vectors = _vectors(self.encoder_of(task), self.untrained, task)
        if not self.use_words:
            return LinearOnVectors(name=self.name, vectors=vectors).fit(task, rows, seed)
        forms = _forms(self.encoder_of(task), task)
        own, labels = [forms[row] for row in rows], task.labels[rows]
        params = tune_hyperparameters(
            task.kind, labels, len(task.classes), features_of(vectors[rows]), own
        )
        tfidf = HashedTfidf.fit(own)

        def features(rows: Rows) -> Any:
            words = tfidf([forms[row] for row in rows])
            return stack_features(features_of(vectors[rows]), words, params.weight)

        score, size = fit_linear(task.kind, features(rows), labels, len(task.classes), params.C)
        size += sum(array.nbytes for array in tfidf)
        return Fitted(lambda rows: score(features(rows)), size, params._asdict())

    def vectors(self, task: Task) -> Any:
        """The encoder's, or beside them those of the words, as many as the task's titles have."""
        vectors = features_of(_vectors(self.encoder_of(task), self.untrained, task))
        if not self.use_words:
            return vectors
        forms = _forms(self.encoder_of(task), task)
        return normalize(
            stack_features(vectors, HashedTfidf.fit(forms)(forms), DEFAULT_PARAMS.weight)
        )

    def encoder_of(self, task: Task) -> Path:
        """The folder of the encoder that this task's titles go through, once prepared."""
        if self.saved is not None:
            return self.saved
        shop = self.shops[task.sessions]
        made = [shop.digest, self.max_sessions, self.untrained, self._recipe().asdict()]
        content = json.dumps(made, sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        return self.folder / "encoders" / f"{shop.name}-{digest}"

    def _pretrain(self, path: Path, shop: Shop, quiet: bool) -> None:
        """Pre-train on a shop, or go on with it, unless it is done."""
        if path.exists():
            return
        from vitrina.pretraining.dataset import TrainingData
        from vitrina.pretraining.run_folder import RunFolder
        from vitrina.pretraining.train import train

        prepared = RunFolder.of(path).prepared
        catalogue = sessions = None
        if not prepared:
            catalogue = shop.catalogue()
            sessions = shop.sessions(catalogue)
            if self.max_sessions is not None and self.max_sessions < len(sessions.products):
                rng = np.random.default_rng(0)
                some = np.sort(rng.choice(len(sessions.products), self.max_sessions, replace=False))
                sessions = replace(sessions, products=sessions.products.take(some))
        settings = self._recipe(language=shop.language)
        if self.untrained and catalogue is not None and sessions is not None:
            tokenizer = TrainingData.prepare(catalogue, sessions, settings).tokenizer
            TitleEncoder(initial_weights(tokenizer, seed=settings.seed)).save(path)
        else:
            train(catalogue, sessions, path, settings, resume=prepared, quiet=quiet)


@lru_cache(maxsize=2)
def _vectors(path: Path, untrained: bool, task: Task) -> npt.NDArray[np.float32]:
    """Vectors of all titles of a task, kept: its cells come one after the other."""
    weights = TitleEncoder.load(path).weights
    if untrained and weights.training:
        seed = int(weights.training.get("settings", {}).get("seed", 0))
        weights = initial_weights(weights.tokenizer, seed=seed)
    return TitleEncoder(weights, threads=1).encode(task.titles)


@lru_cache(maxsize=2)
def _forms(path: Path, task: Task) -> list[str]:
    """Normal forms of all titles of a task, as the encoder's tokenizer sees them."""
    return TitleEncoder.load(path).weights.tokenizer.normalizer(task.titles)
