"""The interface of the models in a comparison."""

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
    """A model after training on a subsample.

    Attributes
    ----------
    predict_scores : callable
        Takes n row numbers of the task and returns scores, float64. Binary: shape (n,), a higher
        score means that the positive class is more likely. Multi-class: shape (n, k), one score for
        each class. Regression: shape (n,), the predicted values.
    bytes : int
        Size of what must be kept to score titles, without what `Model.prepare` made.
    settings : mapping of str to Any
        Settings that were chosen on validation rows or by cross-validation, for the record.
    """

    predict_scores: Callable[[Rows], Scores]
    bytes: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """A way to learn a task from few labels and to score its titles.

    Models are small and can be pickled, because cells run in other processes. `prepare` makes once
    what is costly and shared by all cells (a pre-trained encoder, the vectors of titles), and keeps
    it under `folder`.

    Attributes
    ----------
    name : str
        The name in tables and figures.
    folder : Path
        Where `prepare` keeps its work and finds it again. It is not part of `settings`.
    max_subsamples : int or None
        Maximum number of subsamples of each size; a slow model may have fewer than the others.
    kinds : frozenset of str
        The kinds of tasks that the model can learn.
    packages : tuple of str
        Import names of the packages that must be installed.
    needs : str
        What the model needs besides titles and labels ("product ids", "a GPU in practice").
    repeatable : bool
        Whether the same seed gives the same figures on the same machine.
    max_size : int or None
        Maximum number of labels; None for no limit.
    vectors_alone : bool
        Whether the model learns from nothing but a dense vector of each title or product, as a
        feature store serves it. The report compares such models with each other.
    """

    name: str
    folder: Path = Path()
    max_subsamples: int | None = None

    kinds: ClassVar[frozenset[Kind]] = frozenset(("binary", "multiclass", "regression"))
    packages: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[str] = ""
    repeatable: ClassVar[bool] = True
    max_size: ClassVar[int | None] = None
    vectors_alone: ClassVar[bool] = False

    def settings(self) -> dict[str, Any]:
        """Return everything but task, rows and seed that the figures depend on, as plain values.

        The settings are part of the key of a cached cell.
        """
        # the name is for people, and the folder and the number of subsamples change no figure
        settings: dict[str, Any] = {"model": type(self).__name__}
        for attribute in fields(self):
            if attribute.name not in ("name", "folder", "max_subsamples"):
                settings[attribute.name] = getattr(self, attribute.name)
        return settings

    def suits(self, task: Task) -> bool:
        """Return whether the model can learn this task."""
        return task.kind in self.kinds

    def check(self) -> None:
        """Raise InputError for anything that is sure to fail, before expensive work starts."""
        for package in self.packages:
            if find_spec(package) is None:
                raise MissingExtraError(package, "baselines")

    def repeats(self, size: int) -> int:
        """Return the number of seeds that are averaged on each subsample of this size."""
        return 1

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        """Make what all cells of these tasks share, unless it was made before.

        Parameters
        ----------
        tasks : sequence of Task
        quiet : bool, default False
            Show no progress.

        Returns
        -------
        dict of str to float
            Costs, as far as they apply: "pretraining_minutes", "titles_per_second" (from titles to
            vectors) and "bytes" (size of the encoder).
        """
        return {}

    @abstractmethod
    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        """Train on these rows.

        Settings may be chosen on `task.validation`, never on the test rows.
        """


class VectorModel(Model):
    """A model with vectors of titles that don't depend on the task's labels."""

    @abstractmethod
    def vectors(self, task: Task) -> Any:
        """Return the vectors of all titles of a prepared task.

        Returns
        -------
        ndarray or sparse matrix of shape (n, d)
            Vectors of unit length: their inner products are cosines.
        """
