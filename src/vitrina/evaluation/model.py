"""The interface of every model that a comparison judges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from vitrina.classification.linear import Rows, Scores
from vitrina.errors import MissingExtraError
from vitrina.evaluation.task import Task
from vitrina.metrics import Kind


@dataclass(frozen=True)
class Fitted:
    """What a model learnt from a subsample.

    Attributes
    ----------
    predict_scores : rows of the task -> scores, float64
        Binary: (n,), higher is more likely; multi-class: (n, k), likewise for each class;
        regression: (n,), the predicted value.
    bytes : int
        What has to be kept to score titles; without what `Model.prepare` made.
    settings : settings that were found on the validation rows, for the record
    """

    predict_scores: Callable[[Rows], Scores]
    bytes: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """One way to learn a task from few labels and score its titles.

    Small and picklable: cells run in other processes. What is costly and shared by all cells (a
    pre-trained encoder, the vectors of titles) is made once by `prepare` and kept under `folder`.

    Attributes
    ----------
    name : str
        As tables show it.
    folder : Path
        Where `prepare` keeps its work, and finds it again; not part of `settings`.
    max_subsamples : int or None
        The most subsamples of a size that it is run with: a slow model may have fewer than others.
    kinds : which tasks it can learn
    packages : import names of what must be installed
    needs : what it needs that titles and labels don't give ("product ids", "a GPU in practice")
    repeatable : whether the same seed gives the same figures on the same machine
    max_size : the most labels it is run with, None for no limit
    """

    name: str
    folder: Path = Path()
    max_subsamples: int | None = None

    kinds: ClassVar[frozenset[Kind]] = frozenset(("binary", "multiclass", "regression"))
    packages: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[str] = ""
    repeatable: ClassVar[bool] = True
    max_size: ClassVar[int | None] = None

    def settings(self) -> dict[str, Any]:
        """All that its figures depend on beside task, rows and seed, as plain values: they are
        part of what identifies a cached cell."""
        own = (f.name for f in fields(self) if f.name not in ("name", "folder", "max_subsamples"))
        return {"model": type(self).__name__, **{name: getattr(self, name) for name in own}}

    def suits(self, task: Task) -> bool:
        """Whether it can learn this task."""
        return task.kind in self.kinds

    def check(self) -> None:
        """Raise InputError for what can be known to fail before anything expensive starts."""
        for package in self.packages:
            if find_spec(package) is None:
                raise MissingExtraError(package, "baselines")

    def repeats(self, size: int) -> int:
        """How many seeds of it are averaged on each subsample of this size."""
        return 1

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        """Make, once, what all cells of these tasks share, unless it is there already.

        Returns
        -------
        what it cost, as far as it applies: pretraining_minutes, titles_per_second (from titles to
        vectors), bytes (of the encoder)
        """
        return {}

    @abstractmethod
    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        """Learn from these rows; settings may be chosen on `task.validation`, never on the test."""


class VectorModel(Model):
    """A model that knows titles by vectors that learnt nothing of the task."""

    @abstractmethod
    def vectors(self, task: Task) -> Any:
        """Vectors of all titles of a prepared task at unit length, (n, d), dense or sparse: their
        products are cosines."""
