"""The folder of an unfinished training run: its lock, plan, checkpoint and log."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from vitrina.encoder.weights import KIND
from vitrina.errors import InputError, MissingExtraError
from vitrina.files import refuse_existing, require_name

LOG = "training.jsonl"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; everything is saved and the message says how to go on."""


@dataclass(frozen=True)
class RunFolder:
    """An unfinished run's files, beside its output: DIR.training for DIR."""

    path: Path  # held by one process at a time, through its file `lock`

    @classmethod
    def of(cls, out: str | Path) -> RunFolder:
        """The run that would end as the folder `out`."""
        out = Path(out)
        require_name(out)
        return cls(out.with_name(out.name + ".training"))

    @property
    def exists(self) -> bool:
        return self.lock.exists()

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def plan(self) -> Path:
        return self.path / "run.json"

    @property
    def prepared(self) -> bool:
        """Whether data and plan are written, so that a resumed run needs no input."""
        return self.plan.exists()

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        return self.path / LOG

    def clear(self) -> None:
        """Remove all but the lock, the plan first: without it there is nothing to resume."""
        self.plan.unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry != self.lock:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def check_output(out: str | Path, *, resume: bool, force: bool) -> None:
    """Raise InputError if a run may not start at `out`, or has nothing to resume there."""
    out, run = Path(out), RunFolder.of(out)
    if resume and force:
        raise InputError("--resume goes on with a run, --force starts over: give one of them")
    if resume and not run.exists:
        state = "is finished already" if out.exists() else "was never started"
        raise InputError(f"{out}: {state}; there is nothing to resume, leave out --resume")
    if not resume:
        refuse_existing(out, force, KIND)
        if run.prepared and not force:
            raise InputError(
                f"{run.path}: holds a run that was stopped; go on with --resume, "
                "or start over with --force"
            )
    if run.path.exists() and not run.exists and (run.path.is_file() or any(run.path.iterdir())):
        raise InputError(
            f"{run.path}: isn't a run's, but a run needs its name; move it or choose another --out"
        )


def _open_plan(run: RunFolder, requested: dict[str, Any]) -> dict[str, Any]:
    """The plan of a run to resume; InputError if anything else is asked for now."""
    plan: dict[str, Any] = json.loads(run.plan.read_text("utf-8"))
    if requested["threads"] is None:
        requested = requested | {"threads": plan["threads"]}
    before, now = ({**p["settings"], **p["inputs"], **p} for p in (plan, requested))
    names = {*requested["settings"], *requested["inputs"], *plan["inputs"], "threads", "device"}
    for name in sorted(names):
        if before.get(name) != now.get(name):
            raise InputError(
                f"{name}: is {now.get(name)}, but the run to resume was started with "
                f"{before.get(name)}; give the same settings, or start over with --force"
            )
    return plan


@contextmanager
def _locked(run: RunFolder) -> Iterator[None]:
    """Keep the run's folder to this process; what an earlier one left half-written goes, and in the
    end the folder, unless there is something to resume."""
    run.path.mkdir(parents=True, exist_ok=True)
    try:
        from filelock import FileLock, Timeout
    except ModuleNotFoundError as error:
        raise MissingExtraError("filelock", "train") from error

    lock = FileLock(run.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{run.path}: another process trains it now; wait, or stop it") from None
    try:
        for left in run.path.glob(".*.partial"):
            left.unlink() if left.is_file() else shutil.rmtree(left)
        yield
    finally:
        if not run.prepared:
            shutil.rmtree(run.path, ignore_errors=True)
        lock.release()


def _truncate_log(log: Path, size: int) -> None:
    """Forget what was logged after the checkpoint: those steps are done again."""
    with log.open("ab") as file:
        file.truncate(min(size, file.tell()))


@contextmanager
def _interrupts() -> Iterator[Any]:
    """Turn Ctrl-C (and being requested to terminate) into a flag, so that no step is cut in two; a
    second one is real."""
    flag = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        flag.set()
        signal.signal(number, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set  # signals reach the main thread alone
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield flag.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
