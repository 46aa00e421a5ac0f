"""Statistics of a comparison: means, differences with intervals, and labels saved.

A *cell* is one result: one model, trained on one subsample of one task and evaluated on one part of
the task's split. The functions take a frame with a row per cell and the columns task, split, kind,
part, model, size, sample, metric (the primary metric of the task's kind), value, bootstrap (its
replicates), and one column per metric that a task has. Other columns are not used here.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.metrics import PRIMARY

METRICS = ("auc", "r2", "accuracy", "average_precision", "precision_at_k", "mae")
"""All metrics. The primary ones, which curves and comparisons show, come first."""
MEAN = "mean AUC"
"""The value of the column task in rows that hold a mean over all AUC tasks."""

_Floats: TypeAlias = npt.NDArray[np.float64]
_DIFFERENCES = {
    "task": pl.String,
    "split": pl.String,
    "part": pl.String,
    "size": pl.Int64,
    "model": pl.String,
    "metric": pl.String,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "samples": pl.Int64,
    "tasks": pl.Int64,
}
_LABELS_SAVED = {
    "task": pl.String,
    "split": pl.String,
    "labels": pl.Float64,
    "factor": pl.Float64,
    "bound": pl.String,
}


def summarise(cells: pl.DataFrame) -> pl.DataFrame:
    """Compute the mean and standard deviation of every metric over the subsamples (paper §4).

    Parameters
    ----------
    cells : DataFrame

    Returns
    -------
    DataFrame
        Columns task, split, part, model, size, metric, mean, std (ddof 1; null for one subsample)
        and samples (number of subsamples). Tasks and models keep the order of the cells. A task's
        primary metric comes first.
    """
    # a row for each cell and metric; a task lacks the metrics of other kinds
    keys = ["task", "split", "part", "model", "size"]
    metrics = [metric for metric in METRICS if metric in cells.columns]
    long = cells.select(*keys, *metrics).unpivot(index=keys, variable_name="metric")
    long = long.drop_nulls("value")
    value = pl.col("value")
    summary = long.group_by(*keys, "metric", maintain_order=True).agg(
        mean=value.mean(),
        std=value.std(),
        samples=pl.len(),
    )
    # these rows are in the order of the metrics; the join restores the order of the tasks
    task_keys = ["task", "split", "part"]
    tasks = cells.select(task_keys).unique(maintain_order=True)
    return tasks.join(summary, on=task_keys, maintain_order="left_right")


def mean_auc(summary: pl.DataFrame) -> pl.DataFrame:
    """Compute the mean test AUC over all AUC tasks, for each model and size.

    A task with two kinds of split counts twice. Fewer tasks are large enough for the larger sizes,
    and a model may lack some of these tasks. Compare only means of one size over the same number
    of `tasks`.

    Parameters
    ----------
    summary : DataFrame
        The result of `summarise`.

    Returns
    -------
    DataFrame
        Columns task ("mean AUC"), model, size, metric ("auc"), mean, tasks (number of tasks that
        the model has) and of (number of tasks that any model has at that size).
    """
    rows = summary.filter(part="test", metric="auc")
    means = rows.group_by("model", "size", maintain_order=True).agg(
        pl.col("mean").mean(),
        tasks=pl.len(),
    )
    # the number of tasks that any model has at a size
    task = pl.struct("task", "split")
    available = rows.group_by("size").agg(of=task.n_unique())
    means = means.join(available, on="size", maintain_order="left")
    return means.with_columns(
        task=pl.lit(MEAN),
        metric=pl.lit("auc"),
    )


def differences(cells: pl.DataFrame, encoder: str, seed: int = 0) -> pl.DataFrame:
    """Subtract the primary metric of every other model from the encoder's, on the same subsamples.

    The interval is from a paired bootstrap. Each replicate evaluates both models on the same
    resampled rows, and averages over the same resampled subsamples. It draws one subsample fewer
    than there are: with few subsamples, as many draws would make the variance too small by a
    factor of (n − 1) / n (Rao & Wu 1988).

    Parameters
    ----------
    cells : DataFrame
    encoder : str
        Name of the model that the others are subtracted from.
    seed : int, optional
        Random seed for resampling the subsamples. The draws also depend on task, split, part and
        size, but not on the models.

    Returns
    -------
    DataFrame
        Columns task, split, part, size, model (the other model), metric, difference (of the
        means), low and high (95 % interval), samples and tasks. After the tasks come rows with
        the mean over all AUC tasks that have cells of both models: their task is "mean AUC", their
        split "" and their samples null.
    """
    rows: list[tuple[Any, ...]] = []
    # part, size and model -> difference and replicates of each task
    over_tasks: dict[tuple[Any, ...], list[tuple[float, _Floats]]] = {}
    keys = ["task", "split", "part", "size"]
    for key, group in cells.group_by(keys, maintain_order=True):
        part, size = key[2:]
        # seeded by the key alone: adding or removing a model changes no other interval
        key_text = "\0".join(str(value) for value in key)
        seeds = [seed, crc32(key_text.encode())]
        ours = group.filter(model=encoder)
        for (model,), theirs in group.group_by("model", maintain_order=True):
            if model == encoder:
                continue
            # only subsamples that both models were run on are compared
            pairs = ours.join(theirs, on="sample", suffix="_other").sort("sample")
            if pairs.is_empty():
                continue
            metric = pairs["metric"][0]
            gaps = pairs["value"] - pairs["value_other"]
            difference = float(gaps.to_numpy().mean())
            replicates = _replicates(pairs, np.random.default_rng(seeds))
            interval = _interval(replicates)
            rows.append((*key, model, metric, difference, *interval, len(pairs), 1))
            if metric == "auc":
                same = over_tasks.setdefault((part, size, model), [])
                same.append((difference, replicates))

    # the mean over tasks: replicates of different tasks are averaged one by one
    for (part, size, model), results in over_tasks.items():
        task_differences, task_replicates = zip(*results, strict=True)
        difference = float(np.mean(task_differences))
        interval = _interval(np.mean(task_replicates, axis=0))
        key = (MEAN, "", part, size)
        rows.append((*key, model, "auc", difference, *interval, None, len(results)))
    return pl.DataFrame(rows, schema=_DIFFERENCES, orient="row")


def _replicates(pairs: pl.DataFrame, rng: np.random.Generator) -> _Floats:
    """Draw bootstrap replicates, shape (b,), of the mean difference of n pairs of cells."""
    ours = np.array(pairs["bootstrap"].to_list())
    theirs = np.array(pairs["bootstrap_other"].to_list())
    gaps = ours - theirs  # (n, b)
    n, b = gaps.shape
    # each replicate resamples the pairs, with its own column of gaps
    draws = max(n - 1, 1)
    drawn = rng.integers(n, size=(draws, b))
    columns = np.arange(b)
    means: _Floats = gaps[drawn, columns].mean(axis=0)
    return means


def _interval(replicates: _Floats) -> tuple[float, float]:
    """Return the 95 % interval of the replicates that have a value.

    A replicate is NaN where its resampled rows have one class only.
    """
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def labels_saved(summary: pl.DataFrame, encoder: str, other: str, size: int = 500) -> pl.DataFrame:
    """Estimate how many labels another model needs to reach the encoder's mean at `size` labels.

    The estimate is where the other model's learning curve first reaches that mean. Between two
    sizes, the curve is interpolated linearly over the logarithm of the number of labels.

    Parameters
    ----------
    summary : DataFrame
        The result of `summarise`.
    encoder, other : str
        Names of the two models.
    size : int, optional
        Number of labels of the encoder.

    Returns
    -------
    DataFrame
        Columns task, split, labels, factor (labels / size) and bound: "" for an exact estimate,
        ">" if the other model does not reach the mean at its largest size, "<" if it exceeds the
        mean at its smallest. There is a row for each task that has both models, with the encoder
        at `size`.
    """
    rows = []
    primary = pl.col("metric").is_in(list(PRIMARY.values()))
    curves = summary.filter(primary, part="test")
    for (task, split), curve in curves.group_by("task", "split", maintain_order=True):
        ours = curve.filter(model=encoder, size=size)["mean"]
        theirs = curve.filter(model=other).sort("size")
        if ours.is_empty() or theirs.is_empty():
            continue
        sizes = theirs["size"].to_numpy()
        means = theirs["mean"].to_numpy()
        labels, bound = _labels_to_reach(ours[0], sizes, means)
        factor = labels / size
        rows.append((task, split, labels, factor, bound))
    return pl.DataFrame(rows, schema=_LABELS_SAVED, orient="row")


def _labels_to_reach(
    target: float, sizes: npt.NDArray[np.int64], means: _Floats
) -> tuple[float, str]:
    """Return where a learning curve first reaches the target, and the bound of `labels_saved`."""
    reached = np.flatnonzero(means >= target)
    if not len(reached):
        return float(sizes[-1]), ">"
    first = int(reached[0])
    if first == 0:
        bound = "" if means[0] == target else "<"
        return float(sizes[0]), bound
    # the target is between two sizes
    before = first - 1
    share = (target - means[before]) / (means[first] - means[before])
    growth = sizes[first] / sizes[before]
    labels = sizes[before] * growth**share
    return float(labels), ""


def name_of(task: str, split: str) -> str:
    """Return the display name of a task: its name, and the group of its split unless by title."""
    if split in ("", "title"):
        return task
    return f"{task}, split by {split}"
