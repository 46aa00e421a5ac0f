"""Every model on every task, and a report: `vitrina evaluate`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vitrina.compiled import default_threads
from vitrina.encoder.weights import EncoderWeights
from vitrina.errors import InputError, MissingExtraError
from vitrina.evaluation.model import Model, VectorModel
from vitrina.evaluation.models.frozen_encoder import FrozenEncoder
from vitrina.evaluation.models.registry import ModelContext, build, default_names
from vitrina.evaluation.protocol import REPEATS, SIZES
from vitrina.evaluation.report import write_report
from vitrina.evaluation.retrieval import MOST_VISITED, TITLES, NextProduct
from vitrina.evaluation.runner import CellRunner, versions_of
from vitrina.evaluation.shop import HELD_OUT_USERS, Shop
from vitrina.evaluation.task import Task
from vitrina.evaluation.task_file import read_tasks
from vitrina.files import require_name
from vitrina.progress import console

_QUICK_ROWS, _QUICK_SIZES, _QUICK_SAMPLES, _QUICK_TITLES = 1_500, (100, 300), 2, 1_000

_LEAD = (
    "{models} models learn from the same labels and are judged on the same test rows: {subsamples} "
    "random subsamples of each size, from 60 % of the titles; 20 % are for choosing settings, 20 % "
    "for the test. A title has rows in one of the three only; in a grouped split, so has a group."
)


def evaluate(
    tasks_file: str | Path,
    out: str | Path,
    *,
    encoders: Sequence[str | Path] = (),
    baselines: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    subsamples: int | None = None,
    alphas: Sequence[float] = (),
    quick: bool = False,
    resume: bool = False,
    seed: int = 0,
    threads: int | None = None,
    quiet: bool = False,
) -> pl.DataFrame:
    """Compare encoders and baselines on tasks, and write a report (paper §4, A.2).

    The folder `out` gets `report.html`, `results.parquet` (one row a cell), `results.csv` and
    `results.md` (means), `figure3.png`, with `alphas` also `figure2.png`; `encoders/`, those that
    were judged, with these results in their model cards; and `cache/`, from which a resumed run
    takes all that didn't change.

    Parameters
    ----------
    tasks_file : TOML file, see `vitrina.evaluation.task_file.read_tasks`
    out : folder
    encoders : folders of saved encoders; the first is the one that baselines are compared with
    baselines : names, see `vitrina.evaluation.models.registry.MODELS`; by default all that need no model
        from elsewhere and whose packages are installed
    sizes : numbers of labels, by default the paper's; those that a task doesn't allow are left out
    subsamples : random subsamples of each size, 5 by default
    alphas : pre-train an encoder by BYOL with each α and compare them on the validation rows, as
        the paper's figure 2 does
    quick : a small version of everything, to see that it works: few rows, labels and steps
    resume : go on in a folder that holds a run, with the same or other options
    seed : of splits, subsamples and models
    threads : processes that work on cells, all processors by default

    Returns
    -------
    the cells, as in `results.parquet`

    Raises
    ------
    InputError
        for a task, model or option that can't be used, before anything expensive starts
    """
    out = Path(out)
    _check_out(out, resume)
    if find_spec("matplotlib") is None:  # now, not after hours
        raise MissingExtraError("matplotlib", "report")
    sizes = tuple(sorted(set(sizes or (_QUICK_SIZES if quick else SIZES))))
    subsamples = subsamples or (_QUICK_SAMPLES if quick else REPEATS)
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise InputError(f"--alphas: {alpha} should be a number from 0 to 1")
    if sizes[0] < 2:
        raise InputError(f"--sizes: {sizes[0]} labels can't hold two classes; give 2 or more")
    tasks, shops = read_tasks(tasks_file, rows=_QUICK_ROWS if quick else None, seed=seed)
    for task in tasks:
        if len(task.train) < sizes[0]:
            raise InputError(
                f"{tasks_file}: task '{task.name}' has {len(task.train):,} training rows (split by "
                f"{task.split}), too few for {sizes[0]:,} labels; add rows or give smaller --sizes"
            )
    saved = [Path(encoder) for encoder in encoders]
    context = ModelContext(out / "cache", shops, saved[0] if saved else None, seed, quick)
    notes = console(stderr=True, quiet=quiet)
    if baselines is None:
        baselines, lacking = default_names(context)
        if lacking:
            notes.print(
                f"left out, for want of packages: {', '.join(lacking)}; get them with: "
                "pip install 'vitrina[baselines]'"
            )
    judged = [
        FrozenEncoder(
            name=path.name or str(path), folder=context.folder, saved=path, use_words=True
        )
        for path in saved
    ]
    for encoder in judged:
        encoder.check()
    models: list[Model] = [*judged, *build(context, baselines)]
    names = [model.name for model in models]
    for model in models:
        if names.count(model.name) > 1:
            raise InputError(f"--encoder: two models are named '{model.name}'; rename a folder")
        if not any(map(model.suits, tasks)):
            raise InputError(f"--baselines: '{model.name}' suits none of the tasks; leave it out")

    bench = CellRunner(
        context.folder, tasks, sizes, subsamples, seed, threads or default_threads(), quiet
    )
    found: list[pl.DataFrame] = []
    remarks = []
    if alphas:
        if not shops:
            raise InputError("--alphas: pre-training needs sessions; add them to the tasks' file")
        named = {f"α = {alpha:g}": float(alpha) for alpha in alphas}
        curves: list[Model] = [
            context.encoder_model(name, objective="byol", alpha=alpha)
            for name, alpha in named.items()
        ]
        curves[0].check()
        found.append(bench.run([*curves, *build(context, ["random"])], "validation"))
        judged_by_auc = found[0].filter(pl.col("model").is_in(list(named)), metric="auc")
        means = judged_by_auc.group_by("model").agg(pl.col("value").mean())
        ranked = means.sort("value", "model")
        remarks.append(
            f"With BYOL, {ranked['model'][-1]} has the highest mean AUC on the validation rows "
            f"({ranked['value'][-1]:.3f})."
        )
    found.append(bench.run(models, "test"))
    retrieved = _retrieved(models, tasks, shops.values(), seed, quick, quiet)
    cells = pl.concat(found, how="diagonal_relaxed")
    own = "encoder" if "encoder" in names else names[0]
    facts = {
        "title": f"Title encoders and baselines on {len({task.name for task in tasks})} tasks",
        "lead": _LEAD.format(models=len(models), subsamples=subsamples),
        "encoder": own,
        "command": shlex.join(
            _command(tasks_file, out, saved, baselines, sizes, subsamples, alphas)
        ),
        "versions": versions_of(models),
        "seed": seed,
        "notes": [*_notes(tasks, bool(shops), quick), *remarks],
        "tasks": [_described(task) for task in tasks],
    }
    findings = write_report(out, cells, bench.costs(models, cells), retrieved, facts)
    _keep_encoders(out, models[names.index(own)], tasks, findings)
    return pl.read_parquet(out / "results.parquet")


def _retrieved(
    models: Sequence[Model],
    tasks: Sequence[Task],
    shops: Iterable[Shop],
    seed: int,
    quick: bool,
    quiet: bool,
) -> pl.DataFrame:
    """Next products and categories, found by vectors alone: a row a model, shop and metric."""
    size = _QUICK_TITLES if quick else TITLES
    asked = [asked for shop in shops if (asked := NextProduct.of(shop, tasks, size, seed))]
    able = [model for model in models if isinstance(model, VectorModel)]
    results = [(of.titles.name, MOST_VISITED, of.popularity()) for of in asked]
    for model in able:
        if own := [of for of in asked if model.suits(of.titles)]:
            model.prepare([of.titles for of in own], quiet=quiet)
        results += [(of.titles.name, model.name, of.judge(model)) for of in own]
    rows = [
        {
            "task": task,
            "split": "user",
            "part": "test",
            "model": model,
            "metric": metric,
            "mean": values.mean(),
            "std": values.std(),
            "samples": len(values),
        }
        for task, model, found in results
        for metric, values in found.items()
    ]
    return pl.DataFrame(rows)


def _keep_encoders(out: Path, model: Model, tasks: Sequence[Task], findings: str) -> None:
    """The encoders that were judged, ready for use, with what was found in their model cards."""
    if not isinstance(model, FrozenEncoder):
        return
    folders = {
        task.sessions if model.saved is None else model.saved.name: model.encoder_of(task)
        for task in tasks
        if model.suits(task)
    }
    for name, folder in folders.items():
        weights = EncoderWeights.load(folder)
        weights.save(out / "encoders" / name, force=True, findings=findings)


def _check_out(out: Path, resume: bool) -> None:
    require_name(out)
    if out.is_file():
        raise InputError(f"{out}: is a file; give a folder for the results")
    if out.is_dir() and any(out.iterdir()):
        if not (out / "cache").is_dir():
            raise InputError(f"{out}: is a folder that isn't ours; choose another --out")
        if not resume:
            raise InputError(
                f"{out}: holds a run; go on with --resume, which keeps what is done, or choose "
                "another --out"
            )


def _described(task: Task) -> dict[str, Any]:
    labels = task.labels
    return {
        "name": task.name,
        "split": task.split,
        "kind": task.kind,
        "rows": len(labels),
        "train": len(task.train),
        "validation": len(task.validation),
        "test": len(task.test),
        "classes": len(task.classes) or None,
        "positive": float(np.mean(labels)) if task.kind == "binary" else None,
        "note": task.note,
    }


def _notes(tasks: Sequence[Task], pretraining: bool, quick: bool) -> list[str]:
    notes = [note for note in dict.fromkeys(task.note for task in tasks) if note]
    if pretraining:
        notes.append(
            f"Pre-training on a task's sessions met none of 1 user in {HELD_OUT_USERS}, and left "
            "out every product with one of its validation or test titles; Prod2Vec and "
            "Meta-Prod2Vec met these in the sessions, as ids without title or category."
        )
    if quick:
        notes.insert(0, "A quick run: few rows, labels and steps. Its figures mean nothing.")
    return notes


def _command(
    tasks_file: str | Path,
    out: Path,
    saved: Sequence[Path],
    baselines: Sequence[str],
    sizes: Sequence[int],
    subsamples: int,
    alphas: Sequence[float],
) -> list[str]:
    """The command that gives these results."""
    command = ["vitrina", "evaluate", str(tasks_file), "--out", str(out)]
    for path in saved:
        command += ["--encoder", str(path)]
    command += ["--baselines", *baselines, "--sizes", ",".join(map(str, sizes))]
    command += ["--subsamples", str(subsamples)]
    return command + (["--alphas", ",".join(f"{a:g}" for a in alphas)] if alphas else [])
