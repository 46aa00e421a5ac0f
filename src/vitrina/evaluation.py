"""Every model on every task, cell by cell, and a report: `vitrina evaluate`.

A cell is a model on a subsample of a task. Cells are independent and cached by content: a stopped
run goes on where it was, and a new model, size or task costs only its own cells.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import platform
import random
import shlex
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from vitrina.baselines.frozen import FrozenEncoder
from vitrina.baselines.registry import Setup, build, default_names
from vitrina.compiled import default_threads
from vitrina.downstream.metrics import PRIMARY
from vitrina.downstream.protocol import (
    REPEATS,
    SIZES,
    Model,
    Part,
    Task,
    VectorModel,
    run_cell,
    subsamples,
)
from vitrina.downstream.retrieval import MOST_VISITED, TITLES, NextProduct
from vitrina.downstream.tasks import HELD_OUT_USERS, SessionSource, read_tasks
from vitrina.encoder.weights import EncoderWeights
from vitrina.errors import InputError, MissingExtraError
from vitrina.files import require_name, write_json
from vitrina.progress import Progress, console
from vitrina.report.evaluation import write_report

_FORMAT = 1  # a change of the protocol makes the cells of before useless
_QUICK_ROWS, _QUICK_SIZES, _QUICK_SAMPLES, _QUICK_TITLES = 1_500, (100, 300), 2, 1_000
_COST_SIZE = 1_000  # labels for which the report says how long fitting takes

_LEAD = (
    "{models} models learn from the same labels and are judged on the same test rows: {samples} "
    "random subsamples of each size, from 60 % of the titles; 20 % are for choosing settings, 20 % "
    "for the test. A title has rows in one of the three only; in a grouped split, so has a group."
)

Record = dict[str, Any]


def evaluate(
    tasks_file: str | Path,
    out: str | Path,
    *,
    encoders: Sequence[str | Path] = (),
    baselines: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    samples: int | None = None,
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
    tasks_file : TOML file, see `vitrina.downstream.tasks.read_tasks`
    out : folder
    encoders : folders of saved encoders; the first is the one that baselines are compared with
    baselines : names, see `vitrina.baselines.registry.MODELS`; by default all that need no model
        from elsewhere and whose packages are installed
    sizes : numbers of labels, by default the paper's; those that a task doesn't allow are left out
    samples : random subsamples of each size, 5 by default
    alphas : pre-train an encoder with each α and compare them on the validation rows (figure 2);
        the best is then the encoder that is judged on the tests
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
    samples = samples or (_QUICK_SAMPLES if quick else REPEATS)
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise InputError(f"--alphas: {alpha} should be a number from 0 to 1")
    if sizes[0] < 2:
        raise InputError(f"--sizes: {sizes[0]} labels can't hold two classes; give 2 or more")
    tasks, sources = read_tasks(tasks_file, rows=_QUICK_ROWS if quick else None, seed=seed)
    for task in tasks:
        if len(task.train) < sizes[0]:
            raise InputError(
                f"{tasks_file}: task '{task.name}' has {len(task.train):,} training rows (split by "
                f"{task.split}), too few for {sizes[0]:,} labels; add rows or give smaller --sizes"
            )
    saved = [Path(encoder) for encoder in encoders]
    setup = Setup(out / "cache", sources, saved[0] if saved else None, seed, quick)
    notes = console(stderr=True, quiet=quiet)
    if baselines is None:
        baselines, lacking = default_names(setup)
        if lacking:
            notes.print(
                f"left out, for want of packages: {', '.join(lacking)}; get them with: "
                "pip install 'vitrina[baselines]'"
            )
    judged = [
        FrozenEncoder(name=path.name or str(path), folder=setup.folder, saved=path, lexical=True)
        for path in saved
    ]
    for encoder in judged:
        encoder.check()
    models: list[Model] = [*judged, *build(setup, baselines)]
    names = [model.name for model in models]
    for model in models:
        if names.count(model.name) > 1:
            raise InputError(f"--encoder: two models are named '{model.name}'; rename a folder")
        if not any(map(model.suits, tasks)):
            raise InputError(f"--baselines: '{model.name}' suits none of the tasks; leave it out")

    bench = _Bench(setup.folder, tasks, sizes, samples, seed, threads or default_threads(), quiet)
    found: list[pl.DataFrame] = []
    remarks = []
    if alphas:
        if not sources:
            raise InputError("--alphas: pre-training needs sessions; add them to the tasks' file")
        named = {f"α = {alpha:g}": float(alpha) for alpha in alphas}
        curves: list[Model] = [setup.frozen(name, alpha=a) for name, a in named.items()]
        curves[0].check()
        found.append(bench.run([*curves, *build(setup, ["random"])], "validation"))
        judged_by_auc = found[0].filter(pl.col("model").is_in(list(named)), metric="auc")
        means = judged_by_auc.group_by("model").agg(pl.col("value").mean())
        ranked = means.sort("value", "model")
        best = ranked["model"][-1]
        remarks.append(
            f"{best} has the highest mean AUC on the validation rows ({ranked['value'][-1]:.3f}), "
            "so the encoder was pre-trained with it."
        )
        models = [
            replace(model, changes={**model.changes, "alpha": named[best]})
            if isinstance(model, FrozenEncoder) and model.name in ("encoder", "encoder alone")
            else model
            for model in models
        ]
    found.append(bench.run(models, "test"))
    retrieved = _retrieved(models, tasks, sources.values(), seed, quick, quiet)
    cells = pl.concat(found, how="diagonal_relaxed")
    facts = {
        "title": f"Title encoders and baselines on {len({task.name for task in tasks})} tasks",
        "lead": _LEAD.format(models=len(models), samples=samples),
        "encoder": "encoder" if "encoder" in names else names[0],
        "command": shlex.join(_command(tasks_file, out, saved, baselines, sizes, samples, alphas)),
        "versions": _versions(models),
        "seed": seed,
        "notes": [*_notes(tasks, bool(sources), quick), *remarks],
        "tasks": [_described(task) for task in tasks],
    }
    findings = write_report(out, cells, bench.costs(models, cells), retrieved, facts)
    _keep_encoders(out, [m for m in models if m.name == facts["encoder"]], tasks, findings)
    return pl.read_parquet(out / "results.parquet")


def _retrieved(
    models: Sequence[Model],
    tasks: Sequence[Task],
    sources: Iterable[SessionSource],
    seed: int,
    quick: bool,
    quiet: bool,
) -> pl.DataFrame:
    """Next products and categories, found by vectors alone: a row a model, source and metric."""
    size = _QUICK_TITLES if quick else TITLES
    asked = [asked for source in sources if (asked := NextProduct.of(source, tasks, size, seed))]
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


def _keep_encoders(
    out: Path, models: Sequence[Model], tasks: Sequence[Task], findings: str
) -> None:
    """The encoders that were judged, ready for use, with what was found in their model cards."""
    for model in models:
        if isinstance(model, FrozenEncoder):
            folders = {
                task.sessions if model.saved is None else model.saved.name: model.encoder_of(task)
                for task in tasks
                if model.suits(task)
            }
            for name, folder in folders.items():
                weights = EncoderWeights.load(folder)
                weights.save(out / "encoders" / name, force=True, findings=findings)


class _Bench:
    """Prepares models and works on their cells; what was done before comes from the cache."""

    def __init__(
        self,
        folder: Path,
        tasks: Sequence[Task],
        sizes: Sequence[int],
        samples: int,
        seed: int,
        workers: int,
        quiet: bool,
    ) -> None:
        self.folder, self.tasks, self.sizes, self.samples = folder, tasks, sizes, samples
        self.seed, self.workers, self.quiet = seed, workers, quiet
        self.prepared: dict[str, dict[str, float]] = {}

    def run(self, models: Sequence[Model], part: Part) -> pl.DataFrame:
        """All cells of the models, judged on a part of the split: a row each."""
        for model in models:
            suited = [task for task in self.tasks if model.suits(task)]
            self.prepared[model.name] = model.prepare(suited, quiet=self.quiet)
        blocks = [
            [
                _Cell(m, t, size, sample, part)
                # all sizes of the first subsample come first: they tune, the others follow
                for sample in range(min(self.samples, model.samples or self.samples))
                for size in self.sizes
                if size <= len(task.train) and size <= (model.max_size or size)
            ]
            for m, model in enumerate(models)
            for t, task in enumerate(self.tasks)
            if model.suits(task)
        ]
        # costly and cheap blocks mixed, so that the time left is foreseen well
        random.Random(0).shuffle(blocks)
        cells = [cell for block in blocks for cell in block]
        # once a model, not once a cell: they look at files and at all installed packages
        settings = [model.settings() for model in models]
        versions = [_versions([model]) for model in models]
        keys = {cell: self._key(settings[cell.model], versions[cell.model], cell) for cell in cells}
        found = {cell: _read(self._file(key)) for cell, key in keys.items()}
        missing = [cell for cell in cells if found[cell] is None]
        run = _Run(tuple(self.tasks), tuple(models), self.seed)
        done = len(cells) - len(missing)
        with Progress("cells", len(cells), done=done, quiet=self.quiet) as progress:
            if done:
                progress.note(f"cells: {done:,} of {len(cells):,} are known already")
            try:
                for cell, record in _worked(run, missing, self.workers):
                    write_json(self._file(keys[cell]), record)
                    found[cell], done = record, done + 1
                    task, model = self.tasks[cell.task], models[cell.model]
                    progress.update(done, f"{model.name}, {task.name}, {cell.size:,} labels")
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"stopped after {done:,} of {len(cells):,} cells; go on with the same command "
                    "and --resume"
                ) from None
        order = sorted(cells, key=lambda c: (c.task, c.model, c.size, c.sample))
        records = [
            self._record(models[cell.model], settings[cell.model], cell, found[cell] or {})
            for cell in order
        ]
        return pl.DataFrame(records, infer_schema_length=None)

    def _key(self, settings: Record, versions: Mapping[str, str], cell: _Cell) -> str:
        """SHA-256 of all that a cell's figures depend on."""
        content = {
            "format": _FORMAT,
            "model": settings,
            "task": self.tasks[cell.task].digest,
            "cell": [cell.size, cell.sample, cell.part, self.seed],
            "versions": versions,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _file(self, key: str) -> Path:
        return self.folder / "cells" / key[:2] / f"{key}.json"

    def _record(self, model: Model, settings: Record, cell: _Cell, found: Record) -> Record:
        task = self.tasks[cell.task]
        figures = {name: found.get(name) for name in ("auc", "accuracy", "r2", "mae")}
        return {
            "task": task.name,
            "split": task.split,
            "kind": task.kind,
            "part": cell.part,
            "model": model.name,
            "size": cell.size,
            "sample": cell.sample,
            "metric": PRIMARY[task.kind],
            "value": found["value"],
            **{name: None if value is None else float(value) for name, value in figures.items()},
            "bootstrap": found["bootstrap"],
            "fit_seconds": found["fit_seconds"],
            "score_seconds": found["score_seconds"],
            "seconds_a_title": found["score_seconds"] / len(task.rows(cell.part)),
            "bytes": found["bytes"],
            "seeds": found["seeds"],
            "settings": json.dumps(settings | found["found"], sort_keys=True),
            "repeatable": model.repeatable,
        }

    def costs(self, models: Sequence[Model], cells: pl.DataFrame) -> pl.DataFrame:
        """What each model takes: one row a model, in their order."""
        rows = []
        for model in models:
            own = cells.filter(pl.col("model") == model.name, pl.col("part") == "test")
            sizes = own["size"].unique().sort().to_list()
            size = max((size for size in sizes if size <= _COST_SIZE), default=sizes[0])
            own = own.filter(pl.col("size") == size)
            fit, score, kept = (
                own[name].to_numpy().mean() for name in ("fit_seconds", "seconds_a_title", "bytes")
            )
            made = self.prepared[model.name]
            if "titles_per_second" in made:  # a title first becomes a vector, then a score
                score += 1 / made["titles_per_second"]
            rows.append(
                {
                    "model": model.name,
                    "pretraining_minutes": made.get("pretraining_minutes"),
                    "fit_seconds": fit,
                    "titles_per_second": 1 / score,
                    "megabytes": (made.get("bytes", 0) + kept) / 1e6,
                    "needs": model.needs,
                    "note": f"{own['seeds'][0]} seeds" if own["seeds"][0] > 1 else "",
                }
            )
        return pl.DataFrame(rows, infer_schema_length=None)


@dataclass(frozen=True)
class _Cell:
    """Numbers of model and task in their run, the subsample, and the rows that judge."""

    model: int
    task: int
    size: int
    sample: int
    part: Part


@dataclass(frozen=True)
class _Run:
    """What each process holds that works on cells."""

    tasks: tuple[Task, ...]
    models: tuple[Model, ...]
    seed: int

    def work(self, cell: _Cell) -> Record:
        task, model = self.tasks[cell.task], self.models[cell.model]
        drawn = subsamples(task, [cell.size], cell.sample + 1, self.seed)
        rows = drawn[cell.size, cell.sample]
        return run_cell(task, model, rows, seed=self.seed + cell.sample, part=cell.part)


_run: _Run  # in a process that works on cells


def _worked(run: _Run, cells: Sequence[_Cell], workers: int) -> Iterator[tuple[_Cell, Record]]:
    """Work on cells in processes of one thread each: together they do more than one at a time with
    all threads. Yields them as they are done."""
    if not cells:
        return
    futures: dict[Future[Record], _Cell] = {}
    with TemporaryDirectory() as folder:
        # by a file: a process that dies while it is sent so much leaves the sender waiting for ever
        path = Path(folder, "run.pickle")
        path.write_bytes(pickle.dumps(run))
        with _one_thread_each():
            # spawned, not forked: a fork of a process with threads may wait for ever
            pool = ProcessPoolExecutor(workers, get_context("spawn"), _start, (path,))
            futures = {pool.submit(_work, cell): cell for cell in cells}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise InputError(
                "a process that worked on cells died, out of memory perhaps: go on with --resume "
                "and fewer --threads; in a script of your own, call evaluate below "
                "if __name__ == '__main__':"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Started now, processes read from here how many threads their libraries may have."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _start(path: Path) -> None:
    global _run
    _run = pickle.loads(path.read_bytes())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides
    threadpool_limits(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(cell: _Cell) -> Record:
    return _run.work(cell)


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


def _read(file: Path) -> Record | None:
    with suppress(OSError, ValueError):
        record: Record = json.loads(file.read_text("utf-8"))
        return record
    return None


def _versions(models: Sequence[Model]) -> dict[str, str]:
    """Versions of what figures depend on."""
    imported = sorted({package for model in models for package in model.packages})
    known = packages_distributions() if imported else {}
    names = ["numpy", "scikit-learn", "vitrina", *(known.get(n, [n])[0] for n in imported)]
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _described(task: Task) -> Record:
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
    samples: int,
    alphas: Sequence[float],
) -> list[str]:
    """The command that gives these results."""
    command = ["vitrina", "evaluate", str(tasks_file), "--out", str(out)]
    for path in saved:
        command += ["--encoder", str(path)]
    command += ["--baselines", *baselines, "--sizes", ",".join(map(str, sizes))]
    command += ["--samples", str(samples)]
    return command + (["--alphas", ",".join(f"{a:g}" for a in alphas)] if alphas else [])
