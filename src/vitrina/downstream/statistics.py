"""What a comparison's cells say: means, differences with intervals, labels saved, sentences.

A *cell* is one model, fitted on one subsample of one task and judged on one part of its split: a
row of a frame with the columns task, split, kind, part, model, size, sample, metric (the primary
one of the task's kind), value, bootstrap (its replicates), and one column for each metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.downstream.metrics import PRIMARY

METRICS = ("auc", "r2", "accuracy", "mae")
"""All metrics; those that curves and comparisons show come first."""
MEAN = "mean AUC"
"""What stands for a task in the rows of a mean over all tasks judged by AUC."""
NAMES = {"auc": "AUC", "r2": "R²", "accuracy": "accuracy", "mae": "MAE"}
"""The metrics as people read them."""


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


WORDS = ("bag of words", "TF-IDF")
"""The models that count words alone: they need no pre-training, so a tie is theirs."""


def name_of(task: str, split: str) -> str:
    """A task with what its split kept together, if that is more than the title."""
    return task if split in ("", "title") else f"{task}, split by {split}"


def sentence(summary: pl.DataFrame, differences: pl.DataFrame, encoder: str) -> str:
    """Who wins where, in one sentence that the figures alone make.

    Parameters
    ----------
    summary : rows of `summarise` of one task, split, part and its primary metric, or of `mean_auc`
    differences : rows of `differences` of the same
    encoder : name of the model that the others are compared with

    Returns
    -------
    who has the highest mean at which sizes; how far the encoder is from the best other model at
    its smallest and largest size; which models it beats, or loses to, wherever both were run
    (how many, where they are more than four); and whether counting words is enough, because the
    encoder is clearly better at no size.
    Differences whose interval includes 0 are called unclear.
    """
    metric = NAMES[summary["metric"][0]]
    parts = [_leaders(summary, metric)]
    if encoder not in summary["model"]:
        return f"{parts[0]}; {encoder} was not run."
    if differences.is_empty():
        return f"{parts[0]}; nothing to compare {encoder} with."
    columns = differences.select("model", "size", "difference", "low", "high")
    gaps = {(model, size): gap for model, size, *gap in columns.iter_rows()}
    sizes = sorted({size for _, size in gaps})
    told: dict[tuple[str, int], str] = {}
    for size in dict.fromkeys((sizes[0], sizes[-1])):
        # the best other model: the encoder is ahead of it by least
        _, rival = min((gap[0], model) for (model, at), gap in gaps.items() if at == size)
        name = "it" if (rival, sizes[0]) in told else rival
        told[rival, size] = _gap(name, size, *gaps[rival, size], first=not told)
    parts.append(f"{encoder} is {' and '.join(told.values())}")
    verdicts: dict[str, set[int]] = {}
    for (model, _), (_, low, high) in gaps.items():
        if not all((model, at) in told for at in sizes if (model, at) in gaps):
            verdicts.setdefault(model, set()).add(_verdict(low, high))
    always = [
        f"clearly {word} {_listed(models) if len(models) <= 4 else f'{len(models)} others'}"
        for word, sign in (("ahead of", 1), ("behind", -1))
        if (models := [model for model, signs in verdicts.items() if signs == {sign}])
    ]
    several = len(sizes) > 1
    if always:
        parts.append(f"it is {' and '.join(always)}{' at every size both were run with' * several}")
    if rest := sum(len(signs) > 1 or signs == {0} for signs in verdicts.values()):
        others = f"{rest} {'more' if always else 'other' + 's' * (rest > 1)}"
        parts.append(f"against {others} it {'depends on the size or ' * several}is unclear")
    every = [(model, _verdict(low, high)) for (model, _), (_, low, high) in gaps.items()]
    enough = [
        name for name in WORDS if max((sign for m, sign in every if m == name), default=1) <= 0
    ]
    if enough:
        better = f"{encoder} is clearly better at no size"
        parts.append(
            f"{_listed(enough)} {'is' if len(enough) == 1 else 'are'} enough here: {better}"
        )
    if differences["samples"].max() == 1:
        parts.append("one subsample a size, so how much its draw matters is unknown")
    return "; ".join(parts) + "."


def _leaders(summary: pl.DataFrame, metric: str) -> str:
    """Runs of sizes with the model that has the highest mean there."""
    best = [
        (size, *part.sort("mean", descending=True, maintain_order=True)["model", "mean"].row(0))
        for (size,), part in summary.sort("size", maintain_order=True).group_by(
            "size", maintain_order=True
        )
    ]
    alone = summary["model"].n_unique() == 1
    told = []
    for leader, run in groupby(best, key=lambda row: row[1]):
        sizes, means = zip(*((size, mean) for size, _, mean in run), strict=True)
        figures = " to ".join(f"{mean:.3f}" for mean in dict.fromkeys((means[0], means[-1])))
        if len(sizes) == 1:
            where = f"at {sizes[0]:,} labels"
        elif len(sizes) == len(best):
            where = "at all sizes"
        else:
            where = f"from {sizes[0]:,} to {sizes[-1]:,} labels"
        told.append(f"{leader} {'alone' if alone else 'leads'} {where} ({metric} {figures})")
    return _listed(told)


def _gap(other: str, size: int, difference: float, low: float, high: float, *, first: bool) -> str:
    """One difference, encoder minus other, in words."""
    sign = _verdict(low, high)
    if sign < 0:
        difference, low, high = -difference, -high, -low
    bounds = f"{low:.3f} to {high:.3f}".replace("-", "−")
    interval = f"at {size:,} labels ({'95 % interval ' * first}{bounds})"
    if not sign:
        return f"not clearly different from {other} {interval}"
    return f"{difference:.3f} {'ahead of' if sign > 0 else 'behind'} {other} {interval}"


def _verdict(low: float, high: float) -> int:
    """1 and -1: clearly above and below 0; 0: unclear."""
    return int(low > 0) - int(high < 0)


def _listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
