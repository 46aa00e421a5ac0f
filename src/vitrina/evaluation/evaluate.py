"""The whole comparison: every model on every task, and a report (`vitrina evaluate`)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vitrina.compiled import number_of_threads
from vitrina.encoder.weights import EncoderWeights
from vitrina.errors import InputError, MissingExtraError
from vitrina.evaluation.model import Model, VectorModel
from vitrina.evaluation.models.builder import build, default_names
from vitrina.evaluation.models.frozen_encoder import FrozenEncoder
from vitrina.evaluation.models.registry import ModelContext
from vitrina.evaluation.notes import (
    SharesSeen,
    advice_on_logarithms,
    notes_on,
    notes_on_seen_titles,
)
from vitrina.evaluation.protocol import REPEATS, SIZES
from vitrina.evaluation.report import write_report
from vitrina.evaluation.retrieval import MOST_VISITED, TITLES, NextProduct
from vitrina.evaluation.runner import CellRunner, versions_of
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.evaluation.task_file import read_tasks
from vitrina.files import require_name
from vitrina.progress import console

# sizes of a quick run
_QUICK_ROWS = 1_500
_QUICK_SIZES = (100, 300)
_QUICK_SUBSAMPLES = 2
_QUICK_TITLES = 1_000

_LEAD = (
    "{models} models are trained on the same labels and evaluated on the same test rows, with "
    "{subsamples} random subsamples of each size. 60 % of the titles are for training, 20 % for "
    "choosing settings and 20 % for the test. All rows of a title are in one of the three parts; "
    "in a grouped split, so are all rows of a group."
)
_QUICK_LEAD = " This is a quick run with few rows, labels and steps: its figures mean nothing."


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

    Writes to the folder `out`: `report.html`; `results.parquet` (one row for each cell);
    `results.csv` and `results.md` (means); `figure3.png`, and with `alphas` also `figure2.png`;
    `encoders/`, the evaluated encoders with these results in their model cards; and `cache/`, from
    which a resumed run takes everything that hasn't changed.

    Parameters
    ----------
    tasks_file : path
        A TOML file, see `vitrina.evaluation.task_file.read_tasks`.
    out : path
        The folder for the results.
    encoders : sequence of path, optional
        Folders of saved encoders. The report compares the first one with all other models.
    baselines : sequence of str, optional
        Names of models, see `vitrina.evaluation.models.registry.MODELS`. By default all models
        that need no model from elsewhere and have their packages installed.
    sizes : sequence of int, optional
        Numbers of labels, by default those of the paper. A task is not run with sizes above the
        number of its training rows.
    subsamples : int, optional
        Number of random subsamples of each size, 5 by default.
    alphas : sequence of float, optional
        Pre-train an encoder by BYOL with each α and compare them on the validation rows, as in the
        paper's figure 2.
    quick : bool, default False
        Run a quick smoke test: few rows, few labels and few steps.
    resume : bool, default False
        Continue in a folder that holds a run, with the same or with other options.
    seed : int, default 0
        Random seed of splits, subsamples and models.
    threads : int, optional
        Number of processes that compute cells. By default the number of processors.
    quiet : bool, default False
        Show no progress.

    Returns
    -------
    DataFrame
        The cells, as in `results.parquet`.

    Raises
    ------
    InputError
        If a task, model or option can't be used. Most such errors are raised before any expensive
        work starts.
    """
    # check everything that is cheap to check
    out = Path(out)
    _check_out(out, resume)
    if find_spec("matplotlib") is None:  # now, not after hours
        raise MissingExtraError("matplotlib", "report")
    sizes = _checked_sizes(sizes, quick)
    _check_alphas(alphas)
    if not subsamples:
        subsamples = _QUICK_SUBSAMPLES if quick else REPEATS
    tasks, shops = read_tasks(tasks_file, rows=_QUICK_ROWS if quick else None, seed=seed)
    _check_tasks(tasks_file, tasks, sizes[0])
    if alphas and not shops:
        raise InputError(f"`alphas`: pre-training needs sessions; add them to {tasks_file}")
    # shown even if `quiet`: now there is time to change the task
    for advice in advice_on_logarithms(tasks):
        console(stderr=True).print(f"warning: {advice}")

    # the random encoder gets the tokenizer of the first saved encoder
    saved = [Path(encoder) for encoder in encoders]
    context = ModelContext(out / "cache", shops, saved[0] if saved else None, seed, quick)
    if baselines is None:
        baselines = _default_baselines(context, quiet)
    models = _build_models(context, saved, baselines, tasks)

    # train and evaluate: this takes nearly all the time
    runner = CellRunner(
        context.folder, tasks, sizes, subsamples, seed, number_of_threads(threads), quiet
    )
    results: list[pl.DataFrame] = []
    notes = notes_on(tasks, pretraining=bool(shops), quick=quick)
    if alphas:
        study, finding = _alpha_study(runner, context, alphas)
        results.append(study)
        notes.append(finding)
    results.append(runner.run(models, "test"))
    # a column without values has no type of its own: let the other frame decide
    cells = pl.concat(results, how="diagonal_relaxed")
    retrieved = _evaluate_retrieval(models, tasks, shops.values(), seed, quick, quiet)

    # the report compares one model with all others
    names = [model.name for model in models]
    compared = models[names.index("encoder") if "encoder" in names else 0]
    command = _command(tasks_file, out, saved, baselines, sizes, subsamples, alphas)
    facts = {
        "title": _title(tasks),
        "lead": _LEAD.format(models=len(models), subsamples=subsamples) + _QUICK_LEAD * quick,
        "encoder": compared.name,
        "command": shlex.join(command),
        "versions": versions_of(models),
        "seed": seed,
        "notes": notes,
        "seen": notes_on_seen_titles(_seen_titles(models, tasks)),
        "tasks": [_description(task) for task in tasks],
    }
    findings = write_report(out, cells, runner.costs(models, cells), retrieved, facts)
    _keep_encoders(out, compared, tasks, findings)
    return pl.read_parquet(out / "results.parquet")


