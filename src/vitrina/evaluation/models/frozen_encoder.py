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
from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.errors import error_prefix
from vitrina.evaluation.model import Fitted, VectorModel
from vitrina.evaluation.models.stored_vectors import LinearOnVectors, with_words
from vitrina.evaluation.models.transformer import source_digest
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.files import file_digest
from vitrina.hashing import content_key
from vitrina.pretraining.settings import Settings, preset
from vitrina.pretraining.teacher import require_teacher
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

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
    shop : str, optional
        Pre-train on this one of `shops`, and use its encoder for the tasks of all shops.
    changes : mapping of str to Any
        Changes to the default settings of pre-training (`vitrina.pretraining.settings.Settings`),
        or to those of the preset that "preset" names. α is 1 where a shop has no categories; a
        model that changes α doesn't suit the tasks of such a shop.
    use_teacher : bool, default False
        Learn from the teacher of the shop, if it has one.
    untrained : bool, default False
        Use the same network with its initial weights.
    use_words : bool, default False
        Add TF-IDF features of words and character n-grams to the vectors.
    max_sessions : int, optional
        Pre-train on a random sample of this many sessions; None uses all.
    """

    saved: Path | None = None
    shops: Mapping[str, Shop] = field(default_factory=dict, repr=False)
    shop: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    use_teacher: bool = False
    untrained: bool = False
    use_words: bool = False
    max_sessions: int | None = None

    @property
    def needs(self) -> str:  # type: ignore[override]
        return "sessions" if self.saved is None and not self.untrained else ""

    @property
    def packages(self) -> tuple[str, ...]:  # type: ignore[override]
        if self.saved is not None:
            return ()
        needs_teacher = any(self._recipe(shop).teacher for shop in self._own_shops())
        return ("torch", "sentence_transformers") if needs_teacher else ("torch",)

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
        settings["shop"] = self.shop
        settings["teachers"] = {shop.name: self._teacher_digest(shop) for shop in self._own_shops()}
        # all settings of pre-training, not the changes only: a new default makes another model
        return {**settings, **self._pretraining_settings().asdict()}

    def suits(self, task: Task) -> bool:
        if self.saved is not None:
            return True
        name = self.shop or task.sessions
        if name not in self.shops:
            return False
        return "alpha" not in self.changes or self.shops[name].has_categories

    def check(self) -> None:
        super().check()
        if self.saved is not None:
            TitleEncoder.load(self.saved)
            return
        for shop in self._own_shops():
            with error_prefix(f"[sessions.{shop.name}]"):
                require_teacher(self._recipe(shop))

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
                self._pretrain(path, self._shop_of(task), quiet)
            encoder = TitleEncoder.load(path)
            minutes.append(float(encoder.weights.training.get("minutes", 0)))
            sizes.append(sum(file.stat().st_size for file in _weight_files(path)))

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
            vectors=self._task_vectors(task),
            forms=_normalized_titles(encoder, task) if self.use_words else None,
        )
        return model.fit(task, rows, seed)

    def vectors(self, task: Task) -> Any:
        """Return the encoder's vectors, with TF-IDF features if the model uses words."""
        vectors = self._task_vectors(task)
        if not self.use_words:
            return features_of(vectors)
        return with_words(vectors, _normalized_titles(self.encoder_of(task), task))

    def _task_vectors(self, task: Task) -> npt.NDArray[np.float32]:
        """The vectors of a task's titles; beside words their contextual part, as in the product."""
        encoder = self.encoder_of(task)
        vectors = _task_vectors(encoder, self.untrained, task)
        if not self.use_words:
            return vectors
        return vectors[:, : TitleEncoder.load(encoder).weights.contextual_dim]

    def encoder_of(self, task: Task) -> Path:
        """Return the folder of this task's encoder, which exists after `prepare`."""
        if self.saved is not None:
            return self.saved
        shop = self._shop_of(task)
        # by content: a copy of the teacher elsewhere makes the same encoder
        settings = self._settings_for(shop).asdict() | {"teacher": self._teacher_digest(shop)}
        key = content_key([shop.digest, self.max_sessions, self.untrained, settings])
        return self.folder / "encoders" / f"{shop.name}-{key[:8]}"

    def share_seen(self, task: Task) -> float | None:
        """Return the share of the task's distinct test titles that pre-training may have seen.

        These are the titles of the catalogue that the encoder was pre-trained on. The record of a
        saved encoder has the counts of its catalogue only: it is one of `shops` if these agree.

        Returns
        -------
        float or None
            None if it is unknown, because no shop has the catalogue of a saved encoder.
        """
        catalogue = self._seen_catalogue(task)
        if catalogue is None:
            return None
        # titles are the same if their normal forms are
        test = set(Normalizer()(task.titles_of(task.test)))
        return len(test & catalogue) / len(test)

    def _seen_catalogue(self, task: Task) -> frozenset[str] | None:
        """The normal forms of the titles of the encoder's catalogue; None if it is unknown."""
        if self.saved is None:
            return _normalized_catalogue(self._shop_of(task), held_out=True)
        counts = TitleEncoder.load(self.saved).weights.training.get("catalogue")
        for shop in self.shops.values():
            if shop.full_catalogue().counts == counts:
                return _normalized_catalogue(shop, held_out=False)
            # an encoder of an earlier comparison
            if shop.catalogue().counts == counts:
                return _normalized_catalogue(shop, held_out=True)
        return None

    def _shop_of(self, task: Task) -> Shop:
        """The shop that this task's encoder is pre-trained on."""
        return self.shops[self.shop or task.sessions]

    def _settings_for(self, shop: Shop) -> Settings:
        """The settings of pre-training on a shop."""
        settings = self._recipe(shop)
        # without categories, the loss of the pairs is all that there is
        return settings if shop.has_categories else replace(settings, alpha=1.0)

    def _recipe(self, shop: Shop) -> Settings:
        """The same as far as it doesn't depend on the shop's tables."""
        teacher = shop.teacher if self.use_teacher else None
        return self._pretraining_settings(language=shop.language, teacher=teacher)

    def _own_shops(self) -> list[Shop]:
        """The shops that encoders are pre-trained on."""
        return list(self.shops.values()) if self.shop is None else [self.shops[self.shop]]

    def _teacher_digest(self, shop: Shop) -> str | None:
        teacher = self._recipe(shop).teacher
        return None if teacher is None else source_digest(teacher)

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

        settings = self._settings_for(shop)
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
            TitleEncoder(_untrained(tokenizer, settings.seed)).save(path)
        else:
            train(catalogue, sessions, path, settings, resume=False, quiet=quiet)


