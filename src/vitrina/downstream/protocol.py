"""How models are compared: splits by title, random subsamples, one cell after the other (paper §4).

Everything random follows from a seed that belongs in the result's record, and no model takes part
in it: all models learn from the same rows and are judged on the same rows.
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.downstream.metrics import PRIMARY, Kind, bootstrap, metrics
from vitrina.errors import InputError, MissingExtraError

Rows: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[Any]
Scores: TypeAlias = npt.NDArray[np.float64]
Part: TypeAlias = Literal["train", "validation", "test"]

SIZES = (100, 500, 1_000, 5_000, 10_000, 50_000, 100_000)
"""Sizes of the training subsamples (paper §4)."""
REPEATS = 5
"""Random subsamples of each size (paper §4)."""
FRACTIONS: Mapping[str, float] = {"test": 0.2, "validation": 0.2, "train": 0.6}
"""The split of the paper's §4. The test comes first, so that it has the same titles whatever
becomes of the rest."""


@dataclass(frozen=True, eq=False)
class Task:
    """Titles, their labels and a split: everything that a model may know of a task.

    Attributes
    ----------
    name : str
    kind : "binary", "multiclass" or "regression"
    titles : n strings
    labels : (n,) bool, int64 (index into `classes`) or float64, by kind
    train, validation, test : row numbers, int64
        No title may have rows in two of them: see `split_titles`.
    split : str
        What stays together: "title", or the name of a group column.
    classes : names of the classes of a multi-class task
    products : n product ids or None; None where the table has none
    categories : n categories or None, known when a title is scored; None where the table has none
    sessions : name of the sessions of the task's own shop, "" if there are none
    note : what a reader of the results must know
    """

    name: str
    kind: Kind
    titles: Sequence[str]
    labels: Labels
    train: Rows
    validation: Rows
    test: Rows
    split: str = "title"
    classes: Sequence[str] = ()
    products: Sequence[str | None] | None = None
    categories: Sequence[str | None] | None = None
    sessions: str = ""
    note: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that results can depend on, in hexadecimal."""
        content = hashlib.sha256(f"{self.kind}\0{self.split}\0{self.sessions}".encode())
        for column in (self.titles, self.classes, self.products or (), self.categories or ()):
            content.update("\0".join(f"{value}" for value in column).encode() + b"\1")
        for array in (self.labels, self.train, self.validation, self.test):
            content.update(array.tobytes() + b"\1")
        return content.hexdigest()

    def rows(self, part: Part) -> Rows:
        """Row numbers of a part of the split."""
        rows: Rows = getattr(self, part)
        return rows

    def titles_of(self, rows: Rows) -> list[str]:
        """The titles of some rows, in their order."""
        return [self.titles[row] for row in rows]


@dataclass(frozen=True)
class Fitted:
    """What a model learnt from a subsample.

    Attributes
    ----------
    score : rows of the task -> scores, float64
        Binary: (n,), higher is more likely; multi-class: (n, k), likewise for each class;
        regression: (n,), the predicted value.
    bytes : int
        What has to be kept to score titles; without what `Model.prepare` made.
    settings : settings that were found on the validation rows, for the record
    """

    score: Callable[[Rows], Scores]
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
    samples : int or None
        The most subsamples of a size that it is run with: a slow model may have fewer than others.
    kinds : which tasks it can learn
    packages : import names of what must be installed
    needs : what it needs that titles and labels don't give ("product ids", "a GPU in practice")
    repeatable : whether the same seed gives the same figures on the same machine
    max_size : the most labels it is run with, None for no limit
    """

    name: str
    folder: Path = Path()
    samples: int | None = None

    kinds: ClassVar[frozenset[Kind]] = frozenset(("binary", "multiclass", "regression"))
    packages: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[str] = ""
    repeatable: ClassVar[bool] = True
    max_size: ClassVar[int | None] = None

    def settings(self) -> dict[str, Any]:
        """All that its figures depend on beside task, rows and seed, as plain values: they are
        part of what identifies a cached cell."""
        own = (f.name for f in fields(self) if f.name not in ("name", "folder", "samples"))
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


def over_classes(scores: Scores, known: Rows, classes: int) -> Scores:
    """Scores (n, k) of the classes that a subsample has, as (n, classes): a class without rows gets
    the same score everywhere, below all others'."""
    out = np.full((len(scores), classes), scores.min(initial=0) - 1)
    out[:, known] = scores
    return out


def split_titles(
    keys: Sequence[str], fractions: Mapping[str, float] = FRACTIONS, seed: int = 0
) -> dict[str, Rows]:
    """Rows of each part of a random split in which equal keys stay together (paper §4).

    A key's part follows from the key and the seed alone, whatever other keys there are: a title is
    a test title in all tasks or in none, so pre-training can keep clear of them all.

    Parameters
    ----------
    keys : n strings
        Normal forms of the titles, so that 'Milk 1L' and 'MILK  1l' can't be on both sides; or
        a group that says much about the label by itself (a search term), for a grouped split.
    fractions : part -> expected fraction of the *distinct* keys, adding up to 1
    seed : int

    Returns
    -------
    part -> sorted row numbers, int64

    Raises
    ------
    InputError
        if the fractions don't add up to 1, or a part gets no key
    """
    if min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-9:
        given = ", ".join(f"{part} {fraction}" for part, fraction in fractions.items())
        raise InputError(f"fractions: {given}: give numbers above 0 that add up to 1")
    place = [unit_hash(str(seed), key) for key in keys]
    part_of_row = np.searchsorted(np.cumsum(list(fractions.values())[:-1]), place, side="right")
    parts = {part: np.flatnonzero(part_of_row == i) for i, part in enumerate(fractions)}
    for part, rows in parts.items():
        if not len(rows):
            raise InputError(
                f"split: {part} would be empty, there are {len(set(keys))} distinct titles; give "
                "more titles or larger fractions"
            )
    return parts


