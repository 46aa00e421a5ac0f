"""The protocol of a comparison: splits by title, random subsamples, and one cell (paper §4).

All randomness follows from a seed, which the results record. It doesn't depend on the models: every
model is trained on the same rows and evaluated on the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vitrina.classification.linear import Rows
from vitrina.errors import InputError
from vitrina.evaluation.model import Model
from vitrina.evaluation.task import Part, Task
from vitrina.hashing import unit_hash
from vitrina.metrics import PRIMARY, bootstrap, metrics, precision_metrics

SIZES = (100, 500, 1_000, 5_000, 10_000, 50_000, 100_000)
"""Sizes of the training subsamples (paper §4)."""
REPEATS = 5
"""Number of random subsamples of each size (paper §4)."""
FRACTIONS: Mapping[str, float] = {"test": 0.2, "validation": 0.2, "train": 0.6}
"""Fractions of the split in the paper's §4.

The test part comes first: the test titles then stay the same if the other fractions change.
"""


def split_titles(
    keys: Sequence[str], fractions: Mapping[str, float] = FRACTIONS, seed: int = 0
) -> dict[str, Rows]:
    """Split rows at random so that rows with equal keys are in the same part (paper §4).

    The part of a key depends on the key and the seed only, not on the other keys. A title is
    therefore a test title in all tasks or in none, and pre-training can leave out all test titles.

    Parameters
    ----------
    keys : sequence of str of length n
        Normalised titles, so that 'Milk 1L' and 'MILK  1l' are in the same part. For a grouped
        split, group names that say much about the label by themselves (search terms, for example).
    fractions : mapping of str to float
        The expected fraction of the *distinct* keys in each part. The fractions add up to 1.
    seed : int, default 0
        Random seed of the split.

    Returns
    -------
    dict of str to ndarray, int64
        The sorted row numbers of each part.

    Raises
    ------
    InputError
        If the fractions don't add up to 1, or if a part gets no key.
    """
    if min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-9:
        given = ", ".join(f"{part} {fraction}" for part, fraction in fractions.items())
        raise InputError(f"`fractions` is {given}; give numbers above 0 that add up to 1")
    # a key's hash is a number from 0 to 1, and each part is an interval of these numbers
    hashes = [unit_hash(str(seed), key) for key in keys]
    bounds = np.cumsum(list(fractions.values())[:-1])
    part_of_row = np.searchsorted(bounds, hashes, side="right")
    parts = {part: np.flatnonzero(part_of_row == i) for i, part in enumerate(fractions)}
    for part, rows in parts.items():
        if not len(rows):
            raise InputError(
                f"split: the {part} part would be empty, because there are only "
                f"{len(set(keys))} distinct titles; give more titles or larger fractions"
            )
    return parts


def subsamples(
    task: Task, sizes: Iterable[int] = SIZES, repeats: int = REPEATS, seed: int = 0
) -> dict[tuple[int, int], Rows]:
    """Draw random training rows without replacement, `repeats` times for each size (paper §4).

    No classifier can be trained on labels of one class. If a draw has only one class, a random row
    of it is therefore replaced by a random row of another class. Each draw has its own random
    numbers, so it stays the same when other sizes are added or left out.

    Parameters
    ----------
    task : Task
    sizes : iterable of int
        Numbers of training rows.
    repeats : int, default 5
        Number of subsamples of each size.
    seed : int, default 0
        Random seed of the draws.

    Returns
    -------
    dict of (int, int) to ndarray of shape (size,), int64
        Row numbers of the task by size and number of the subsample.

    Raises
    ------
    InputError
        If a size is below 2 or larger than the number of training rows, or if all training rows
        have the same class.
    """
    labels = task.labels[task.train]
    if task.kind != "regression" and len(np.unique(labels)) < 2:
        raise InputError(f"{task.name}: all training rows have the same label; choose another task")
    drawn = {}
    for size in sizes:
        if not 2 <= size <= len(task.train):
            raise InputError(
                f"`sizes`: {size:,} labels can't be drawn from the {len(task.train):,} training "
                f"rows of {task.name}; leave that size out"
            )
        for sample in range(repeats):
            # seeded by size and number, so that a draw doesn't depend on the draws before it
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
    """Train a model on one subsample and evaluate it: one cell of the comparison.

    A model with several seeds (see `Model.repeats`) is trained once with each of them; the results
    are means over the seeds (paper A.2).

    Parameters
    ----------
    task : Task
    model : Model
        A model that was prepared for the task.
    rows : ndarray of int64
        The training rows.
    seed : int, default 0
        Random seed of the model.
    part : {"train", "validation", "test"}
        The part of the split on which the model is evaluated.

    Returns
    -------
    dict
        The metrics of the task's kind, and those of `precision_metrics` if positive rows are rare;
        "value", the primary metric, and "bootstrap", its replicates; "fit_seconds" and
        "score_seconds"; "bytes" of the fitted model; "found", the settings that were chosen on
        validation rows; and "seeds", the number of seeds.

    Raises
    ------
    InputError
        If all rows of the part have the same class.
    """
    evaluated = task.rows(part)
    truth = task.labels[evaluated]
    if task.kind != "regression" and len(np.unique(truth)) < 2:
        raise InputError(f"{task.name}: all {part} rows have the same label; choose another task")
    seeds = model.repeats(len(rows))
    results = []
    replicates = []
    for number in range(seeds):
        # different values of `seed` never give the same seed to the model
        start = time.perf_counter()
        fitted = model.fit(task, rows, seed * seeds + number)
        fit_end = time.perf_counter()
        scores = fitted.predict_scores(evaluated)
        score_end = time.perf_counter()
        result = metrics(task.kind, truth, scores)
        if task.is_rare:
            result |= precision_metrics(truth, scores)
        result["fit_seconds"] = fit_end - start
        result["score_seconds"] = score_end - fit_end
        results.append(result)
        replicates.append(bootstrap(task.kind, truth, scores))
    # means over the seeds
    mean = {name: float(np.mean([result[name] for result in results])) for name in results[0]}
    return {
        **mean,
        "value": mean[PRIMARY[task.kind]],
        "bootstrap": np.mean(replicates, axis=0).tolist(),
        "bytes": fitted.bytes,
        "found": dict(fitted.settings),
        "seeds": seeds,
    }
