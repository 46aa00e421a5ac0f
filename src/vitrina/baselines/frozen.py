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

from vitrina.baselines.linear import OnVectors
from vitrina.downstream.lexical import Lexical
from vitrina.downstream.linear import FEW_LABELS, beside, chosen, features_of, fit_linear
from vitrina.downstream.protocol import Fitted, Rows, Task, VectorModel
from vitrina.downstream.tasks import SessionSource
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.files import file_digest
from vitrina.pretraining.settings import Settings, preset

_TIMED = 20_000  # titles whose encoding is timed


@dataclass(frozen=True, kw_only=True)
class FrozenEncoder(VectorModel):
    """A title encoder that learns nothing of the task, and the linear model on its vectors, or on
    vectors and words (`vitrina.downstream.classifier.TitleClassifier`).

    Attributes
    ----------
    saved : path of an encoder for all tasks; None to pre-train one on each task's own sessions
    sources : sessions by name
    changes : changes to the default recipe of pre-training, see `vitrina.pretraining.settings`;
        or to another, named by "preset"
    untrained : the same network with its weights as they were before training
    lexical : words and n-grams beside the vectors
    sessions : pre-train on so many sessions, drawn at random; None for all
    """

    saved: Path | None = None
    sources: Mapping[str, SessionSource] = field(default_factory=dict, repr=False)
    changes: Mapping[str, Any] = field(default_factory=dict)
    untrained: bool = False
    lexical: bool = False
    sessions: int | None = None

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
            origin = {name: source.digest for name, source in self.sources.items()}
        own = {"origin": origin, "untrained": self.untrained, "sessions": self.sessions}
        own["lexical"] = self.lexical
        # whole, not as changes: a new default makes another model
        recipe = {} if self.saved is not None else self._recipe().asdict()
        return {"model": "FrozenEncoder", **own, **recipe}

    def _recipe(self, **more: Any) -> Settings:
        changes = {**more, **self.changes}
        return preset(changes.pop("preset", "default"), **changes)

    def suits(self, task: Task) -> bool:
        return self.saved is not None or task.sessions in self.sources

    def check(self) -> None:
        if self.saved is not None:
            TitleEncoder.load(self.saved)
        super().check()

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        encoders = {self.encoder_of(task): task for task in tasks}
        minutes, sizes, seconds, titles = [], [], 0.0, 0
        for path, task in encoders.items():
            if self.saved is None:
                self._pretrain(path, self.sources[task.sessions], quiet)
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
        if not self.lexical:
            return OnVectors(name=self.name, vectors=vectors).fit(task, rows, seed)
        forms = _forms(self.encoder_of(task), task)
        own, labels = [forms[row] for row in rows], task.labels[rows]
        setting = chosen(task.kind, labels, len(task.classes), features_of(vectors[rows]), own)
        lexical = Lexical.of(own)

        def features(rows: Rows) -> Any:
            words = lexical([forms[row] for row in rows])
            return beside(features_of(vectors[rows]), words, setting.weight)

        score, size = fit_linear(task.kind, features(rows), labels, len(task.classes), setting.C)
        size += sum(array.nbytes for array in lexical)
        return Fitted(lambda rows: score(features(rows)), size, setting._asdict())

    def vectors(self, task: Task) -> Any:
        """The encoder's, or beside them those of the words, as many as the task's titles have."""
        vectors = features_of(_vectors(self.encoder_of(task), self.untrained, task))
        if not self.lexical:
            return vectors
        forms = _forms(self.encoder_of(task), task)
        return normalize(beside(vectors, Lexical.of(forms)(forms), FEW_LABELS.weight))

    def encoder_of(self, task: Task) -> Path:
        """The folder of the encoder that this task's titles go through, once prepared."""
        if self.saved is not None:
            return self.saved
        source = self.sources[task.sessions]
        made = [source.digest, self.sessions, self.untrained, self._recipe().asdict()]
        content = json.dumps(made, sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        return self.folder / "encoders" / f"{source.name}-{digest}"

    def _pretrain(self, path: Path, source: SessionSource, quiet: bool) -> None:
        """Pre-train on a source, or go on with it, unless it is done."""
        if path.exists():
            return
        from vitrina.pretraining.dataset import TrainingData
        from vitrina.pretraining.train import RunFolder, train

        prepared = RunFolder.of(path).prepared
        catalogue = sessions = None
        if not prepared:
            catalogue = source.catalogue()
            sessions = source.sessions(catalogue)
            if self.sessions is not None and self.sessions < len(sessions.products):
                rng = np.random.default_rng(0)
                some = np.sort(rng.choice(len(sessions.products), self.sessions, replace=False))
                sessions = replace(sessions, products=sessions.products.take(some))
        settings = self._recipe(language=source.language)
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
