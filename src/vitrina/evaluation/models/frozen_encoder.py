"""A linear model on the vectors of a frozen title encoder (paper §4), alone or with words.

The encoder is a saved one, or it is pre-trained on each task's sessions by any recipe; it may also
keep its initial weights.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.classification.linear import Rows, features_of
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.evaluation.model import Fitted, VectorModel
from vitrina.evaluation.models.stored_vectors import LinearOnVectors, with_words
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.files import file_digest
from vitrina.hashing import content_key
from vitrina.pretraining.settings import Settings, preset

_TIMED_TITLES = 20_000  # enough to measure how fast an encoder is


@dataclass(frozen=True, kw_only=True)
class FrozenEncoder(VectorModel):
    """A linear model on the vectors of a title encoder that isn't trained on the task.

    It makes the same predictions as `vitrina.classification.classifier.TitleClassifier`, with words
    or without.

    Attributes
    ----------
    saved : Path, optional
        Folder of a saved encoder for all tasks; None pre-trains one on each task's own sessions.
    shops : mapping of str to Shop
        The shops to pre-train on, by name; `Task.sessions` is such a name.
    changes : mapping of str to Any
        Changes to the default settings of pre-training (`vitrina.pretraining.settings.Settings`),
        or to those of the preset that "preset" names.
    untrained : bool, default False
        Use the same network with its initial weights.
    use_words : bool, default False
        Add TF-IDF features of words and character n-grams to the vectors.
    max_sessions : int, optional
        Pre-train on a random sample of this many sessions; None uses all.
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

    @property
    def vectors_alone(self) -> bool:  # type: ignore[override]
        return not self.use_words

    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "model": "FrozenEncoder",
            "untrained": self.untrained,
            "max_sessions": self.max_sessions,
            "use_words": self.use_words,
        }
        if self.saved is not None:
            settings["origin"] = file_digest(self.saved / "manifest.json")
            return settings
        settings["origin"] = {name: shop.digest for name, shop in self.shops.items()}
        # all settings of pre-training, not the changes only: a new default makes another model
        return {**settings, **self._pretraining_settings().asdict()}

    def suits(self, task: Task) -> bool:
        return self.saved is not None or task.sessions in self.shops

    def check(self) -> None:
        if self.saved is not None:
            TitleEncoder.load(self.saved)
        super().check()

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        """Pre-train the encoders that aren't there yet, and measure how fast they encode."""
        minutes: list[float] = []
        sizes: list[int] = []
        seconds = 0.0
        n_titles = 0
        # tasks of one shop share an encoder; the titles of the last one are timed
        encoders = {self.encoder_of(task): task for task in tasks}
        for path, task in encoders.items():
            if self.saved is None:
                self._pretrain(path, self.shops[task.sessions], quiet)
            encoder = TitleEncoder.load(path)
            minutes.append(float(encoder.weights.training.get("minutes", 0)))
            sizes.append((path / "model.safetensors").stat().st_size)

            titles = list(task.titles[:_TIMED_TITLES])
            # the first call also builds the table and fills the tokenizer's cache of words
            encoder.encode(titles)
            start = time.perf_counter()
            encoder.encode(titles)
            seconds += time.perf_counter() - start
            n_titles += len(titles)

        costs = {"titles_per_second": n_titles / seconds, "bytes": float(np.mean(sizes))}
        if self.untrained:
            return costs
        return {"pretraining_minutes": float(np.mean(minutes)), **costs}

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        encoder = self.encoder_of(task)
        model = LinearOnVectors(
            name=self.name,
            vectors=_task_vectors(encoder, self.untrained, task),
            forms=_normalized_titles(encoder, task) if self.use_words else None,
        )
        return model.fit(task, rows, seed)

    def vectors(self, task: Task) -> Any:
        """Return the encoder's vectors, with TF-IDF features if the model uses words."""
        encoder = self.encoder_of(task)
        vectors = _task_vectors(encoder, self.untrained, task)
        if not self.use_words:
            return features_of(vectors)
        return with_words(vectors, _normalized_titles(encoder, task))

    def encoder_of(self, task: Task) -> Path:
        """Return the folder of this task's encoder, which exists after `prepare`."""
        if self.saved is not None:
            return self.saved
        shop = self.shops[task.sessions]
        settings = self._pretraining_settings().asdict()
        key = content_key([shop.digest, self.max_sessions, self.untrained, settings])
        return self.folder / "encoders" / f"{shop.name}-{key[:8]}"

    def _pretraining_settings(self, **defaults: Any) -> Settings:
        """The settings of pre-training; `defaults` holds unless `changes` says otherwise."""
        changes = {**defaults, **self.changes}
        return preset(changes.pop("preset", "default"), **changes)

    def _pretrain(self, path: Path, shop: Shop, quiet: bool) -> None:
        """Pre-train an encoder on a shop, or resume that; do nothing if the encoder exists."""
        if path.exists():
            return
        # imported here: a saved encoder needs no torch
        from vitrina.pretraining.dataset import TrainingData
        from vitrina.pretraining.run_folder import RunFolder
        from vitrina.pretraining.train import train

        settings = self._pretraining_settings(language=shop.language)
        if RunFolder.of(path).prepared:  # the stopped run's folder holds its input
            train(None, None, path, settings, resume=True, quiet=quiet)
            return
        catalogue = shop.catalogue()
        sessions = shop.sessions(catalogue)
        if self.max_sessions is not None and self.max_sessions < len(sessions.products):
            rng = np.random.default_rng(0)
            sample = rng.choice(len(sessions.products), self.max_sessions, replace=False)
            sessions = replace(sessions, products=sessions.products.take(np.sort(sample)))
        if self.untrained:
            tokenizer = TrainingData.prepare(catalogue, sessions, settings).tokenizer
            TitleEncoder(initial_weights(tokenizer, seed=settings.seed)).save(path)
        else:
            train(catalogue, sessions, path, settings, resume=False, quiet=quiet)


# The cells of one task run one after the other, so few entries are enough.
@lru_cache(maxsize=2)
def _task_vectors(path: Path, untrained: bool, task: Task) -> npt.NDArray[np.float32]:
    """Vectors of all titles of a task, shape (n, dim)."""
    weights = TitleEncoder.load(path).weights
    # an encoder that `_pretrain` saved untrained has no record of training
    if untrained and weights.training:
        seed = int(weights.training.get("settings", {}).get("seed", 0))
        weights = initial_weights(weights.tokenizer, seed=seed)
    # one thread, because cells run in as many processes as there are processors
    return TitleEncoder(weights, threads=1).encode(task.titles)


@lru_cache(maxsize=2)
def _normalized_titles(path: Path, task: Task) -> list[str]:
    """All titles of a task, normalised as the encoder's tokenizer normalises them."""
    return TitleEncoder.load(path).weights.tokenizer.normalizer(task.titles)
