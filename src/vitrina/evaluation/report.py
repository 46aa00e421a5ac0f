"""The report of a comparison: its sections, as an HTML page and Markdown, figures and data."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from vitrina.errors import InputError
from vitrina.evaluation.findings import describe, describe_best
from vitrina.evaluation.report_tables import (
    cost_table,
    gap_table,
    mean_table,
    metric_table,
    retrieval_tables,
    saved_table,
    task_table,
)
from vitrina.evaluation.retrieval import MOST_VISITED
from vitrina.evaluation.shop import HELD_OUT_USERS
from vitrina.evaluation.statistics import (
    MEAN,
    differences,
    mean_auc,
    name_of,
    summarise,
)
from vitrina.files import atomic_path
from vitrina.metrics import PRIMARY
from vitrina.pages.curves import panels_html, panels_png, styles_of
from vitrina.pages.html import Style, Table, bullets, commands, fold, page, text

_FIGURES = {"test": "figure3.png", "validation": "figure2.png"}  # numbered as in the paper
_WINNERS = "What wins where"
_MEANS = "Mean AUC by number of labels"
_RETRIEVAL = "The next product"
_TASKS = "Tasks"
_SEEN = "Test titles that pre-training saw"
_REPRODUCE = "How to reproduce"
_IN_MODEL_CARD = (_WINNERS, _MEANS, _RETRIEVAL, _TASKS, _SEEN, _REPRODUCE)
_LABELS_SAVED_AT = 500
# the name that `vitrina.evaluation.models.registry` gives to our vectors without words
_ENCODER_ALONE = "encoder alone"
_PRIMARY = pl.col("metric").is_in(list(PRIMARY.values()))
_NOTE_ON_WINNERS = (
    "All figures are on the test rows. The model with the highest mean leads. A model clearly "
    "beats another one if the 95 % interval of their difference excludes 0."
)
_NOTE_ON_MEANS = (
    "The mean of the test AUC over all tasks that are evaluated by AUC. A task with two kinds of "
    "split counts twice. Fewer tasks are large enough for the larger sizes, so do not compare "
    "different columns. The best mean of each column is bold. A number in brackets, as in (7), is "
    "the number of tasks of a mean over fewer tasks; such a mean is not comparable."
)
_NOTE_ON_KINDS = (
    "There are two tables. Vectors alone: models that learn from one vector for each title or "
    "product and from nothing else, as a feature store serves it. Whole classifiers: models that "
    "count the titles' words, alone or beside vectors, or that are trained on the titles "
    "themselves."
)
_NOTE_ON_CURVES = (
    "The mean on the test rows by number of labels, with a band of one standard deviation over the "
    "subsamples. The thick line is {encoder}."
)
_NOTE_ON_GAPS = (
    "{encoder} minus the model of the row, both trained on the same subsamples. Above 0, {encoder} "
    "is better. In brackets is the 95 % interval of a paired bootstrap over test rows and "
    "subsamples. Differences whose interval excludes 0 are bold. With so many intervals, some "
    "exclude 0 by chance. A number in square brackets, as in [7], is the number of tasks of a mean "
    "over fewer tasks than the others."
)
_NOTE_ON_TASKS = (
    "The mean and standard deviation over the subsamples, on the test rows, by number of labels. "
    "The best mean of each column is bold."
)
_NOTE_ON_ALPHA = (
    "α is the weight of BYOL's loss; the loss of the categories has the weight 1 − α. As in the "
    "paper's figure 2, this compares vectors alone, on the validation rows. The line in the colour "
    "of the text is the encoder before training."
)
_NOTE_ON_LABELS_SAVED = (
    "How many times as many labels the model of the row needs to reach the mean of {encoder} at "
    "{size:,} labels, read from its learning curve. Above 1, {encoder} saves labels. > and < mark "
    "values beyond the sizes that the model was run with."
)
_NOTE_ON_RETRIEVAL = (
    "No labels are used here: titles are ranked by the cosine of their vectors. Recall@k: given "
    "the title of one product, the fraction of the other titles of its session among the k nearest "
    "titles. The sessions are those of 1 user in {users}, who are held out of pre-training (though "
    "a saved encoder may have been trained on them). Category: how often the nearest titles of a "
    "title that pre-training did not see have its category. ± is half of a 95 % interval. "
    "{popularity} is a baseline that ranks titles by the number of sessions of other users, "
    "regardless of the query."
)
_NOTE_ON_COSTS = (
    "Fit is the time to train on 1,000 labels, or on the largest size below. Titles a second is "
    "the rate from title to score. MB is the size of everything that is needed to score titles."
)
_NOTE_ON_ASTERISK = (
    "An asterisk marks models that are not repeatable: the same seed may give other results."
)


def write_report(
    folder: Path,
    cells: pl.DataFrame,
    costs: pl.DataFrame,
    retrieved: pl.DataFrame,
    facts: Mapping[str, Any],
) -> str:
    """Write the report of a comparison into a folder.

    Writes ``report.html`` and ``results.md`` (the whole report), ``results.csv`` (means, with the
    command and versions), ``results.parquet`` (the cells), ``figure3.png`` (learning curves on the
    test rows) and, if there are cells on validation rows, ``figure2.png`` (their learning curves).
    Each file is replaced atomically.

    Parameters
    ----------
    folder : Path
    cells : DataFrame
        See `vitrina.evaluation.statistics`; also has the columns repeatable and vectors_alone (see
        `vitrina.evaluation.model.Model`). Without vectors_alone, or if all models are of one kind,
        there is one table of means, otherwise one for each kind.
    costs : DataFrame
        One row per model. Columns model, pretraining_minutes, fit_seconds, titles_per_second,
        megabytes, needs and note.
    retrieved : DataFrame
        Means over queries, with the columns of `vitrina.evaluation.statistics.summarise` except
        size. May have no rows.
    facts : mapping of str to Any
        title; lead (a paragraph); command; versions (name to version); seed; notes (paragraphs);
        seen (paragraphs on the test titles that pre-training saw); encoder (name of the model that
        the others are compared with); tasks (for each task a mapping of its properties).

    Returns
    -------
    str
        The part of the report that belongs into the encoder's model card, in Markdown.

    Raises
    ------
    InputError
        If the encoder has no cells on test rows.
    MissingExtraError
        If matplotlib is not installed.
    """
    ours = pl.col("model") == facts["encoder"]
    if cells.filter(ours, part="test").is_empty():
        raise InputError(
            f"encoder: '{facts['encoder']}' has no results on test rows; name a model that has"
        )
    # the report shows the encoder first, and an asterisk after models that are not repeatable
    unrepeatable = cells.filter(~pl.col("repeatable"))
    marked = {name: f"{name}*" for name in unrepeatable["model"].unique()}
    encoder = marked.get(facts["encoder"], facts["encoder"])
    marked_model = pl.col("model").replace(marked)
    shown = cells.sort(~ours, maintain_order=True).with_columns(marked_model)
    costs = costs.with_columns(marked_model)

    # the sections, each as HTML and as Markdown
    summary = summarise(shown)
    kinds = _kinds(shown, encoder)
    curves = {part: _curves(summary, part) for part in _FIGURES}
    sections = _sections(summary, kinds, curves, encoder)
    if len(retrieved):
        first = retrieved.sort(~ours, maintain_order=True)
        sections[_RETRIEVAL] = _retrieval(first, facts["encoder"])
    sections |= _background(costs, encoder, facts, asterisk=bool(marked))

    # everything is made before the first file is written
    markdown = _markdown(sections)
    files = {
        "report.html": _html(sections, facts),
        "results.md": f"# {facts['title']}\n\n{facts['lead']}\n\n{markdown}".encode(),
        **_data_files(cells, retrieved, facts),
    }
    for part, name in _FIGURES.items():
        if len(curves[part]):
            styles = _styles(curves[part], encoder)
            files[name] = panels_png(curves[part], styles)
    for name, content in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    # a figure of an earlier report would be taken for one of this report
    for name in _FIGURES.values():
        if name not in files:
            (folder / name).unlink(missing_ok=True)

    # a model card has no figures and no long tables
    card = {name: blocks for name, blocks in sections.items() if name in _IN_MODEL_CARD}
    return _markdown(card)


def _data_files(
    cells: pl.DataFrame, retrieved: pl.DataFrame, facts: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the content of results.csv and results.parquet."""
    command = pl.lit(facts["command"])
    seed = pl.lit(facts["seed"])
    versions = pl.lit(json.dumps(facts["versions"]))

    # the means of retrieval have no size
    means = pl.concat([summarise(cells), retrieved], how="diagonal_relaxed")
    means = means.with_columns(command=command, versions=versions)
    parquet = io.BytesIO()
    cells.with_columns(seed=seed, versions=versions).write_parquet(parquet)
    return {
        "results.csv": means.write_csv().encode(),
        "results.parquet": parquet.getvalue(),
    }