def unit_hash(salt: str, key: str) -> float:
    """A number from 0 to 1, uniform over keys, that depends on salt and key alone."""
    digest = hashlib.blake2b(f"{salt} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def subsamples(
    task: Task, sizes: Iterable[int] = SIZES, repeats: int = REPEATS, seed: int = 0
) -> dict[tuple[int, int], Rows]:
    """Random training rows, without replacement, `repeats` times for each size (paper §4).

    A draw that has labels of one class only can't be learnt from: one of its rows, at random,
    gives way to a random row of another class. Each draw has its own random numbers, so it stays
    the same when sizes are added or left out.

    Returns
    -------
    (size, sample) -> row numbers, (size,) int64

    Raises
    ------
    InputError
        if a size is below 2 or more than there are training rows; if these have one class only
    """
    labels = task.labels[task.train]
    if task.kind != "regression" and len(np.unique(labels)) < 2:
        raise InputError(f"{task.name}: all training rows have the same label; choose another task")
    drawn = {}
    for size in sizes:
        if not 2 <= size <= len(task.train):
            raise InputError(
                f"sizes: {size:,} labels can't be drawn from the {len(task.train):,} training rows "
                f"of {task.name}; leave that size out"
            )
        for sample in range(repeats):
            rng = np.random.default_rng([seed, size, sample])
            rows = rng.choice(task.train, size, replace=False)
            if task.kind != "regression" and len(np.unique(task.labels[rows])) < 2:
                others = task.train[labels != task.labels[rows[0]]]
                rows[rng.integers(size)] = rng.choice(others)
            drawn[size, sample] = rows
    return drawn


def run_cell(
    task: Task, model: Model, rows: Rows, *, seed: int = 0, part: Part = "test"
) -> dict[str, Any]:
    """Fit a model on one subsample and judge it: one cell of the comparison.

    A model that wants several seeds is fitted with each; figures are means over them (paper A.2).

    Returns
    -------
    the metrics of the task's kind; value (the primary one) and its `bootstrap` replicates;
    fit_seconds, score_seconds; bytes and found (settings chosen on validation) of what was fitted
    """
    judged = task.rows(part)
    truth = task.labels[judged]
    figures, replicates, seeds = [], [], model.repeats(len(rows))
    for number in range(seeds):
        start = time.perf_counter()
        fitted = model.fit(task, rows, seed * seeds + number)
        fitted_at = time.perf_counter()
        scores = fitted.score(judged)
        seconds = {
            "fit_seconds": fitted_at - start,
            "score_seconds": time.perf_counter() - fitted_at,
        }
        figures.append(metrics(task.kind, truth, scores) | seconds)
        replicates.append(bootstrap(task.kind, truth, scores))
    mean = {name: float(np.mean([each[name] for each in figures])) for name in figures[0]}
    return {
        **mean,
        "value": mean[PRIMARY[task.kind]],
        "bootstrap": np.mean(replicates, axis=0).tolist(),
        "bytes": fitted.bytes,
        "found": dict(fitted.settings),
        "seeds": seeds,
    }


def learning_curve(
    task: Task, models: Iterable[Model], drawn: Mapping[tuple[int, int], Rows]
) -> pl.DataFrame:
    """Every model trained on every subsample, judged on the test rows (paper §4, figure 3).

    Parameters
    ----------
    task : Task
    models : prepared models
    drawn : what `subsamples` gave, the same for every model

    Returns
    -------
    frame with the columns task, model, size, sample, value (the primary metric) and seconds (of
    training and scoring; vectors given ready cost nothing here)

    Raises
    ------
    InputError
        if the test rows have labels of one class only
    """
    if task.kind != "regression" and len(np.unique(task.labels[task.test])) < 2:
        raise InputError(f"{task.name}: all test rows have the same label; choose another task")
    curve = []
    for model in models:
        for (size, sample), rows in drawn.items():
            cell = run_cell(task, model, rows, seed=sample)
            seconds = cell["fit_seconds"] + cell["score_seconds"]
            curve.append((task.name, model.name, size, sample, cell["value"], seconds))
    columns = ["task", "model", "size", "sample", "value", "seconds"]
    return pl.DataFrame(curve, schema=columns, orient="row")


def summarise(curve: pl.DataFrame) -> pl.DataFrame:
    """Mean and standard deviation over the subsamples, as the paper reports them.

    Returns
    -------
    frame with the columns task, model, size, value, std, seconds (mean), in the curve's order
    """
    return curve.group_by("task", "model", "size", maintain_order=True).agg(
        pl.col("value").mean(), std=pl.col("value").std(), seconds=pl.col("seconds").mean()
    )
