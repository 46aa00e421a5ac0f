"""The tables of a report: models by numbers of labels, by metrics or by tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from vitrina.evaluation.findings import NAMES
from vitrina.evaluation.statistics import labels_saved, name_of
from vitrina.pages.html import Table

_SIZES_OF_GAPS = (100, 1_000, 10_000)
_COSTS = {
    "model": "model",
    "pretraining_minutes": "pre-training, minutes",
    "fit_seconds": "fit, seconds",
    "titles_per_second": "titles a second",
    "megabytes": "MB",
    "needs": "needs",
    "note": "note",
}


def _crossed(
    rows: pl.DataFrame,
    by: str,
    heads: Mapping[Any, str],
    encoder: str | None,
    corner: str = "model",
) -> Table:
    """Make a table with a row per model and a column per value of another column.

    Parameters
    ----------
    rows : DataFrame
        Columns model, `by`, shown (text of the cell) and strong (whether it is bold).
    by : str
    heads : mapping of Any to str
        Heading of each value of the column `by`.
    encoder : str or None
        Name of the model whose row is highlighted.
    corner : str, optional
        Heading of the column of models.
    """
    models = rows["model"].unique(maintain_order=True).to_list()
    row_of = {model: i for i, model in enumerate(models)}
    column_of = {value: j for j, value in enumerate(heads, start=1)}

    # start with empty cells: a model may lack some values
    table: list[list[str | None]] = []
    for model in models:
        empty = [None] * len(heads)
        table.append([model, *empty])
    strong = set()
    columns = rows.select("model", by, "shown", "strong")
    for model, value, shown, is_strong in columns.iter_rows():
        row = row_of[model]
        column = column_of[value]
        table[row][column] = shown
        if is_strong:
            strong.add((row, column))
    own = None if encoder is None else row_of.get(encoder)
    return Table([corner, *heads.values()], table, strong, own)


def _by_size(rows: pl.DataFrame, corner: str, encoder: str) -> Table:
    sizes = rows["size"].unique().sort()
    heads = {size: f"{size:,} labels" for size in sizes.to_list()}
    return _crossed(rows, "size", heads, encoder, corner)


def mean_table(means: pl.DataFrame, encoder: str | None) -> Table:
    """Make the table of the mean AUC by model and size."""

    def shown(row: dict[str, Any]) -> str:
        mean = f"{row['mean']:.3f}"
        if row["tasks"] < row["of"]:
            mean += f" ({row['tasks']})"
        return mean

    # only means over all tasks of a size are compared
    complete = pl.col("tasks") == pl.col("of")
    mean = pl.col("mean")
    best = mean.filter(complete).max().over("size")
    columns = pl.struct("mean", "tasks", "of")
    rows = means.with_columns(
        shown=columns.map_elements(shown, pl.String),
        strong=complete & (mean == best),
    )
    sizes = means.select("size", "of").unique()
    heads = {}
    for size, tasks in sorted(sizes.rows()):
        noun = "task" if tasks == 1 else "tasks"
        heads[size] = f"{size:,} labels, {tasks} {noun}"
    return _crossed(rows, "size", heads, encoder, "mean AUC")


def metric_table(rows: pl.DataFrame, encoder: str) -> Table:
    """Make the table of one metric of one task by model and size."""
    metric = rows["metric"][0]
    is_error = metric == "mae"
    digits = ".4g" if is_error else ".3f"  # an error is in the units of the label

    def shown(row: dict[str, Any]) -> str:
        mean = row["mean"]
        std = row["std"]
        # a single subsample has no standard deviation
        if std is None or math.isnan(std):
            return f"{mean:{digits}}"
        return f"{mean:{digits}} ± {std:{digits}}"

    mean = pl.col("mean")
    best = mean.min() if is_error else mean.max()
    columns = pl.struct("mean", "std")
    cells = rows.with_columns(
        shown=columns.map_elements(shown, pl.String),
        strong=mean == best.over("size"),
    )
    return _by_size(cells, NAMES[metric], encoder)


def gap_table(rows: pl.DataFrame) -> Table:
    """Make the table of differences with their intervals, at up to three sizes."""
    sizes = rows["size"].unique().sort().to_list()
    compared = [size for size in sizes if size in _SIZES_OF_GAPS] or sizes

    def shown(row: dict[str, Any]) -> str:
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        figures = f"{row['difference']:+.3f} ({interval})".replace("-", "−")
        if row["tasks"] < row["of"]:
            figures += f" [{row['tasks']}]"
        return figures

    rows = rows.filter(pl.col("size").is_in(compared))
    rows = rows.with_columns(of=pl.col("tasks").max().over("size"))
    columns = pl.struct("difference", "low", "high", "tasks", "of")
    # clear differences are bold: the interval excludes 0
    cells = rows.with_columns(
        shown=columns.map_elements(shown, pl.String),
        strong=(pl.col("low") > 0) | (pl.col("high") < 0),
    )
    metric = NAMES[rows["metric"][0]]
    return _by_size(cells, f"difference of {metric}", "")


def saved_table(summary: pl.DataFrame, encoder: str, size: int) -> Table:
    """Make the table of how many times the encoder's labels each other model needs, by task."""
    tasks = summary.select("task", "split").unique(maintain_order=True).rows()
    rows = []
    for other in summary["model"].unique(maintain_order=True):
        if other == encoder:
            continue
        saved = labels_saved(summary, encoder, other, size)
        columns = saved.select("task", "split", "factor", "bound")
        shown = {}
        for task, split, factor, bound in columns.iter_rows():
            shown[task, split] = f"{bound}{_factor(factor)}"
        # a task that one of the two models lacks has an empty cell
        cells = [shown.get(key) for key in tasks]
        rows.append([other, *cells])
    names = [name_of(task, split) for task, split in tasks]
    return Table(["times as many labels", *names], rows)


