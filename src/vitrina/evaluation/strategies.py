"""Learning curves of query strategies: which titles to label (`vitrina evaluate --strategies`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.metrics import average_precision_score, roc_auc_score

from vitrina.classification.linear import over_classes
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.evaluation.task import Task
from vitrina.evaluation.task_file import read_tasks
from vitrina.files import atomic_path, require_name, write_json
from vitrina.hashing import content_key
from vitrina.labelling.catalogue_features import CatalogueFeatures, Rows
from vitrina.labelling.query_strategies import (
    DIVERSE,
    MARGIN,
    RANDOM,
    TOP,
    Sampler,
    by_margin,
    by_score,
    diverse,
)
from vitrina.pages.curves import panels_html, styles_of
from vitrina.pages.html import Table, page, text
from vitrina.progress import Progress

MIX = "default mix"
COMPARED = (MIX, RANDOM, DIVERSE, MARGIN, TOP)
SIZES = (50, 100, 200, 500, 1_000)
SUBSAMPLES = 5
KNOWN_POSITIVE = 3
"""Positive titles that are known from the start if the class is rare, as from a search."""

_LEAST_BATCH = 10
_BATCH_SHARE = 0.1
_QUICK_ROWS = 1_500
_QUICK_SIZES = (50, 100)
_FORMAT = 1  # to be raised when the protocol changes: curves are then computed again
_METRICS = {"auc": "AUC ROC", "average_precision": "average precision"}
_NAMES = {True: "Rare classes", False: "Other tasks"}
_LEAD = (
    "Each strategy chooses which training titles are labelled. The classifier is fitted again "
    "after each tenth label, or after a tenth of the labels if that is more. All figures are on "
    "the validation rows, means of {subsamples} runs. Where less than a tenth of the titles is "
    "positive, three positive titles are known from the start, as from a search; they count as "
    "labels. The labels of the default mix include its audit."
)
_NEEDED = (
    "The number of random labels whose average precision, or AUC, is that of each strategy, by "
    "interpolation. A number above the labels of the column is a gain."
)

Labels = npt.NDArray[Any]
Chooser = Callable[[Rows, Labels, int], Rows]


def compare_strategies(
    tasks_file: str | Path,
    out: str | Path,
    *,
    encoder: str | Path,
    sizes: Sequence[int] | None = None,
    subsamples: int | None = None,
    quick: bool = False,
    resume: bool = False,
    seed: int = 0,
    quiet: bool = False,
) -> pl.DataFrame:
    """Compare query strategies on tasks, and write a report.

    Writes to the folder `out`: `strategies.html`, `strategies.md` (the tables),
    `strategies.parquet` (a row for each task, strategy, size and subsample), and `cache/`, from
    which a resumed run takes the curves that are done.

    Parameters
    ----------
    tasks_file : path
        A TOML file, see `vitrina.evaluation.task_file.read_tasks`. Regressions and grouped splits
        are left out.
    out : path
        The folder for the results.
    encoder : path
        Folder of a saved encoder.
    sizes : sequence of int, optional
        Numbers of labels, by default 50 to 1,000.
    subsamples : int, optional
        Number of runs of each strategy, 5 by default.
    quick : bool, default False
        Run a quick smoke test: few rows and few labels.
    resume : bool, default False
        Continue in a folder that holds a run.
    seed : int, default 0
        Random seed of splits and strategies.
    quiet : bool, default False
        Show no progress.

    Returns
    -------
    DataFrame
        The rows of `strategies.parquet`.

    Raises
    ------
    InputError
        If a task, the encoder or an option can't be used, or the file has no task with classes.
    """
    out = Path(out)
    _check_out(out, resume)
    sizes = sorted(set(sizes or (_QUICK_SIZES if quick else SIZES)))
    if sizes[0] < 2:
        raise InputError(f"`sizes`: {sizes[0]} labels can't contain two classes; give 2 or more")
    if not subsamples:
        subsamples = 1 if quick else SUBSAMPLES
    model = TitleEncoder.load(encoder)
    tasks, _ = read_tasks(tasks_file, rows=_QUICK_ROWS if quick else None, seed=seed)
    tasks = [task for task in tasks if task.kind != "regression" and task.split == "title"]
    if not tasks:
        raise InputError(f"{tasks_file}: has regressions only; add a task with classes")

    rows: list[dict[str, Any]] = []
    total = len(tasks) * len(COMPARED) * subsamples
    done = 0
    known: dict[str, CatalogueFeatures] = {}
    with Progress("labelling", total, quiet=quiet) as progress:
        for task in tasks:
            for strategy in COMPARED:
                for run in range(subsamples):
                    curve = _curve(out, model, task, strategy, sizes, seed + run, known)
                    facts = {"task": task.name, "rare": task.is_rare, "strategy": strategy}
                    rows += [{**facts, "subsample": run, **point} for point in curve]
                    done += 1
                    progress.update(done, task.name)
    results = pl.DataFrame(rows)
    _write_report(out, results, _LEAD.format(subsamples=subsamples))
    return results


def _check_out(out: Path, resume: bool) -> None:
    """Refuse an output that would overwrite something else."""
    require_name(out)
    if out.is_file():
        raise InputError(f"{out}: is a file; give a folder for the results")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / "cache").is_dir():
        raise InputError(f"{out}: is a folder that vitrina didn't write; choose another `out`")
    if not resume:
        raise InputError(
            f"{out}: holds a run; set `resume` to continue it, or choose another `out`"
        )


def _curve(
    out: Path,
    encoder: TitleEncoder,
    task: Task,
    strategy: str,
    sizes: Sequence[int],
    seed: int,
    known: dict[str, CatalogueFeatures],
) -> list[dict[str, Any]]:
    """The learning curve of one run, from the cache if it is there."""
    sizes = [size for size in sizes if size <= len({task.titles[row] for row in task.train})]
    content = [_FORMAT, task.digest, encoder.weights.digest, strategy, sizes, seed]
    file = out / "cache" / f"strategy-{content_key(content)}.json"
    # a damaged file is computed again
    with suppress(OSError, ValueError):
        cached: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
        return cached
    if task.digest not in known:
        known.clear()  # one task's features at a time
        known[task.digest] = CatalogueFeatures(encoder, task.titles)
    curve = list(learning_curve(task, known[task.digest], strategy, sizes, seed))
    write_json(file, curve)
    return curve


def learning_curve(
    task: Task,
    features: CatalogueFeatures,
    strategy: str,
    sizes: Sequence[int],
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Label training titles by one strategy, and evaluate a classifier on the validation rows.

    The classifier is fitted again after each tenth label, or after a tenth of the labels if that is
    more. If a class is rare, three random titles of it are known from the start; they count as
    labels.

    Parameters
    ----------
    task : Task
        Binary or multi-class.
    features : CatalogueFeatures
        Of all titles of the task.
    strategy : str
        One of `COMPARED`.
    sizes : sequence of int
        Numbers of labels at which the classifier is evaluated, ascending.
    seed : int

    Yields
    ------
    dict
        `size`, `auc` and `average_precision`: means over the classes, or those of the positive
        class of a binary task.
    """
    rng = np.random.default_rng([seed, 7])
    truth = task.labels.astype(np.int64)
    # a title is labelled once, as by `vitrina label`
    forms = [features.forms[row] for row in task.train]
    pool = task.train[np.sort(np.unique(forms, return_index=True)[1])]
    sampler = Sampler(features, seed, pool)
    labelled: Rows = np.empty(0, np.int64)
    if task.is_rare:
        # a search finds no titles of the audit
        positive = sampler.other_rows[truth[sampler.other_rows] == 1]
        labelled = rng.choice(positive, min(KNOWN_POSITIVE, len(positive)), replace=False)
    choose = _by_mix(sampler) if strategy == MIX else _by_one(strategy, pool, features, seed)
    for size in sizes:
        while len(labelled) < size:
            # random titles need no classifier in between
            most = size if strategy == RANDOM else _LEAST_BATCH + int(_BATCH_SHARE * len(labelled))
            n = min(most, size - len(labelled))
            labelled = np.concatenate([labelled, choose(labelled, truth[labelled], n)])
        yield {"size": size, **_evaluated(task, features, labelled, truth)}


