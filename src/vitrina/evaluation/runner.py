"""The cells of a comparison: a model on a subsample of a task.

Cells are independent and cached by content: a stopped run goes on where it was, and a new model,
size or task costs only its own cells.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import platform
import random
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from threadpoolctl import threadpool_limits

from vitrina.errors import InputError
from vitrina.evaluation.model import Model
from vitrina.evaluation.protocol import run_cell, subsamples
from vitrina.evaluation.task import Part, Task
from vitrina.files import write_json
from vitrina.metrics import PRIMARY
from vitrina.progress import Progress

_FORMAT = 2  # a change of the protocol makes the cells of before useless
_COST_SIZE = 1_000  # labels for which the report says how long fitting takes

Record = dict[str, Any]


class CellRunner:
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
                for sample in range(min(self.samples, model.max_subsamples or self.samples))
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
        versions = [versions_of([model]) for model in models]
        keys = {cell: self._key(settings[cell.model], versions[cell.model], cell) for cell in cells}
        found = {cell: _read(self._file(key)) for cell, key in keys.items()}
        missing = [cell for cell in cells if found[cell] is None]
        run = _Run(tuple(self.tasks), tuple(models), self.seed)
        done = len(cells) - len(missing)
        with Progress("cells", len(cells), done=done, quiet=self.quiet) as progress:
            if done:
                progress.note(f"cells: {done:,} of {len(cells):,} are known already")
            try:
                for cell, record in _run_in_pool(run, missing, self.workers):
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


def _run_in_pool(run: _Run, cells: Sequence[_Cell], workers: int) -> Iterator[tuple[_Cell, Record]]:
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


def _read(file: Path) -> Record | None:
    with suppress(OSError, ValueError):
        record: Record = json.loads(file.read_text("utf-8"))
        return record
    return None


def versions_of(models: Sequence[Model]) -> dict[str, str]:
    """Versions of what figures depend on."""
    imported = sorted({package for model in models for package in model.packages})
    known = packages_distributions() if imported else {}
    names = ["numpy", "scikit-learn", "vitrina", *(known.get(n, [n])[0] for n in imported)]
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
