"""The report of a comparison: one page for people, and the figures behind it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from vitrina.errors import InputError
from vitrina.evaluation.findings import NAMES, sentence
from vitrina.evaluation.retrieval import MOST_VISITED
from vitrina.evaluation.shop import HELD_OUT_USERS
from vitrina.evaluation.statistics import (
    MEAN,
    differences,
    labels_saved,
    mean_auc,
    name_of,
    summarise,
)
from vitrina.files import atomic_path
from vitrina.metrics import PRIMARY
from vitrina.pages.curves import panels_html, panels_png, styles_of
from vitrina.pages.html import Style, Table, bullets, commands, fold, page, text

_FIGURES = {"test": "figure3.png", "validation": "figure2.png"}  # the paper's numbers
_WINS, _MEANS, _NEXT = "What wins where", "Mean AUC by number of labels", "The next product"
_OF_ENCODER = (_WINS, _MEANS, _NEXT, "Tasks", "To repeat it")
_COMPARED = (100, 1_000, 10_000)
_SAVED_AT = 500
_PRIMARY = pl.col("metric").is_in(list(PRIMARY.values()))
_COSTS = {
    "model": "model",
    "pretraining_minutes": "pre-training, minutes",
    "fit_seconds": "fit, seconds",
    "titles_per_second": "titles a second",
    "megabytes": "MB",
    "needs": "needs",
    "note": "note",
}
_ON_WINS = (
    "On the test rows. The highest mean leads; a difference is clear if its 95 % interval leaves "
    "out 0."
)
_ON_MEAN = (
    "Mean over all tasks judged by AUC, on their test rows; a task split in two ways counts twice. "
    "Larger sizes have fewer tasks, so columns can't be compared with each other. The best of a "
    "column is bold; a mean over fewer tasks is followed by their number, as (7), and not compared."
)
_ON_CURVES = (
    "Mean on the test rows by number of labels, with a band of one standard deviation over the "
    "subsamples. The thick line is {encoder}."
)
_ON_GAPS = (
    "{encoder} minus the model of the row, trained on the same subsamples: above 0, {encoder} is "
    "better. In brackets the 95 % interval of a paired bootstrap over test rows and subsamples; "
    "bold where it leaves out 0. Of so many intervals some leave it out by chance. A mean over "
    "fewer tasks than others have is followed by their number, as [7]."
)
_ON_TASKS = (
    "Mean and standard deviation over the subsamples, on the test rows, by number of labels; the "
    "best of a column is bold."
)
_ON_ALPHA = (
    "α is the weight of BYOL's loss against that of the categories, as in the paper's figure 2; "
    "vectors alone, on the validation rows. In the colour of the text: the encoder before any "
    "training."
)
_ON_SAVED = (
    "How many times {encoder}'s {size:,} labels the model of the row needs to do as well, read off "
    "its learning curve: above 1, {encoder} saves labels. > and < are said where that lies beyond "
    "the sizes it was run with."
)
_ON_RETRIEVAL = (
    "No labels: titles are ranked by the cosine of their vectors alone. Recall@k: given the title "
    "of one product, the fraction of the other titles in its session that are among the k "
    "nearest; sessions are those of 1 user in {users}, whom pre-training never met (a saved "
    "encoder may have). Category: how often the nearest titles of a title that pre-training never "
    "saw have its category. ± is half of a 95 % interval. {popularity}: the titles in the most "
    "sessions of other users come first, whatever the query."
)
_ON_COSTS = (
    "Fit: on 1,000 labels, or the largest size below. Titles a second: from title to score. MB: "
    "all that must be kept to score titles."
)
_ON_ASTERISK = (
    "An asterisk marks models whose figures aren't repeatable: the same seed may give others."
)


def write_report(
    folder: Path,
    cells: pl.DataFrame,
    costs: pl.DataFrame,
    retrieved: pl.DataFrame,
    facts: Mapping[str, Any],
) -> str:
    """Write what a comparison found into `folder`, each file whole or not at all.

    ``report.html`` and ``results.md`` (all of it, for people), ``results.csv`` (means, with the
    command and versions), ``results.parquet`` (the cells), ``figure3.png`` (learning curves on the
    test rows) and, if there are cells on validation rows, ``figure2.png`` (theirs).

    Parameters
    ----------
    folder
    cells
        See `vitrina.evaluation.statistics`; with the column repeatable.
    costs
        A row a model, with the columns model, pretraining_minutes, fit_seconds,
        titles_per_second, megabytes, needs and note.
    retrieved
        Means over queries, as `vitrina.evaluation.statistics.summarise` gives them, without sizes;
        or no rows.
    facts
        title, lead (a paragraph), command, versions (name -> version), seed, notes (paragraphs),
        encoder (the model that the others are compared with), tasks (for each a mapping of what
        there is to know of it).

    Returns
    -------
    what a model card of the encoder says of it, in Markdown

    Raises
    ------
    InputError
        if the encoder has no cells on test rows
    MissingExtraError
        if matplotlib is not installed
    """
    ours = pl.col("model") == facts["encoder"]
    if cells.filter(ours, part="test").is_empty():
        raise InputError(
            f"encoder: '{facts['encoder']}' has no results on test rows; name a model that has"
        )
    # as the report shows the models: ours first, an asterisk where figures aren't repeatable
    marked = {name: f"{name}*" for name in cells.filter(~pl.col("repeatable"))["model"].unique()}
    shown = cells.sort(~ours, maintain_order=True).with_columns(pl.col("model").replace(marked))
    costs = costs.with_columns(pl.col("model").replace(marked))
    encoder = marked.get(facts["encoder"], facts["encoder"])

    summary = summarise(shown)
    curves = {part: _curves(summary, part) for part in _FIGURES}
    sections = _sections(summary, differences(shown, encoder), curves, encoder)
    if len(retrieved):
        first = retrieved.sort(pl.col("model") != facts["encoder"], maintain_order=True)
        sections[_NEXT] = _retrieval(first, facts["encoder"])
    sections |= _background(costs, encoder, facts, asterisk=bool(marked))
    versions = json.dumps(facts["versions"])
    recorded = cells.with_columns(seed=pl.lit(facts["seed"]), versions=pl.lit(versions))
    told = {"command": pl.lit(facts["command"]), "versions": pl.lit(versions)}
    recorded.write_parquet(parquet := io.BytesIO())
    files = {
        "report.html": _html(sections, facts),
        "results.md": f"# {facts['title']}\n\n{facts['lead']}\n\n{_markdown(sections)}".encode(),
        "results.csv": pl.concat([summarise(cells), retrieved], how="diagonal_relaxed")
        .with_columns(**told)
        .write_csv()
        .encode(),
        "results.parquet": parquet.getvalue(),
    }
    for part, name in _FIGURES.items():
        if len(curves[part]):
            files[name] = panels_png(curves[part], _styles(curves[part], encoder))
    for name, content in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    for name in _FIGURES.values():
        if name not in files:  # an earlier one would be taken for this report's
            (folder / name).unlink(missing_ok=True)
    findings = {name: blocks for name, blocks in sections.items() if name in _OF_ENCODER}
    return _markdown(findings)


class _Block(NamedTuple):
    """A piece of the report, for the page and for Markdown."""

    html: str
    markdown: str


def _text(paragraph: str) -> _Block:
    return _Block(text(paragraph), paragraph)


def _bullets(paragraphs: Sequence[str], heads: Sequence[str] = ()) -> _Block:
    bold = [f"**{head}**: " for head in heads] or [""] * len(paragraphs)
    lines = (f"- {head}{paragraph}" for head, paragraph in zip(bold, paragraphs, strict=True))
    return _Block(bullets(paragraphs, heads), "\n".join(lines))


def _table(table: Table) -> _Block:
    return _Block(table.html(), table.markdown())


def _fold(name: str, tables: Sequence[Table], *, opened: bool = False) -> _Block:
    html = "\n".join(table.html() for table in tables)
    return _Block(
        fold(name, html, opened=opened),
        "\n\n".join((f"### {name}", *(t.markdown() for t in tables))),
    )


def _figure(curves: pl.DataFrame, part: str, encoder: str) -> _Block:
    label = f"learning curves on {part} rows"
    html = panels_html(curves, _styles(curves, encoder), label)
    return _Block(html, f"![{label}]({_FIGURES[part]})")


def _html(sections: Mapping[str, Sequence[_Block]], facts: Mapping[str, Any]) -> bytes:
    pieces = {name: "\n".join(b.html for b in blocks) for name, blocks in sections.items()}
    return page(facts["title"], facts["lead"], pieces).encode()


def _markdown(sections: Mapping[str, Sequence[_Block]]) -> str:
    pieces = []
    for name, blocks in sections.items():
        pieces += [f"## {name}", *(block.markdown for block in blocks)]
    return "\n\n".join(pieces) + "\n"


def _sections(
    summary: pl.DataFrame, gaps: pl.DataFrame, curves: Mapping[str, pl.DataFrame], encoder: str
) -> dict[str, list[_Block]]:
    """What was found: blocks under their headings."""
    summary, gaps = (frame.filter(part="test") for frame in (summary, gaps))
    sentences, gap_tables, tables = {}, {}, {}
    means = mean_auc(summary)
    several = bool((means["tasks"] > 1).any())  # the mean of one task is that task
    if several:
        gap_tables[MEAN] = gaps.filter(task=MEAN)
        complete = means.filter(pl.col("tasks") == pl.col("of"))
        among = gap_tables[MEAN].join(
            complete.select("model", "size", tasks="of"), on=["model", "size", "tasks"], how="semi"
        )
        if len(complete):
            sentences[MEAN] = sentence(complete, among, encoder)
    for (task, split), part in summary.group_by("task", "split", maintain_order=True):
        name = name_of(str(task), str(split))
        gap_tables[name] = gaps.filter(task=task, split=split)
        sentences[name] = sentence(part.filter(_PRIMARY), gap_tables[name], encoder)
        tables[name] = [
            _metric(rows, encoder) for _, rows in part.group_by("metric", maintain_order=True)
        ]

    sections = {_WINS: [_text(_ON_WINS), _bullets([*sentences.values()], [*sentences])]}
    if several:
        sections[_MEANS] = [_text(_ON_MEAN), _table(_mean(means, encoder))]
    sections["Learning curves"] = [
        _text(_ON_CURVES.format(encoder=encoder)),
        _figure(curves["test"], "test", encoder),
    ]
    if len(gaps):
        sections[f"{encoder} minus each other model"] = [
            _text(_ON_GAPS.format(encoder=encoder)),
            *(
                _fold(name, [_gaps(rows)], opened=name == MEAN)
                for name, rows in gap_tables.items()
                if len(rows)
            ),
        ]
    sections["Task by task"] = [
        _text(_ON_TASKS),
        *(_fold(name, of_task) for name, of_task in tables.items()),
    ]
    if len(curves["validation"]):
        sections["BYOL's weight"] = [
            _text(_ON_ALPHA),
            _figure(curves["validation"], "validation", encoder),
        ]
    if len(gaps):
        sizes = summary.filter(model=encoder)["size"].unique().sort()
        size = min(sizes, key=lambda size: abs(math.log(size / _SAVED_AT)))
        sections["Labels saved"] = [
            _text(_ON_SAVED.format(encoder=encoder, size=size)),
            _table(_saved(summary, encoder, size)),
        ]
    return sections


def _retrieval(rows: pl.DataFrame, encoder: str) -> list[_Block]:
    def shown(row: dict[str, Any]) -> str:
        return f"{row['mean']:.3f} ± {1.96 * row['std'] / math.sqrt(row['samples']):.3f}"

    blocks = [_text(_ON_RETRIEVAL.format(users=HELD_OUT_USERS, popularity=MOST_VISITED))]
    for (task,), part in rows.group_by("task", maintain_order=True):
        counts = part.group_by("metric", maintain_order=True).agg(pl.col("samples").first())
        heads = {metric: f"{metric}, {samples:,} queries" for metric, samples in counts.rows()}
        own = part.with_columns(
            shown=pl.struct("mean", "std", "samples").map_elements(shown, pl.String),
            strong=pl.col("mean") == pl.col("mean").max().over("metric"),
        )
        table = _crossed(own, "metric", heads, encoder)
        blocks.append(_fold(str(task), [table], opened=True))
    return blocks


def _background(
    costs: pl.DataFrame, encoder: str, facts: Mapping[str, Any], *, asterisk: bool
) -> dict[str, list[_Block]]:
    """What it cost, and what it was found on and with: blocks under their headings."""
    order = costs.sort(pl.col("model") != encoder, maintain_order=True)
    own = 0 if encoder in costs["model"] else None
    columns = list(dict.fromkeys(key for task in facts["tasks"] for key in task))
    tasks = [[task.get(column) for column in columns] for task in facts["tasks"]]
    heads = [column.replace("_", " ") for column in columns]
    notes = [*facts["notes"], *[_ON_ASTERISK] * asterisk]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    command = str(facts["command"])
    return {
        "Costs": [
            _text(_ON_COSTS),
            _table(Table(list(_COSTS.values()), order.select(*_COSTS).rows(), own=own)),
        ],
        "Tasks": [_table(Table(heads, tasks))],
        **({"Notes": [_bullets(notes)]} if notes else {}),
        "To repeat it": [
            _Block(commands([command]), f"```\n{command}\n```"),
            _text(f"Seed {facts['seed']}; {versions}"),
        ],
    }


def _curves(summary: pl.DataFrame, part: str) -> pl.DataFrame:
    """What `vitrina.pages.curves` draws."""
    panel = pl.struct("task", "split").map_elements(lambda key: name_of(**key), pl.String)
    return summary.filter(_PRIMARY, part=part).with_columns(panel=panel)


def _styles(curves: pl.DataFrame, encoder: str) -> dict[str, Style]:
    models = curves["model"].unique(maintain_order=True)
    untrained = next((model for model in models if model.startswith("random")), "")
    return styles_of(models, encoder, untrained)


def _crossed(
    rows: pl.DataFrame, by: str, heads: Mapping[Any, str], encoder: str, corner: str = "model"
) -> Table:
    """Models by the values of a column, which have these heads; `rows` has the columns model, that
    one, shown (text) and strong."""
    models, values = rows["model"].unique(maintain_order=True).to_list(), list(heads)
    cells = {
        (model, value): (shown, strong)
        for model, value, shown, strong in rows.select("model", by, "shown", "strong").rows()
    }
    return Table(
        [corner, *heads.values()],
        [[model, *(cells.get((model, value), (None,))[0] for value in values)] for model in models],
        {
            (models.index(model), 1 + values.index(value))
            for (model, value), (_, strong) in cells.items()
            if strong
        },
        models.index(encoder) if encoder in models else None,
    )


def _by_size(rows: pl.DataFrame, corner: str, encoder: str) -> Table:
    heads = {size: f"{size:,} labels" for size in rows["size"].unique().sort().to_list()}
    return _crossed(rows, "size", heads, encoder, corner)


def _best(metric: str = "auc") -> pl.Expr:
    """Whether a mean is the best of its size."""
    mean = pl.col("mean")
    return mean == (mean.min() if metric == "mae" else mean.max()).over("size")


def _mean(means: pl.DataFrame, encoder: str) -> Table:
    """The mean AUC by model and size."""
    complete = pl.col("tasks") == pl.col("of")

    def shown(row: dict[str, Any]) -> str:
        return f"{row['mean']:.3f}" + (f" ({row['tasks']})" if row["tasks"] < row["of"] else "")

    rows = means.with_columns(
        shown=pl.struct("mean", "tasks", "of").map_elements(shown, pl.String),
        strong=complete & (pl.col("mean") == pl.col("mean").filter(complete).max().over("size")),
    )
    sizes = sorted(means.select("size", "of").unique().rows())
    heads = {size: f"{size:,} labels, {tasks} task{'s' * (tasks > 1)}" for size, tasks in sizes}
    return _crossed(rows, "size", heads, encoder, "mean AUC")


def _metric(rows: pl.DataFrame, encoder: str) -> Table:
    """One metric of one task by model and size."""
    metric = rows["metric"][0]
    digits = ".4g" if metric == "mae" else ".3f"

    def shown(row: dict[str, Any]) -> str:
        spread = row["std"]
        known = spread is not None and not math.isnan(spread)  # a single subsample has none
        return f"{row['mean']:{digits}}" + (f" ± {spread:{digits}}" if known else "")

    text = pl.struct("mean", "std").map_elements(shown, pl.String)
    return _by_size(rows.with_columns(shown=text, strong=_best(metric)), NAMES[metric], encoder)


def _gaps(rows: pl.DataFrame) -> Table:
    """Differences with their intervals, at three sizes if they are there."""
    sizes = rows["size"].unique().sort().to_list()
    rows = rows.filter(pl.col("size").is_in([s for s in sizes if s in _COMPARED] or sizes))

    def shown(row: dict[str, Any]) -> str:
        figures = f"{row['difference']:+.3f} ({row['low']:.3f} to {row['high']:.3f})"
        fewer = f" [{row['tasks']}]" if row["tasks"] < row["of"] else ""
        return figures.replace("-", "−") + fewer

    return _by_size(
        rows.with_columns(of=pl.col("tasks").max().over("size")).with_columns(
            shown=pl.struct("difference", "low", "high", "tasks", "of").map_elements(
                shown, pl.String
            ),
            strong=(pl.col("low") > 0) | (pl.col("high") < 0),
        ),
        f"difference of {NAMES[rows['metric'][0]]}",
        "",
    )


def _saved(summary: pl.DataFrame, encoder: str, size: int) -> Table:
    """How many times the encoder's labels each other model needs, by task."""
    tasks = summary.select("task", "split").unique(maintain_order=True).rows()
    rows = []
    for other in summary["model"].unique(maintain_order=True):
        if other != encoder:
            found = labels_saved(summary, encoder, other, size)
            factors = {
                (task, split): f"{bound}{factor:.{2 if factor < 1 else 1 if factor < 10 else 0}f}"
                for task, split, factor, bound in found.select(
                    "task", "split", "factor", "bound"
                ).rows()
            }
            rows.append([other, *map(factors.get, tasks)])
    return Table(["times as many labels", *(name_of(*task) for task in tasks)], rows)