def _check_out(out: Path, resume: bool) -> None:
    """Refuse an output that would overwrite something else."""
    require_name(out)
    if out.is_file():
        raise InputError(f"{out}: is a file; give a folder for the results")
    if not out.is_dir() or not any(out.iterdir()):
        return
    # every run makes a cache, so a folder without one isn't the output of a run
    if not (out / "cache").is_dir():
        raise InputError(f"{out}: is a folder that vitrina didn't write; choose another `out`")
    if not resume:
        raise InputError(
            f"{out}: holds a run; set `resume` to continue it and to keep what is done, or choose "
            "another `out`"
        )


def _checked_sizes(sizes: Sequence[int] | None, quick: bool) -> tuple[int, ...]:
    """Return the distinct sizes in ascending order, or the default sizes."""
    if not sizes:
        sizes = _QUICK_SIZES if quick else SIZES
    sizes = tuple(sorted(set(sizes)))
    if sizes[0] < 2:
        raise InputError(f"`sizes`: {sizes[0]} labels can't contain two classes; give 2 or more")
    return sizes


def _check_alphas(alphas: Sequence[float]) -> None:
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise InputError(f"`alphas` contains {alpha}; each must be a number from 0 to 1")


def _check_tasks(tasks_file: str | Path, tasks: Sequence[Task], smallest: int) -> None:
    """Refuse a task that has fewer training rows than the smallest size."""
    for task in tasks:
        if len(task.train) < smallest:
            raise InputError(
                f"{tasks_file}: task '{task.name}' has {len(task.train):,} training rows (split by "
                f"{task.split}), too few for {smallest:,} labels; add rows or give smaller `sizes`"
            )


def _default_baselines(context: ModelContext, quiet: bool) -> list[str]:
    names, lacking = default_names(context)
    if lacking:
        console(stderr=True, quiet=quiet).print(
            f"left out because packages are missing: {', '.join(lacking)}; install them with: "
            "pip install 'vitrina[baselines]'"
        )
    return names


def _build_models(
    context: ModelContext, saved: Sequence[Path], baselines: Sequence[str], tasks: Sequence[Task]
) -> list[Model]:
    """Make the saved encoders and the baselines into models, and check them."""
    models: list[Model] = []
    for path in saved:
        name = path.name or str(path)
        models.append(FrozenEncoder(name=name, folder=context.folder, saved=path, use_words=True))
    # checked here; `build` checks the baselines
    for model in models:
        model.check()
    models += build(context, baselines)
    # cells and figures are identified by the names of the models
    names = [model.name for model in models]
    for model in models:
        if names.count(model.name) > 1:
            raise InputError(f"`encoders`: two models are named '{model.name}'; rename a folder")
        if not any(model.suits(task) for task in tasks):
            raise InputError(f"`baselines`: '{model.name}' suits none of the tasks; leave it out")
    return models


def _alpha_study(
    runner: CellRunner, context: ModelContext, alphas: Sequence[float]
) -> tuple[pl.DataFrame, str]:
    """Compare encoders that are pre-trained by BYOL with different α (paper, figure 2).

    Returns
    -------
    cells : DataFrame
        The cells on the validation rows, with those of the random encoder.
    finding : str
        One sentence that names the best α.
    """
    models: dict[str, Model] = {}
    for alpha in alphas:
        name = f"α = {alpha:g}"
        models[name] = context.encoder_model(name, objective="byol", alpha=float(alpha))
    for model in models.values():
        model.check()
    untrained = build(context, ["random"])
    cells = runner.run([*models.values(), *untrained], "validation")
    # α has no effect in shops without categories
    studied = cells.filter(pl.col("model").is_in(list(models))).select("task", "split").unique()
    cells = cells.join(studied, on=["task", "split"], how="semi", maintain_order="left")
    # the mean over all tasks with an AUC, sizes and subsamples; the name decides between equals
    aucs = cells.filter(pl.col("model").is_in(list(models)), metric="auc")
    means = aucs.group_by("model").agg(pl.col("value").mean()).sort("value", "model")
    finding = (
        f"With BYOL, {means['model'][-1]} has the highest mean AUC on the validation rows "
        f"({means['value'][-1]:.3f})."
    )
    return cells, finding


