"""What a comparison's cells say: means, differences with intervals, labels saved, sentences.

A *cell* is one model, fitted on one subsample of one task and judged on one part of its split: a
row of a frame with the columns task, split, kind, part, model, size, sample, metric (the primary
one of the task's kind), value, bootstrap (its replicates), and one column for each metric.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.metrics import PRIMARY

METRICS = ("auc", "r2", "accuracy", "mae")
"""All metrics; those that curves and comparisons show come first."""
MEAN = "mean AUC"
"""What stands for a task in the rows of a mean over all tasks judged by AUC."""


def summarise(cells: pl.DataFrame) -> pl.DataFrame:
    """Mean and standard deviation over the subsamples (paper §4), for every metric there is.

    Returns
    -------
    frame with the columns task, split, part, model, size, metric, mean, std (ddof 1, null for one
    subsample) and samples; tasks and models in the cells' order, a task's primary metric first
    """
    keys = ["task", "split", "part", "model", "size"]
    long = cells.select(*keys, *METRICS).unpivot(index=keys)
    summary = (
        long.drop_nulls("value")
        .group_by(*keys, "variable", maintain_order=True)
        .agg(mean=pl.col("value").mean(), std=pl.col("value").std(), samples=pl.len())
        .rename({"variable": "metric"})
    )
    whole = ["task", "split", "part"]
    tasks = cells.select(whole).unique(maintain_order=True)
    return tasks.join(summary, on=whole, maintain_order="left_right")


def mean_auc(summary: pl.DataFrame) -> pl.DataFrame:
    """Mean AUC on the test rows over all tasks that are judged by it, by model and size.

    A task split in two ways counts twice. Larger sizes have fewer tasks, and a model may lack some
    of those: means of one size over the same number of `tasks` can be compared.

    Returns
    -------
    frame with the columns task ("mean AUC"), model, size, metric, mean, tasks (that the model has)
    and of (that any model has at that size)
    """
    rows = summary.filter(part="test", metric="auc")
    means = rows.group_by("model", "size", maintain_order=True).agg(
        pl.col("mean").mean(), tasks=pl.len()
    )
    there = rows.group_by("size").agg(of=pl.struct("task", "split").n_unique())
    constant = [pl.lit(MEAN).alias("task"), pl.lit("auc").alias("metric")]
    return means.join(there, on="size", maintain_order="left").with_columns(constant)


def differences(cells: pl.DataFrame, encoder: str, seed: int = 0) -> pl.DataFrame:
    """Encoder minus each other model on the same subsamples, in the primary metric.

    The interval is that of a paired bootstrap: a replicate judges both models on the same
    resampled rows and averages over the same resampled subsamples, of which it draws one less than
    there are. (Rao & Wu 1988: with as many draws as subsamples, which are few, the spread would be
    too small by (n − 1) / n.)

    Parameters
    ----------
    cells
    encoder : name of the model that the others are compared with
    seed : int
        Of the subsamples' resampling; it depends on task, split, part and size, not on the models.

    Returns
    -------
    frame with the columns task, split, part, size, model (the other), metric, difference (of the
    means), low and high (95 % interval), samples, tasks. After the tasks come rows of the mean
    over all tasks that are judged by AUC and have cells of both models: task "mean AUC", split "".
    """
    rows: list[tuple[Any, ...]] = []
    over_tasks: dict[tuple[Any, ...], list[tuple[float, npt.NDArray[np.float64]]]] = {}
    keys = ["task", "split", "part", "size"]
    for key, group in cells.group_by(keys, maintain_order=True):
        task, split, part, size = key
        ours = group.filter(model=encoder)
        for (model,), theirs in group.group_by("model", maintain_order=True):
            pairs = ours.join(theirs, on="sample", suffix="_other").sort("sample")
            if model == encoder or pairs.is_empty():
                continue
            metric = pairs["metric"][0]
            difference = float((pairs["value"] - pairs["value_other"]).to_numpy().mean())
            rng = np.random.default_rng([seed, crc32("\0".join(map(str, key)).encode())])
            replicates = _replicates(pairs, rng)
            interval = _interval(replicates)
            rows.append(
                (task, split, part, size, model, metric, difference, *interval, len(pairs), 1)
            )
            if metric == "auc":
                over_tasks.setdefault((part, size, model), []).append((difference, replicates))
    for (part, size, model), each in over_tasks.items():
        difference = float(np.mean([difference for difference, _ in each]))
        interval = _interval(np.mean([replicates for _, replicates in each], axis=0))
        rows.append((MEAN, "", part, size, model, "auc", difference, *interval, None, len(each)))
    columns = {"task": pl.String, "split": pl.String, "part": pl.String, "size": pl.Int64}
    columns |= {"model": pl.String, "metric": pl.String}
    columns |= dict.fromkeys(("difference", "low", "high"), pl.Float64)
    columns |= {"samples": pl.Int64, "tasks": pl.Int64}
    return pl.DataFrame(rows, schema=columns, orient="row")


def _replicates(pairs: pl.DataFrame, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Bootstrap replicates, shape (b,), of the mean difference of n pairs of cells."""
    gaps = np.array(pairs["bootstrap"].to_list()) - pairs["bootstrap_other"].to_list()  # (n, b)
    n, b = gaps.shape
    drawn = rng.integers(n, size=(max(n - 1, 1), b))
    means: npt.NDArray[np.float64] = gaps[drawn, np.arange(b)].mean(axis=0)
    return means


def _interval(replicates: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % of the replicates; those without a value (one class only) are left out."""
    kept = replicates[np.isfinite(replicates)]
    if not len(kept):
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(low), float(high)


def labels_saved(summary: pl.DataFrame, encoder: str, other: str, size: int = 500) -> pl.DataFrame:
    """With how many labels another model does as well as the encoder does with `size`.

    By linear interpolation of the other's mean over the logarithm of the labels, where its curve
    first gets there.

    Returns
    -------
    frame with the columns task, split, labels, factor (labels / size) and bound: "" if exact, ">"
    if the other doesn't get there with its largest size, "<" if it is there with its smallest;
    a row for each task that has both models, and the encoder at `size`
    """
    rows = []
    primary = pl.col("metric").is_in(list(PRIMARY.values()))
    for (task, split), part in summary.filter(primary, part="test").group_by(
        "task", "split", maintain_order=True
    ):
        ours = part.filter(model=encoder, size=size)["mean"]
        theirs = part.filter(model=other).sort("size")
        if ours.is_empty() or theirs.is_empty():
            continue
        target, sizes, means = ours[0], theirs["size"].to_numpy(), theirs["mean"].to_numpy()
        reached = np.flatnonzero(means >= target)
        if not len(reached):
            labels, bound = float(sizes[-1]), ">"
        elif (k := int(reached[0])) == 0:
            labels, bound = float(sizes[0]), "" if means[0] == target else "<"
        else:
            share = (target - means[k - 1]) / (means[k] - means[k - 1])
            labels, bound = float(sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** share), ""
        rows.append((task, split, labels, labels / size, bound))
    columns = {"task": pl.String, "split": pl.String, "labels": pl.Float64, "factor": pl.Float64}
    return pl.DataFrame(rows, schema=columns | {"bound": pl.String}, orient="row")


def name_of(task: str, split: str) -> str:
    """A task with what its split kept together, if that is more than the title."""
    return task if split in ("", "title") else f"{task}, split by {split}"