def _untrained(tokenizer: TitleTokenizer, seed: int) -> EncoderWeights:
    """The network with its initial weights, and without a lexical part, which isn't random."""
    without_vectors = TitleTokenizer(tokenizer.model, tokenizer.normalizer)
    return initial_weights(without_vectors, seed=seed)


def _weight_files(folder: Path) -> list[Path]:
    """The files with the weights of an encoder; a vector may have no lexical part."""
    files = (folder / "model.safetensors", folder / "lexical.safetensors")
    return [file for file in files if file.exists()]


@lru_cache(maxsize=8)
def _normalized_catalogue(shop: Shop, *, held_out: bool) -> frozenset[str]:
    """The normal forms of a shop's titles, without those that are held out if `held_out`."""
    catalogue = shop.catalogue() if held_out else shop.full_catalogue()
    return frozenset(Normalizer()(catalogue.titles))


# The cells of one task run one after the other, so few entries are enough.
@lru_cache(maxsize=2)
def _task_vectors(path: Path, untrained: bool, task: Task) -> npt.NDArray[np.float32]:
    """Vectors of all titles of a task, shape (n, dim)."""
    weights = TitleEncoder.load(path).weights
    # an encoder that `_pretrain` saved untrained has no record of training
    if untrained and weights.training:
        seed = int(weights.training.get("settings", {}).get("seed", 0))
        weights = _untrained(weights.tokenizer, seed)
    # one thread, because cells run in as many processes as there are processors
    return TitleEncoder(weights, threads=1).encode(task.titles)


@lru_cache(maxsize=2)
def _normalized_titles(path: Path, task: Task) -> list[str]:
    """All titles of a task, normalised as the encoder's tokenizer normalises them."""
    return TitleEncoder.load(path).weights.tokenizer.normalizer(task.titles)