def _factor(factor: float) -> str:
    """Write a factor with about two significant digits."""
    if factor < 1:
        return f"{factor:.2f}"
    if factor < 10:
        return f"{factor:.1f}"
    return f"{factor:.0f}"


def retrieval_tables(rows: pl.DataFrame, encoder: str) -> dict[str, Table]:
    """Make a table of models by metrics for each shop, by the names of the shops.

    Parameters
    ----------
    rows : DataFrame
        Means over queries, see `vitrina.evaluation.report.write_report`.
    encoder : str
        Name of the model whose row is highlighted.
    """

    def shown(row: dict[str, Any]) -> str:
        half_interval = 1.96 * row["std"] / math.sqrt(row["samples"])
        return f"{row['mean']:.3f} ± {half_interval:.3f}"

    tables = {}
    for (task,), part in rows.group_by("task", maintain_order=True):
        # each metric has its own number of queries
        counts = part.group_by("metric", maintain_order=True).agg(pl.col("samples").first())
        heads = {}
        for metric, samples in counts.iter_rows():
            heads[metric] = f"{metric}, {samples:,} queries"
        mean = pl.col("mean")
        best = mean.max().over("metric")
        columns = pl.struct("mean", "std", "samples")
        cells = part.with_columns(
            shown=columns.map_elements(shown, pl.String),
            strong=mean == best,
        )
        tables[str(task)] = _crossed(cells, "metric", heads, encoder)
    return tables


def cost_table(costs: pl.DataFrame, encoder: str) -> Table:
    """Make the table of what each model costs; the encoder is its first row, and highlighted."""
    ordered = costs.sort(pl.col("model") != encoder, maintain_order=True)
    rows = ordered.select(*_COSTS).rows()
    return Table(list(_COSTS.values()), rows, own=0 if encoder in costs["model"] else None)


def task_table(tasks: Sequence[Mapping[str, Any]]) -> Table:
    """Make the table of the tasks, with a column for each property that any of them has."""
    distinct: dict[str, None] = {}
    for task in tasks:
        distinct |= dict.fromkeys(task)
    properties = list(distinct)
    heads = [name.replace("_", " ") for name in properties]
    rows = [[task.get(name) for name in properties] for task in tasks]
    return Table(heads, rows)