class _Block(NamedTuple):
    """A piece of the report, as HTML and as Markdown."""

    html: str
    markdown: str


def _text(paragraph: str) -> _Block:
    return _Block(text(paragraph), paragraph)


def _bullets(paragraphs: Sequence[str]) -> _Block:
    return _Block(bullets(paragraphs), "\n".join(f"- {paragraph}" for paragraph in paragraphs))


def _findings(findings: Mapping[str, str]) -> _Block:
    """One line for each task, which says who leads; the page shows the rest on demand."""
    html = []
    for task, finding in findings.items():
        first, _, rest = finding.partition(". ")
        name = f"{task}: {first}" if rest else f"{task}: {first.removesuffix('.')}"
        html.append(fold(name, text(rest)) if rest else text(f"{name}."))
    markdown = [f"- **{task}**: {finding}" for task, finding in findings.items()]
    return _Block("\n".join(html), "\n".join(markdown))


def _table(table: Table) -> _Block:
    return _Block(table.html(), table.markdown())


def _fold(name: str, tables: Sequence[Table], *, opened: bool = False) -> _Block:
    html = "\n".join(table.html() for table in tables)
    markdown = [f"### {name}", *(table.markdown() for table in tables)]
    return _Block(fold(name, html, opened=opened), "\n\n".join(markdown))