def _evaluated(
    task: Task, features: CatalogueFeatures, labelled: Rows, truth: Labels
) -> dict[str, float]:
    """The scores of a classifier on the validation rows."""
    rows = task.validation
    if len(np.unique(truth[labelled])) < 2:
        return {"auc": 0.5, "average_precision": float(np.mean(truth[rows]))}
    classifier = features.fit(labelled, truth[labelled])
    scores = features.scores(classifier)[rows]
    scores = over_classes(scores, classifier.classes_, max(2, len(task.classes)))
    classes = [1] if task.kind == "binary" else np.unique(truth[rows]).tolist()
    of_class = [(truth[rows] == k, scores[:, k]) for k in classes]
    return {
        "auc": float(np.mean([roc_auc_score(*pair) for pair in of_class])),
        "average_precision": float(np.mean([average_precision_score(*pair) for pair in of_class])),
    }


def _by_mix(sampler: Sampler) -> Chooser:
    """A function that chooses titles by the default mix: numbers, labels, how many -> numbers."""
    chosen_by: dict[int, str] = {}

    def choose(labelled: Rows, labels: Labels, n: int) -> Rows:
        strategies = np.array([chosen_by.get(row, "") for row in labelled.tolist()], np.str_)
        choices = sampler.choose(labelled, labels, strategies, n)
        chosen_by.update(choices)
        return np.array([choice.row for choice in choices], np.int64)

    return choose


