"""The folder of an unfinished training run: its lock, plan, checkpoint and log.

This module imports no torch, so a run that can't start is refused without loading it.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from vitrina.encoder.weights import ENCODER, KIND
from vitrina.errors import InputError, MissingExtraError
from vitrina.files import refuse_existing, remove, require_name
from vitrina.pretraining.stored import damaged, load_json, require_regular
from vitrina.sealed import MIB

LOG = "training.jsonl"


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


# what a plan must have: checks and what they expect, in words
_PLAN_FIELDS = {
    **dict.fromkeys(
        ("settings", "inputs", "catalogue", "sessions", "versions"), (_is_object, "an object")
    ),
    **dict.fromkeys(
        ("threads", "epochs", "steps", "steps_of_all_epochs"),
        (_is_count, "a whole number from 1"),
    ),
    **dict.fromkeys(("device", "data_digest"), (_is_text, "text")),
}


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C; the run is saved and the message says how to resume it."""


@dataclass(frozen=True)
class RunFolder:
    """The files of an unfinished run, in a folder next to its output: DIR.training for DIR.

    Attributes
    ----------
    path : Path
        The folder. One process at a time uses it, through its file `lock`.
    """

    path: Path

    @classmethod
    def of(cls, out: str | Path) -> RunFolder:
        """Return the folder of the run that writes its encoder to `out`.

        Raises
        ------
        InputError
            If `out` has no name of its own, such as ".".
        """
        out = Path(out)
        require_name(out)
        return cls(out.with_name(out.name + ".training"))

    @property
    def exists(self) -> bool:
        """Whether a run was started here and has not finished."""
        return self.lock.exists()

    @property
    def prepared(self) -> bool:
        """Whether data and plan are written, so that the run can be resumed without its input."""
        return self.plan.exists()

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.path / "lock"

    @property
    def data(self) -> Path:
        """The folder of the prepared data."""
        return self.path / "data"

    @property
    def teacher(self) -> Path:
        """The folder of the teacher's vectors."""
        return self.path / "teacher"

    @property
    def plan(self) -> Path:
        """The file with settings, inputs and number of steps."""
        return self.path / "run.json"

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint."""
        return self.path / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        """The log of the run, in JSON lines."""
        return self.path / LOG

    def clear(self) -> None:
        """Delete everything but the lock."""
        # the plan first: without it, what is left can't be taken for a run to resume
        self.plan.unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry != self.lock:
                remove(entry)


def check_output(out: str | Path, *, resume: bool, force: bool) -> None:
    """Check that a run may start at `out`, or that there is a run to resume.

    Parameters
    ----------
    out : str or Path
        Folder of the encoder.
    resume : bool
        Resume a stopped run.
    force : bool
        Replace an encoder at `out`, and discard a stopped run.

    Raises
    ------
    InputError
        If the run may not start, or there is nothing to resume.
    """
    out = Path(out)
    run = RunFolder.of(out)
    if resume and force:
        raise InputError(
            "`resume` continues a stopped run and `force` starts over: set only one of them"
        )
    # a run that was killed while it deleted its folder is finished too
    if resume and not run.prepared and out.exists():
        raise InputError(
            f"{out}: is finished already; there is nothing to resume, leave out `resume`"
        )
    if resume and not run.exists:
        raise InputError(
            f"{out}: was never started; there is nothing to resume, leave out `resume`"
        )
    if not resume:
        refuse_existing(out, force, KIND)
        if run.prepared and not force:
            raise InputError(
                f"{run.path}: holds a run that was stopped; set `resume` to continue it, "
                "or `force` to start over"
            )

    # A file, or a folder with files but no lock, is not a run's: never delete it.
    if run.path.exists() and not run.exists and (run.path.is_file() or any(run.path.iterdir())):
        raise InputError(
            f"{run.path}: is not the folder of a training run, but the run needs this name; "
            "move it or choose another `out`"
        )


def open_plan(run: RunFolder, requested: dict[str, Any]) -> dict[str, Any]:
    """Read the plan of a run to resume.

    Parameters
    ----------
    run : RunFolder
        A prepared run.
    requested : dict
        Settings, inputs, threads and device given now; None for threads takes the plan's.

    Returns
    -------
    dict
        The plan.

    Raises
    ------
    InputError
        If the plan is damaged, or anything differs from what the run was started with.
    """
    plan = load_json(run.plan)
    for name, (is_valid, expected) in _PLAN_FIELDS.items():
        if name not in plan or not is_valid(plan[name]):
            raise damaged(run.plan, f"{name} is not {expected}")
    if plan["settings"].keys() != requested["settings"].keys():
        raise InputError(
            f"{run.path}: was started by another version of vitrina; set `force` to start over"
        )
    if requested["threads"] is None:
        requested = requested | {"threads": plan["threads"]}
    before = _flat(plan)
    now = _flat(requested)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise InputError(
                f"`{_shown(name)}` is {_shown(now.get(name))}, but the run to resume was started "
                f"with {_shown(before.get(name))}; set it to that, or set `force` to start over"
            )
    return plan


def _shown(value: Any) -> str:
    """A value of a plan for a message: one short line."""
    return " ".join(str(value).split())[:200]


def _flat(plan: dict[str, Any]) -> dict[str, Any]:
    """Everything that a resumed run must be given again, by name."""
    return {
        **plan["settings"],
        **plan["inputs"],
        "threads": plan["threads"],
        "device": plan["device"],
    }


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Lock the run's folder for this process.

    Creates the folder, deletes partial files that an earlier process left, and deletes the folder
    on exit unless it can be resumed.

    Raises
    ------
    InputError
        If another process holds the lock.
    MissingExtraError
        If filelock is not installed.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    try:
        from filelock import FileLock, Timeout
    except ModuleNotFoundError as error:
        raise MissingExtraError("filelock", "train") from error

    # opening the lock would empty the file that a link leads to
    if os.path.lexists(run.lock):
        require_regular(run.lock, MIB)
    lock = FileLock(run.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{run.path}: another process is training this run; wait for it, or stop it"
        ) from None
    try:
        for partial in run.path.glob(".*.partial"):
            remove(partial)
        yield
    finally:
        if not run.prepared:
            shutil.rmtree(run.path, ignore_errors=True)
        lock.release()


def truncate_log(log: Path, size: int) -> None:
    """Cut the log to `size` bytes: the steps after the checkpoint will be done again.

    Creates the file if it doesn't exist.

    Raises
    ------
    InputError
        If it is a link or not a regular file, or too large.
    """
    if os.path.lexists(log):
        require_regular(log, ENCODER.files[LOG])
    with log.open("ab") as file:
        file.truncate(min(size, file.tell()))


@contextmanager
def interrupt_flag() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a flag, so that no step is cut in two.

    A second Ctrl-C interrupts at once. Outside the main thread signals are left as they are.

    Yields
    ------
    callable
        Returns whether a signal has arrived.
    """
    flag = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        flag.set()
        signal.signal(number, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set  # only the main thread may set signal handlers
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield flag.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