def _figure(curves: pl.DataFrame, part: str, encoder: str) -> _Block:
    label = f"learning curves on {part} rows"
    html = panels_html(curves, _styles(curves, encoder), label)
    return _Block(html, f"![{label}]({_FIGURES[part]})")


def _html(sections: Mapping[str, Sequence[_Block]], facts: Mapping[str, Any]) -> bytes:
    pieces = {}
    for name, blocks in sections.items():
        pieces[name] = "\n".join(block.html for block in blocks)
    return page(facts["title"], facts["lead"], pieces).encode()


def _markdown(sections: Mapping[str, Sequence[_Block]]) -> str:
    pieces = []
    for name, blocks in sections.items():
        pieces += [f"## {name}", *(block.markdown for block in blocks)]
    return "\n\n".join(pieces) + "\n"


class _Kind(NamedTuple):
    """A kind of models that have a table of means of their own.

    Attributes
    ----------
    name : str
        "vectors alone" or "whole classifiers"; "" if all models are of one kind.
    models : list of str
    encoder : str or None
        Our model of this kind, which the others are compared with.
    gaps : DataFrame
        This encoder minus every other model of any kind, on test rows; no rows without an encoder.
    """

    name: str
    models: list[str]
    encoder: str | None
    gaps: pl.DataFrame


