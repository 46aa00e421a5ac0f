"""How encoders are compared: splits by title, random subsamples, learning curves (paper §4).

Everything random follows from a seed that belongs in the result's record, and no model takes part
in it: all models learn from the same rows and are judged on the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from vitrina.downstream.classifier import features_of, regression
from vitrina.errors import InputError

Rows: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.bool_]
Scores: TypeAlias = npt.NDArray[np.float64]

Model: TypeAlias = Callable[[Rows, Labels, Rows], Scores]
"""Learns from some rows of a task with their labels, scores other rows: higher is more likely."""

LABELS = (100, 500, 1_000, 5_000, 10_000, 50_000, 100_000)
"""Sizes of the training subsamples (paper §4)."""
REPEATS = 5
"""Random subsamples of each size (paper §4)."""
FRACTIONS: Mapping[str, float] = {"train": 0.6, "test": 0.2, "validation": 0.2}
"""The split of the paper's §4."""


@dataclass(frozen=True, eq=False)
class Task:
    """A binary task with its split.

    Attributes
    ----------
    name : str
    labels : (n,) bool
    train, test : row numbers, int64
        No title may have rows in both: see `split_titles`.
    """

    name: str
    labels: Labels
    train: Rows
    test: Rows


def split_titles(
    keys: Sequence[str], fractions: Mapping[str, float] = FRACTIONS, seed: int = 0
) -> dict[str, Rows]:
    """Rows of each part of a random split in which equal keys stay together (paper §4).

    Parameters
    ----------
    keys : n strings
        Normal forms of the titles, so that 'Milk 1L' and 'MILK  1l' can't be on both sides; or
        a group that says much about the label by itself (a search term), for a grouped split.
    fractions : part -> fraction of the *distinct* keys, adding up to 1
    seed : int
        The split depends on it and on the set of keys, not on their order.

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
    distinct, code = np.unique(np.asarray(keys, dtype=object), return_inverse=True)
    ends = np.rint(np.cumsum(list(fractions.values())) * len(distinct)).astype(np.int64)
    place = np.empty(len(distinct), np.int64)
    place[np.random.default_rng(seed).permutation(len(distinct))] = np.arange(len(distinct))
    part_of_row = np.searchsorted(ends, place, side="right")[code]
    parts = {part: np.flatnonzero(part_of_row == i) for i, part in enumerate(fractions)}
    for part, rows in parts.items():
        if not len(rows):
            raise InputError(
                f"split: {part} would be empty, there are {len(distinct)} distinct titles; give "
                "more titles or larger fractions"
            )
    return parts


def subsamples(
    task: Task, sizes: Iterable[int] = LABELS, repeats: int = REPEATS, seed: int = 0
) -> dict[tuple[int, int], Rows]:
    """Random training rows, without replacement, `repeats` times for each size (paper §4).

    A draw that has labels of one class only can't be learnt from: one of its rows, at random,
    gives way to a random row of the other class. Each draw has its own random numbers, so it stays
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
    if labels.all() or not labels.any():
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
            if len(np.unique(task.labels[rows])) < 2:
                others = task.train[labels != task.labels[rows[0]]]
                rows[rng.integers(size)] = rng.choice(others)
            drawn[size, sample] = rows
    return drawn


def learning_curve(
    task: Task, models: Mapping[str, Model], drawn: Mapping[tuple[int, int], Rows]
) -> pl.DataFrame:
    """AUC ROC on the test rows of every model trained on every subsample (paper §4, figure 3).

    Parameters
    ----------
    task : Task
    models : name -> Model
        For instance `on_vectors(encoder.transform(titles))` and `bag_of_words(titles)`.
    drawn : what `subsamples` gave, the same for every model

    Returns
    -------
    frame with the columns task, model, labels (size of the subsample), sample, auc, seconds (of
    training and scoring; vectors given ready cost nothing here)

    Raises
    ------
    InputError
        if the test rows have labels of one class only
    """
    truth = task.labels[task.test]
    if truth.all() or not truth.any():
        raise InputError(f"{task.name}: all test rows have the same label; choose another task")
    curve = []
    for name, model in models.items():
        for (size, sample), rows in drawn.items():
            start = time.perf_counter()
            scores = model(rows, task.labels[rows], task.test)
            seconds = time.perf_counter() - start
            auc = float(roc_auc_score(truth, scores))
            curve.append((task.name, name, size, sample, auc, seconds))
    columns = ["task", "model", "labels", "sample", "auc", "seconds"]
    return pl.DataFrame(curve, schema=columns, orient="row")


def summarise(curve: pl.DataFrame) -> pl.DataFrame:
    """Mean and standard deviation over the subsamples, as the paper reports them.

    Returns
    -------
    frame with the columns task, model, labels, auc, std, seconds (mean), in the curve's order
    """
    return curve.group_by("task", "model", "labels", maintain_order=True).agg(
        pl.col("auc").mean(), std=pl.col("auc").std(), seconds=pl.col("seconds").mean()
    )


def on_vectors(vectors: npt.NDArray[np.floating[Any]]) -> Model:
    """The classifier of `TitleClassifier` on ready vectors, (n, d), one for each row of the task
    (paper §4; at unit length, see there)."""
    features = features_of(vectors)  # once, not for every subsample

    def model(train: Rows, labels: Labels, test: Rows) -> Scores:
        # one BLAS thread: sums in one order, so the same AUC however many processors there are
        with threadpool_limits(1, "blas"):
            fitted = regression().fit(features[train], labels)
            scores: Scores = fitted.decision_function(features[test])
        return scores

    return model


def bag_of_words(titles: Sequence[str | None]) -> Model:
    """TF-IDF of the raw titles' words and the same classifier (paper A.2).

    The vocabulary and its weights come from the subsample's titles alone. scikit-learn's
    defaults, but words of one letter count too: sizes and units are words of a title.
    """
    texts = np.array([title or "" for title in titles], dtype=object)

    def model(train: Rows, labels: Labels, test: Rows) -> Scores:
        words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")
        fitted = regression().fit(words.fit_transform(texts[train]), labels)
        scores: Scores = fitted.decision_function(words.transform(texts[test]))
        return scores

    return model
