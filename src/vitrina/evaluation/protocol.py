"""How models are compared: splits by title, random subsamples, one cell after the other (paper §4).

Everything random follows from a seed that belongs in the result's record, and no model takes part
in it: all models learn from the same rows and are judged on the same rows.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from vitrina.classification.linear import Rows
from vitrina.errors import InputError
from vitrina.evaluation.model import Model
from vitrina.evaluation.task import Part, Task
from vitrina.metrics import PRIMARY, bootstrap, metrics

SIZES = (100, 500, 1_000, 5_000, 10_000, 50_000, 100_000)
"""Sizes of the training subsamples (paper §4)."""
REPEATS = 5
"""Random subsamples of each size (paper §4)."""
FRACTIONS: Mapping[str, float] = {"test": 0.2, "validation": 0.2, "train": 0.6}
"""The split of the paper's §4. The test comes first, so that it has the same titles whatever
becomes of the rest."""


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
        scores = fitted.predict_scores(judged)
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