def _kinds(cells: pl.DataFrame, encoder: str) -> list[_Kind]:
    """Group the models by kind, vectors first."""
    cells = cells.filter(part="test")
    if "vectors_alone" not in cells.columns:
        cells = cells.with_columns(vectors_alone=False)
    kinds = []
    for vectors_alone in (True, False):
        own_cells = cells.filter(pl.col("vectors_alone") == vectors_alone)
        if own_cells.is_empty():
            continue
        models = own_cells["model"].unique(maintain_order=True).to_list()
        ours = [model for model in (encoder, _ENCODER_ALONE) if model in models]
        gaps = differences(cells, ours[0] if ours else "")
        name = "vectors alone" if vectors_alone else "whole classifiers"
        kinds.append(_Kind(name, models, ours[0] if ours else None, gaps))
    return kinds if len(kinds) > 1 else [kinds[0]._replace(name="")]


def _sections(
    summary: pl.DataFrame,
    kinds: Sequence[_Kind],
    curves: Mapping[str, pl.DataFrame],
    encoder: str,
) -> dict[str, list[_Block]]:
    """Return the results: blocks by their headings."""
    summary = summary.filter(part="test")
    means = mean_auc(summary)
    # the mean of one task is that task, and needs no table
    several = bool((means["tasks"] > 1).any())

    # findings and tables: of the mean over tasks first, then task by task
    gaps = next(kind.gaps for kind in kinds if kind.encoder == encoder)
    findings = _mean_findings(means, kinds) if several else {}
    task_tables = {}
    for (task, split), part in summary.group_by("task", "split", maintain_order=True):
        name = name_of(str(task), str(split))
        own_gaps = gaps.filter(task=task, split=split)
        findings[name] = describe(part.filter(_PRIMARY), own_gaps, encoder)
        by_metric = part.group_by("metric", maintain_order=True)
        task_tables[name] = [metric_table(rows, encoder) for _, rows in by_metric]

    sections = {
        _WINNERS: [
            _text(_NOTE_ON_WINNERS),
            _findings(findings),
        ]
    }
    if several:
        sections[_MEANS] = _mean_tables(means, kinds)
    sections["Learning curves"] = [
        _text(_NOTE_ON_CURVES.format(encoder=encoder)),
        _figure(curves["test"], "test", encoder),
    ]
    for kind in kinds:
        if len(kind.gaps):
            blocks = _gap_tables(kind.gaps, several=several)
            note = _text(_NOTE_ON_GAPS.format(encoder=kind.encoder))
            sections[f"{kind.encoder} minus each other model"] = [note, *blocks]
    sections["Task by task"] = [
        _text(_NOTE_ON_TASKS),
        *(_fold(name, tables) for name, tables in task_tables.items()),
    ]
    if len(curves["validation"]):
        sections["BYOL's weight"] = [
            _text(_NOTE_ON_ALPHA),
            _figure(curves["validation"], "validation", encoder),
        ]
    if len(gaps):
        # of the encoder's sizes, the nearest by ratio
        sizes = summary.filter(model=encoder)["size"].unique().sort()
        size = min(sizes, key=lambda size: abs(math.log(size / _LABELS_SAVED_AT)))
        sections["Labels saved"] = [
            _text(_NOTE_ON_LABELS_SAVED.format(encoder=encoder, size=size)),
            _table(saved_table(summary, encoder, size)),
        ]
    return sections


def _mean_findings(means: pl.DataFrame, kinds: Sequence[_Kind]) -> dict[str, str]:
    """Describe the mean AUC of each kind of models that have all tasks of a size.

    Models are compared with those of their kind. Our vectors alone are also compared with the best
    whole classifier that isn't ours.
    """
    complete = means.filter(pl.col("tasks") == pl.col("of"))
    keys = complete.select("model", "size", tasks="of")
    findings = {}
    for kind in kinds:
        own = pl.col("model").is_in(kind.models)
        own_means = complete.filter(own)
        if own_means.is_empty():
            continue
        gaps = kind.gaps.filter(task=MEAN).join(keys, on=["model", "size", "tasks"], how="semi")
        finding = describe(own_means, gaps.filter(own), kind.encoder)
        if kind.name == "vectors alone" and kind.encoder is not None:
            ours = [other.encoder for other in kinds if other.encoder not in (kind.encoder, None)]
            rivals = " besides ".join(["whole classifier", *ours])
            others = gaps.filter(~own, ~pl.col("model").is_in(ours))
            finding = f"{finding} {describe_best(others, kind.encoder, rivals)}".rstrip()
        findings[f"{MEAN}, {kind.name}" if kind.name else MEAN] = finding
    return findings


