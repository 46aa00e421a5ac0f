"""The cells of a comparison: one model, trained on one subsample of one task.

Cells are independent, and their results are cached by content. A stopped run can therefore be
resumed, and a new model, size or task adds only its own cells.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from threadpoolctl import threadpool_limits

from vitrina._version import installed_versions
from vitrina.errors import InputError
from vitrina.evaluation.model import Model
from vitrina.evaluation.protocol import run_cell, subsamples
from vitrina.evaluation.statistics import METRICS
from vitrina.evaluation.task import Part, Task
from vitrina.files import write_json
from vitrina.hashing import content_key
from vitrina.metrics import PRIMARY
from vitrina.progress import Progress

_FORMAT = 3  # to be raised when the protocol changes: cached cells are then computed again
_COST_SIZE = 1_000  # the report shows how long a fit on this number of labels takes

Record = dict[str, Any]


class CellRunner:
    """Prepares models and computes their cells in several processes, with a cache.

    Parameters
    ----------
    folder : Path
        The cache.
    tasks : sequence of Task
    sizes : sequence of int
        Numbers of labels. A task is not run with sizes above the number of its training rows.
    samples : int
        Number of random subsamples of each size.
    seed : int
        Random seed of the subsamples and of the models.
    workers : int
        Number of processes.
    quiet : bool
        Show no progress.
    """

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
        self.folder = folder
        self.tasks = tasks
        self.sizes = sizes
        self.samples = samples
        self.seed = seed
        self.workers = workers
        self.quiet = quiet
        self.prepared: dict[str, dict[str, float]] = {}

    def run(self, models: Sequence[Model], part: Part) -> pl.DataFrame:
        """Compute all cells of the models that are not in the cache.

        Parameters
        ----------
        models : sequence of Model
            A model skips the tasks that it doesn't suit.
        part : {"train", "validation", "test"}
            The part of the split on which the models are evaluated.

        Returns
        -------
        DataFrame
            One row for each cell, see `vitrina.evaluation.statistics`; ordered by task, model,
            size and subsample.
        """
        # pre-train and encode what all cells of a model share
        for model in models:
            suited = [task for task in self.tasks if model.suits(task)]
            self.prepared[model.name] = model.prepare(suited, quiet=self.quiet)
        cells = self._cells(models, part)
        # once for each model, not for each cell: both look at files or at all installed packages
        settings = [model.settings() for model in models]
        versions = [versions_of([model]) for model in models]
        files = {
            cell: self._file(self._key(settings[cell.model], versions[cell.model], cell))
            for cell in cells
        }
        records = self._compute(models, files)
        # cells end in any order, but the table always has the same
        order = sorted(cells, key=lambda c: (c.task, c.model, c.size, c.sample))
        rows = []
        for cell in order:
            model = models[cell.model]
            rows.append(self._row(model, settings[cell.model], cell, records[cell]))
        return pl.DataFrame(rows, infer_schema_length=None)

    def costs(self, models: Sequence[Model], cells: pl.DataFrame) -> pl.DataFrame:
        """Summarise what each model costs.

        Parameters
        ----------
        models : sequence of Model
            Models that were run.
        cells : DataFrame
            What `run` returned for them.

        Returns
        -------
        DataFrame
            One row for each model, in their order.
        """
        rows = []
        for model in models:
            # the cells of the largest size that is not above the usual one
            own = cells.filter(pl.col("model") == model.name, pl.col("part") == "test")
            sizes = own["size"].unique().sort().to_list()
            size = max((size for size in sizes if size <= _COST_SIZE), default=sizes[0])
            own = own.filter(pl.col("size") == size)
            score_seconds = own["seconds_a_title"].to_numpy().mean()
            made = self.prepared[model.name]
            if "titles_per_second" in made:
                # a title first becomes a vector, then a score
                score_seconds += 1 / made["titles_per_second"]
            kept_bytes = made.get("bytes", 0) + own["bytes"].to_numpy().mean()
            seeds = own["seeds"][0]
            rows.append(
                {
                    "model": model.name,
                    "pretraining_minutes": made.get("pretraining_minutes"),
                    "fit_seconds": own["fit_seconds"].to_numpy().mean(),
                    "titles_per_second": 1 / score_seconds,
                    "megabytes": kept_bytes / 1e6,
                    "needs": model.needs,
                    "note": f"{seeds} seeds" if seeds > 1 else "",
                }
            )
        return pl.DataFrame(rows, infer_schema_length=None)

    def _cells(self, models: Sequence[Model], part: Part) -> list[_Cell]:
        """List all cells in the order in which they are started."""
        blocks = []
        for m, model in enumerate(models):
            for t, task in enumerate(self.tasks):
                if model.suits(task):
                    blocks.append(self._block(m, model, t, task, part))
        # mix costly and cheap models, so that the estimate of the time left is good
        random.Random(0).shuffle(blocks)
        return [cell for block in blocks for cell in block]

    def _block(self, m: int, model: Model, t: int, task: Task, part: Part) -> list[_Cell]:
        """List the cells of a model on a task."""
        samples = min(self.samples, model.max_subsamples or self.samples)
        largest = min(len(task.train), model.max_size or len(task.train))
        sizes = [size for size in self.sizes if size <= largest]
        # all sizes of the first subsample come first: some models tune there for the others
        return [_Cell(m, t, size, sample, part) for sample in range(samples) for size in sizes]

    def _compute(self, models: Sequence[Model], files: Mapping[_Cell, Path]) -> dict[_Cell, Record]:
        """Read the cells that are in the cache, compute the others and store them."""
        records = {}
        missing = []
        for cell, file in files.items():
            record = _read(file)
            if record is None:
                missing.append(cell)
            else:
                records[cell] = record
        # each record is stored as soon as it is there: a stopped run loses only started cells
        run = _Run(tuple(self.tasks), tuple(models), self.seed)
        with Progress("cells", len(files), done=len(records), quiet=self.quiet) as progress:
            if records:
                progress.note(f"cells: {len(records):,} of {len(files):,} are in the cache")
            try:
                for cell, record in _run_in_pool(run, missing, self.workers):
                    write_json(files[cell], record)
                    records[cell] = record
                    model = models[cell.model].name
                    task = self.tasks[cell.task].name
                    progress.update(len(records), f"{model}, {task}, {cell.size:,} labels")
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"stopped after {len(records):,} of {len(files):,} cells; set `resume` to "
                    "continue"
                ) from None
        return records

    def _key(self, settings: Record, versions: Mapping[str, str], cell: _Cell) -> str:
        """Return the SHA-256 of everything that the figures of a cell depend on."""
        return content_key(
            {
                "format": _FORMAT,
                "model": settings,
                "task": self.tasks[cell.task].digest,
                "cell": [cell.size, cell.sample, cell.part, self.seed],
                "versions": versions,
            }
        )

    def _file(self, key: str) -> Path:
        return self.folder / "cells" / key[:2] / f"{key}.json"

    def _row(self, model: Model, settings: Record, cell: _Cell, record: Record) -> Record:
        """Return a row of the table of cells, from the record of `run_cell`."""
        task = self.tasks[cell.task]
        row = {
            "task": task.name,
            "split": task.split,
            "kind": task.kind,
            "part": cell.part,
            "model": model.name,
            "size": cell.size,
            "sample": cell.sample,
            "metric": PRIMARY[task.kind],
            "value": record["value"],
        }
        # every row has all metrics; those of other kinds of tasks are null
        for name in METRICS:
            row[name] = float(record[name]) if record.get(name) is not None else None
        return row | {
            "bootstrap": record["bootstrap"],
            "fit_seconds": record["fit_seconds"],
            "score_seconds": record["score_seconds"],
            "seconds_a_title": record["score_seconds"] / len(task.rows(cell.part)),
            "bytes": record["bytes"],
            "seeds": record["seeds"],
            "settings": json.dumps(settings | record["found"], sort_keys=True),
            "repeatable": model.repeatable,
            "vectors_alone": model.vectors_alone,
        }


def versions_of(models: Sequence[Model]) -> dict[str, str]:
    """Return the versions of the packages that the models' figures depend on."""
    imported = sorted({package for model in models for package in model.packages})
    # a distribution may have another name than the module that is imported
    distributions = packages_distributions() if imported else {}
    names = [distributions.get(package, [package])[0] for package in imported]
    return installed_versions(["numpy", "scikit-learn", *names])