def _evaluate_retrieval(
    models: Sequence[Model],
    tasks: Sequence[Task],
    shops: Iterable[Shop],
    seed: int,
    quick: bool,
    quiet: bool,
) -> pl.DataFrame:
    """Find next products and categories with vectors only.

    Returns
    -------
    DataFrame
        One row for each shop, model and metric; without rows or columns if no shop has queries.
    """
    size = _QUICK_TITLES if quick else TITLES
    # the queries of each shop; a shop whose held-out users have no usable session has none
    retrievals = []
    for shop in shops:
        retrieval = NextProduct.from_shop(shop, tasks, size, seed)
        if retrieval is not None:
            retrievals.append(retrieval)
    # results of the ranking by visits, then of each model with vectors
    results = []
    for retrieval in retrievals:
        results.append((retrieval.titles.name, MOST_VISITED, retrieval.popularity()))
    for model in models:
        if not isinstance(model, VectorModel):
            continue
        suited = [retrieval for retrieval in retrievals if model.suits(retrieval.titles)]
        if suited:
            # these titles are not those of the tasks: their vectors may have to be made
            model.prepare([retrieval.titles for retrieval in suited], quiet=quiet)
        for retrieval in suited:
            results.append((retrieval.titles.name, model.name, retrieval.evaluate(model)))
    # means over the queries
    rows = []
    for task, name, values_by_metric in results:
        for metric, values in values_by_metric.items():
            rows.append(
                {
                    "task": task,
                    "split": "user",
                    "part": "test",
                    "model": name,
                    "metric": metric,
                    "mean": values.mean(),
                    "std": values.std(),
                    "samples": len(values),
                }
            )
    return pl.DataFrame(rows)


def _keep_encoders(out: Path, model: Model, tasks: Sequence[Task], findings: str) -> None:
    """Save the evaluated encoders, with the findings in their model cards."""
    if not isinstance(model, FrozenEncoder):
        return
    # one saved encoder serves all tasks; otherwise there is one for each shop
    folders: dict[str, Path] = {}
    for task in tasks:
        if model.suits(task):
            name = task.sessions if model.saved is None else model.saved.name
            folders[name] = model.encoder_of(task)
    for name, folder in folders.items():
        weights = EncoderWeights.load(folder)
        weights.save(out / "encoders" / name, force=True, findings=findings)


def _description(task: Task) -> dict[str, Any]:
    """Return the task's row in the report."""
    return {
        "name": task.name,
        "split": task.split,
        "kind": task.kind,
        "rows": len(task.labels),
        "train": len(task.train),
        "validation": len(task.validation),
        "test": len(task.test),
        "classes": len(task.classes) or None,
        "positive": float(np.mean(task.labels)) if task.kind == "binary" else None,
        "note": task.note,
    }


def _seen_titles(models: Sequence[Model], tasks: Sequence[Task]) -> dict[str, SharesSeen]:
    """Return the share of test titles that each pre-trained encoder may have seen, by task."""
    seen: dict[str, SharesSeen] = {}
    for model in models:
        if not isinstance(model, FrozenEncoder) or model.untrained:
            continue
        suited = [task for task in tasks if model.suits(task)]
        seen[model.name] = {(task.name, task.split): model.share_seen(task) for task in suited}
    return seen


def _title(tasks: Sequence[Task]) -> str:
    """The title of the report. A grouped split has the name of its task, and counts once."""
    number = len({task.name for task in tasks})
    return f"Title encoders and baselines on {number} task{'s' if number > 1 else ''}"


def _command(
    tasks_file: str | Path,
    out: Path,
    saved: Sequence[Path],
    baselines: Sequence[str],
    sizes: Sequence[int],
    subsamples: int,
    alphas: Sequence[float],
) -> list[str]:
    """Return the command that gives these results."""
    # all defaults are written out: they may change in a later version
    command = ["vitrina", "evaluate", str(tasks_file), "--out", str(out)]
    for path in saved:
        command += ["--encoder", str(path)]
    command += ["--baselines", *baselines]
    command += ["--sizes", ",".join(map(str, sizes))]
    command += ["--subsamples", str(subsamples)]
    if alphas:
        command += ["--alphas", ",".join(f"{alpha:g}" for alpha in alphas)]
    return command