def _mean_tables(means: pl.DataFrame, kinds: Sequence[_Kind]) -> list[_Block]:
    """Return a table of mean AUC for each kind of models, with notes."""
    notes = [_text(_NOTE_ON_MEANS)]
    if len(kinds) == 1:
        return [*notes, _table(mean_table(means, kinds[0].encoder))]
    notes.append(_text(_NOTE_ON_KINDS))
    tables = []
    for kind in kinds:
        rows = means.filter(pl.col("model").is_in(kind.models))
        # our model of this kind is its first row
        rows = rows.sort(pl.col("model") != (kind.encoder or ""), maintain_order=True)
        table = mean_table(rows, kind.encoder)
        tables.append(_fold(kind.name.capitalize(), [table], opened=True))
    return [*notes, *tables]


def _gap_tables(gaps: pl.DataFrame, *, several: bool) -> list[_Block]:
    """Return the differences of the mean over tasks, if there are several, and of each task."""
    blocks = []
    # the rows of the mean come last
    mean = gaps.filter(task=MEAN)
    if several and len(mean):
        blocks.append(_fold(MEAN, [gap_table(mean)], opened=True))
    tasks = gaps.filter(pl.col("task") != MEAN)
    for (task, split), rows in tasks.group_by("task", "split", maintain_order=True):
        blocks.append(_fold(name_of(str(task), str(split)), [gap_table(rows)]))
    return blocks


def _retrieval(rows: pl.DataFrame, encoder: str) -> list[_Block]:
    """Return a table of models by metrics for each shop."""
    note = _NOTE_ON_RETRIEVAL.format(users=HELD_OUT_USERS, popularity=MOST_VISITED)
    tables = retrieval_tables(rows, encoder)
    return [_text(note), *(_fold(shop, [table], opened=True) for shop, table in tables.items())]


def _background(
    costs: pl.DataFrame, encoder: str, facts: Mapping[str, Any], *, asterisk: bool
) -> dict[str, list[_Block]]:
    """Return costs, tasks, notes, and how to reproduce the results: blocks by their headings."""
    sections = {
        "Costs": [_text(_NOTE_ON_COSTS), _table(cost_table(costs, encoder))],
        _TASKS: [_table(task_table(facts["tasks"]))],
    }
    if facts["seen"]:
        sections[_SEEN] = [_bullets(facts["seen"])]
    notes = list(facts["notes"])
    if asterisk:
        notes.append(_NOTE_ON_ASTERISK)
    if notes:
        sections["Notes"] = [_bullets(notes)]
    command = str(facts["command"])
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    sections[_REPRODUCE] = [
        _Block(commands([command]), f"```\n{command}\n```"),
        _text(f"Seed {facts['seed']}; {versions}"),
    ]
    return sections


def _curves(summary: pl.DataFrame, part: str) -> pl.DataFrame:
    """Return the curves of one part of the split, as `vitrina.pages.curves` takes them."""
    task = pl.struct("task", "split")
    panel = task.map_elements(lambda key: name_of(**key), pl.String)
    primary = summary.filter(_PRIMARY, part=part)
    return primary.with_columns(panel=panel)


def _styles(curves: pl.DataFrame, encoder: str) -> dict[str, Style]:
    models = curves["model"].unique(maintain_order=True).to_list()
    # the untrained encoder is called "random" or "random encoder"
    untrained = [model for model in models if model.startswith("random")]
    return styles_of(models, encoder, untrained[0] if untrained else "")