@dataclass(frozen=True)
class _Cell:
    """Index of the model and of the task in their run, subsample, and part for the evaluation."""

    model: int
    task: int
    size: int
    sample: int
    part: Part


@dataclass(frozen=True)
class _Run:
    """What each worker process holds."""

    tasks: tuple[Task, ...]
    models: tuple[Model, ...]
    seed: int

    def work(self, cell: _Cell) -> Record:
        task = self.tasks[cell.task]
        # drawn in the worker, so that no rows have to be sent
        drawn = subsamples(task, [cell.size], cell.sample + 1, self.seed)
        rows = drawn[cell.size, cell.sample]
        seed = self.seed + cell.sample
        return run_cell(task, self.models[cell.model], rows, seed=seed, part=cell.part)


_run: _Run  # set in a worker process only


def _run_in_pool(run: _Run, cells: Sequence[_Cell], workers: int) -> Iterator[tuple[_Cell, Record]]:
    """Compute cells in worker processes and yield each as soon as it is done.

    Each process has one thread: together they do more than one process with all threads.
    """
    if not cells:
        return
    with TemporaryDirectory() as folder:
        # through a file: if a process dies while it receives this much data, the sender waits
        # forever
        path = Path(folder, "run.pickle")
        path.write_bytes(pickle.dumps(run))
        with _one_thread_each():
            # spawned, not forked: a fork of a process with threads may wait forever
            pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (path,))
            futures: dict[Future[Record], _Cell] = {}
            for cell in cells:
                futures[pool.submit(_work, cell)] = cell
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise InputError(
                "a worker process died, perhaps because memory ran out: set fewer `threads`; in a "
                "script, put the call below if __name__ == '__main__':"
            ) from None
        finally:
            # don't wait for running cells: without this, Ctrl-C would take effect minutes later
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit the numerical libraries to one thread in processes that are started inside."""
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


def _start_worker(path: Path) -> None:
    global _run
    _run = pickle.loads(path.read_bytes())
    # Ctrl-C reaches all processes; the parent decides what happens
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # also for libraries that ignore the environment variables
    threadpool_limits(1)
    # a killed parent can't terminate its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave the worker when its parent is gone, however it ended."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(cell: _Cell) -> Record:
    return _run.work(cell)


def _read(file: Path) -> Record | None:
    """Read a cached record; None if there is none, or if it is damaged."""
    with suppress(OSError, ValueError):
        record: Record = json.loads(file.read_text("utf-8"))
        return record
    return None