def _by_one(strategy: str, pool: Rows, features: CatalogueFeatures, seed: int) -> Chooser:
    """A function that chooses titles of a pool by one strategy."""

    def choose(labelled: Rows, labels: Labels, n: int) -> Rows:
        rng = np.random.default_rng([seed, len(labelled)])
        free = pool[~np.isin(pool, labelled)]
        if strategy == DIVERSE:
            return diverse(features, rng.permutation(free), n, seed)
        classes, counts = np.unique(labels, return_counts=True)
        if strategy == RANDOM or len(classes) < 2:
            return rng.choice(free, min(n, len(free)), replace=False)
        scores = features.scores(features.fit(labelled, labels))
        # the top scores of the class with the fewest labels, or of the positive one
        target = 1 if len(classes) == 2 else int(np.argmin(counts))
        ranked = by_score(free, scores, target) if strategy == TOP else by_margin(free, scores)
        return ranked[:n]

    return choose


def _write_report(out: Path, results: pl.DataFrame, lead: str) -> None:
    """Write the tables, the curves and the data."""
    means = results.group_by("task", "rare", "strategy", "size", maintain_order=True).agg(
        pl.col(*_METRICS).mean()
    )
    styles = styles_of(COMPARED, MIX, RANDOM)
    sections: dict[str, str] = {}
    parts: list[str] = [f"# Which titles to label\n\n{lead}"]
    for is_rare in means["rare"].unique(maintain_order=True):
        of_kind = means.filter(rare=is_rare)
        name = _NAMES[is_rare]
        # ranking the top is what matters where a class is rare
        metric = "average_precision" if is_rare else "auc"
        tables = {f"{name}: mean {_METRICS[m]}": _mean_table(of_kind, m) for m in _METRICS}
        tables[f"{name}: random labels needed"] = _needed_table(of_kind, metric)
        for heading, table in tables.items():
            note = _NEEDED if "needed" in heading else ""
            sections[heading] = (text(note, soft=True) if note else "") + table.html()
            blocks = [f"## {heading}", note, table.markdown()]
            parts += [block for block in blocks if block]
        spread = (
            results.filter(rare=is_rare)
            .group_by("task", "strategy", "size")
            .agg(mean=pl.col(metric).mean(), std=pl.col(metric).std())
        )
        curves = spread.rename({"task": "panel", "strategy": "model"}).sort("panel")
        curves = curves.with_columns(metric=pl.lit(metric))
        sections[f"{name}: learning curves"] = panels_html(curves, styles, name)
    files = {
        "strategies.html": page("Which titles to label", lead, sections).encode(),
        "strategies.md": ("\n\n".join(parts) + "\n").encode(),
    }
    for file_name, content in files.items():
        with atomic_path(out / file_name) as temporary:
            temporary.write_bytes(content)
    with atomic_path(out / "strategies.parquet") as temporary:
        results.write_parquet(temporary)


def _mean_table(means: pl.DataFrame, metric: str) -> Table:
    """The mean over the tasks that have all sizes, by strategy and size."""
    sizes = means["size"].unique().sort().to_list()
    whole = means.group_by("task").agg(pl.col("size").n_unique()).filter(size=len(sizes))["task"]
    rows = []
    for strategy in COMPARED:
        of_strategy = means.filter(pl.col("task").is_in(whole.implode()), strategy=strategy)
        by_size = of_strategy.group_by("size").agg(pl.col(metric).mean()).sort("size")
        rows.append([strategy, *(f"{value:.3f}" for value in by_size[metric])])
    return Table(["strategy", *(f"{size:,}" for size in sizes)], rows, own=0)


def _needed_table(means: pl.DataFrame, metric: str) -> Table:
    """How many random labels each strategy is worth, by task, at 100 and 200 labels."""
    columns = [size for size in (100, 200) if size in means["size"].unique().to_list()]
    others = [strategy for strategy in COMPARED if strategy != RANDOM]
    names = ["task", *(f"{name}, {size}" for size in columns for name in others)]
    rows = []
    for (task,), of_task in means.group_by("task", maintain_order=True):
        random = of_task.filter(strategy=RANDOM).sort("size")
        row = [task]
        for size in columns:
            for name in others:
                value = of_task.filter(strategy=name, size=size)[metric]
                row.append(_labels_needed(random, metric, float(value[0])) if len(value) else "–")
        rows.append(row)
    return Table(names, rows)


def _labels_needed(random: pl.DataFrame, metric: str, value: float) -> str:
    """The number of random labels with a given score: linear in the logarithm of the number."""
    # more labels never count as worse: the curve is made monotonic
    scores = np.maximum.accumulate(random[metric].to_numpy())
    sizes = random["size"].to_numpy()
    if value > scores[-1]:
        return f"> {sizes[-1]:,}"
    if value < scores[0]:
        return f"< {sizes[0]:,}"
    return f"{round(float(np.exp(np.interp(value, scores, np.log(sizes))))):,}"
