"""The training run: prepare data and plan, train, checkpoint, and save a frozen encoder."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from vitrina._version import installed_versions
from vitrina.compiled import number_of_threads
from vitrina.data.catalogue import Catalogue
from vitrina.data.sessions import Sessions
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import KIND
from vitrina.errors import InputError, MissingExtraError
from vitrina.files import atomic_path, write_json
from vitrina.pretraining.dataset import TrainingData, title_texts
from vitrina.pretraining.openmp import sleeping_openmp
from vitrina.pretraining.run_folder import (
    LOG,
    Interrupted,
    RunFolder,
    check_output,
    interrupt_flag,
    locked,
    open_plan,
    truncate_log,
)
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.stored import damaged
from vitrina.pretraining.teacher import require_teacher
from vitrina.pretraining.teacher_vectors import compute_teacher_vectors, write_sample
from vitrina.progress import Progress

try:
    with sleeping_openmp():
        import torch

    from vitrina.pretraining.batches import Batches
    from vitrina.pretraining.checkpoint import Checkpointer, RunState
    from vitrina.pretraining.plan import planned_epochs, planned_steps
    from vitrina.pretraining.torch_speed import faster_torch
    from vitrina.pretraining.trainer import Trainer
except ModuleNotFoundError as error:
    raise MissingExtraError("torch", "train") from error

_SECONDS_BETWEEN_RECORDS = 10.0
_RECORDS_PER_RUN = 200
_TIMED_STEPS = 10
_COLLAPSED = 0.1  # share of the first record's representation_std

# figures of a record that are shown, with their short names
_SHOWN = {
    "loss": "loss",
    "alignment": "alignment",
    "cross_entropy": "category",
    "distillation": "teacher",
    "representation_std": "std",
}


def train(
    catalogue: Catalogue | None,
    sessions: Sessions | None,
    out: str | Path,
    settings: Settings | None = None,
    *,
    threads: int | None = None,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    quiet: bool = False,
    tensorboard: str | Path | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> TitleEncoder:
    """Pre-train a title encoder on sessions (paper §3) and save it to the folder `out`.

    An unfinished run is kept in the folder `out` + ".training". However it was stopped, it can be
    resumed from its last checkpoint with ``resume=True``. Its weights are then bit-identical to
    those of a run that was never stopped (on the same machine's CPU, with the same threads).

    Parameters
    ----------
    catalogue : Catalogue, optional
        From `read_catalogue`. Not needed to resume a run that was prepared.
    sessions : Sessions, optional
        From `sessionize`. Not needed to resume a run that was prepared.
    out : str or Path
        Folder of the encoder. Its `training.jsonl` is the log of the run.
    settings : Settings, optional
        `preset("default")` by default.
    threads : int, optional
        Threads to train with: all processors by default, or those that a resumed run was started
        with.
    device : {"auto", "cpu", "cuda"}
        "auto" is CUDA if torch finds a CUDA device.
    resume : bool
        Resume a stopped run.
    force : bool
        Replace an encoder at `out`, and discard a stopped run.
    quiet : bool
        Show warnings only.
    tensorboard : str or Path, optional
        Folder in which to write the log for TensorBoard too.
    inputs : mapping, optional
        Where the data came from (files, gap, ...). The encoder's record keeps it, and resuming
        requires the same values.

    Returns
    -------
    TitleEncoder
        The encoder as it was saved.

    Raises
    ------
    InputError
        If the input can't be trained on, `out` exists, the run can't be resumed, or the loss
        diverges.
    Interrupted
        After Ctrl-C, once the run is saved.
    MissingExtraError
        If an optional dependency is not installed.
    """
    started = time.monotonic()
    out = Path(out)
    settings = settings or Settings()
    run = RunFolder.of(out)

    # Refuse mistakes before anything is written.
    check_output(out, resume=resume, force=force)
    if not (resume and run.prepared):
        require_teacher(settings)
    if threads is not None:
        threads = number_of_threads(threads)
    torch_device = _device(device)
    requested = {
        "settings": settings.asdict(),
        "inputs": json.loads(json.dumps(dict(inputs or {}), default=str)),
        "threads": threads,
        "device": torch_device.type,
    }

    with locked(run), _restored_threads(), faster_torch():
        if resume and run.prepared:
            plan = open_plan(run, requested)
            data = TrainingData.load(run.data)
            if data.digest() != plan["data_digest"]:
                raise InputError(
                    f"{run.path}: its data is damaged (the checksum differs); "
                    "set `force` to start over"
                )
            torch.set_num_threads(number_of_threads(plan["threads"]))
        else:
            if catalogue is None or sessions is None:
                raise InputError(f"{run.path}: holds nothing to resume; train without `resume`")
            torch.set_num_threads(number_of_threads(threads))
            requested["threads"] = torch.get_num_threads()
            run.clear()
            prepared = _prepare(run, catalogue, sessions, settings, torch_device, started, quiet)
            plan = requested | prepared
            write_json(run.plan, plan)  # last, because it marks the run as prepared
            data = TrainingData.load(run.data)
        encoder = _training_loop(
            run, data, settings, plan, torch_device, started, quiet, tensorboard
        )
        # a resumed run may have been started with `force`
        _save(encoder, run, out, force=force or resume)
        run.clear()
    return encoder


def _save(encoder: TitleEncoder, run: RunFolder, out: Path, force: bool) -> None:
    """Write the encoder and the log of the run to `out`."""
    try:
        with atomic_path(out, force=force, kind=KIND) as folder:
            folder.mkdir()
            shutil.copyfile(run.log, folder / LOG)
            encoder.weights.write_into(folder)
    except InputError as error:
        # the disk is full, or something was put there since the start
        raise InputError(f"{error} (the run is kept: set `resume` to continue it)") from error


def _prepare(
    run: RunFolder,
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    device: torch.device,
    started: float,
    quiet: bool,
) -> dict[str, Any]:
    """Write the run's data and return its plan, without what the user requested."""
    with Progress("preparing", None, quiet=quiet) as progress:
        progress.note("preparing: tokenizer and sessions")
        data = TrainingData.prepare(catalogue, sessions, settings)
        if len(data.tokenizer) < settings.vocab_size:
            progress.note(
                f"tokenizer: {len(data.tokenizer):,} pieces instead of {settings.vocab_size:,}, "
                "because the titles have too few different words for more"
            )
        data.save(run.data)
        if settings.teacher is not None:
            write_sample(run.teacher, title_texts(catalogue, sessions, settings), settings.seed)
        steps = planned_steps(data, settings, device, started, progress)
    return {
        **steps,
        "data_digest": data.digest(),
        "catalogue": catalogue.counts,
        "sessions": sessions.counts,
        "versions": installed_versions(["torch", "numpy"]),
    }


def _training_loop(
    run: RunFolder,
    data: TrainingData,
    settings: Settings,
    plan: dict[str, Any],
    device: torch.device,
    started: float,
    quiet: bool,
    tensorboard: str | Path | None,
) -> TitleEncoder:
    """Train from the last checkpoint, or from the start, to the end of the run.

    `started` is the time on the monotonic clock at which a new run began.
    """
    batches = Batches(data, settings)
    epochs = planned_epochs(settings, batches.per_epoch)
    if plan["steps"] > batches.per_epoch * epochs:
        raise damaged(run.plan, "it has more steps than epochs")
    targets = compute_teacher_vectors(run.teacher, data, settings, device, quiet)
    trainer = Trainer(data, settings, int(plan["steps"]), device, targets)
    checkpointer = Checkpointer(run.checkpoint, trainer.networks, trainer.optimizer)
    if os.path.lexists(run.checkpoint):
        state = checkpointer.load(steps=int(plan["steps"]))
        started = time.monotonic() - state.seconds  # as if the run had never been stopped
    else:
        # preparation counts towards max_minutes
        state = RunState(steps=int(plan["steps"]), seconds=time.monotonic() - started)
    truncate_log(run.log, state.log_bytes)
    steps = state.steps

    with (
        Progress("training", steps, done=state.step, quiet=quiet) as progress,
        _tensorboard_writer(tensorboard, state.step) as write_tensorboard,
        run.log.open("a", encoding="utf-8", buffering=1) as log_file,
        interrupt_flag() as interrupted,
    ):
        log = _TrainingLog(log_file, write_tensorboard, progress, state)
        for number in range(state.step, steps):
            # Next batch
            batch = batches[number]

            # Forward and loss, backward and optimiser step, target network
            loss = trainer.step(batch, number)
            state.step = number + 1
            state.pairs += batch.pairs
            state.seconds = time.monotonic() - started

            log.tell_duration(state)

            # Stop conditions: all steps are done, the time is up, or a signal came
            finished = state.step == steps
            late = settings.max_minutes is not None and state.seconds > settings.max_minutes * 60
            stop = late or interrupted()

            # Log. Each checkpoint follows a record, so that a resumed run logs the same steps.
            save = stop or checkpointer.due()
            if save or log.due(state):
                log.write(state, number // batches.per_epoch, trainer.record(loss, number))
                _check_loss(run, state)
                log.check_collapse(state)

            # Checkpoint, which a finished run doesn't need
            if finished:
                break
            if save:
                if late:
                    state.steps = state.step  # a resumed run doesn't train on
                state.log_bytes = log.flush()
                checkpointer.save(state)

            # Stop
            if late:
                progress.warn(f"time is up at step {state.step:,} of {steps:,}: training ends here")
                break
            if stop:
                raise Interrupted(
                    f"stopped and saved at step {state.step:,} of {steps:,}; "
                    "to continue, run the same again and set `resume`"
                )

    training = _training_record(plan, state, batches.per_epoch)
    return TitleEncoder(trainer.export_encoder(training))


def _training_record(plan: dict[str, Any], state: RunState, steps_per_epoch: int) -> dict[str, Any]:
    """How the encoder was trained; its folder keeps it."""
    return {
        **plan,
        "steps_done": state.step,
        "epochs_done": round(state.step / steps_per_epoch, 3),
        "pairs_seen": state.pairs,
        "minutes": round(state.seconds / 60, 2),
        "last": {name: state.record[name] for name in _SHOWN if name in state.record},
    }


def _check_loss(run: RunFolder, state: RunState) -> None:
    """Raise InputError and discard the run if the loss of the last record is not finite."""
    loss = state.record["loss"]
    if not math.isfinite(loss):
        run.clear()  # resuming could only diverge again
        raise InputError(
            f"training diverged: the loss is {loss} at step {state.step}; "
            "set `preset` to 'default' or try another `alpha`"
        )


class _TrainingLog:
    """The log of a run: writes records to its file, to TensorBoard and to the progress line.

    Parameters
    ----------
    file : file object
        The log file, opened to append text.
    write_tensorboard : callable
        Takes a record.
    progress : Progress
    state : RunState
        Where the run stands when the log is opened.
    """

    def __init__(
        self,
        file: TextIO,
        write_tensorboard: Callable[[dict[str, Any]], None],
        progress: Progress,
        state: RunState,
    ) -> None:
        self._file = file
        self._write_tensorboard = write_tensorboard
        self._progress = progress
        self._steps = state.steps
        self._first_step = state.step
        self._after_first = 0.0
        self._steps_between_records = max(1, state.steps // _RECORDS_PER_RUN)
        # at the last record
        self._pairs = state.pairs
        self._seconds = state.seconds
        self._collapse_warned = False

    def due(self, state: RunState) -> bool:
        """Whether the step that was just done is logged."""
        regular = state.step % self._steps_between_records == 0
        last = state.step == self._steps
        return regular or last or state.seconds - self._seconds > _SECONDS_BETWEEN_RECORDS

    def write(self, state: RunState, epoch: int, figures: dict[str, Any]) -> None:
        """Log the step that was just done and keep its record in `state`.

        Parameters
        ----------
        state : RunState
        epoch : int
            Epoch of the step, from 0.
        figures : dict
            From `Trainer.record`.
        """
        seconds = state.seconds - self._seconds
        pairs_per_second = (state.pairs - self._pairs) / max(seconds, 1e-9)
        record = {
            "step": state.step,
            "epoch": epoch,
            "pairs": state.pairs,
            "pairs_per_second": round(pairs_per_second),
            **figures,
            "seconds": round(state.seconds, 2),
        }
        self._file.write(json.dumps(record) + "\n")
        self._write_tensorboard(record)
        self._progress.update(state.step, _summary_line(record))
        self._pairs = state.pairs
        self._seconds = state.seconds
        state.record = record
        if state.initial_std is None:
            state.initial_std = record["representation_std"]

    def tell_duration(self, state: RunState) -> None:
        """Print, once, how long the other steps will take, and the memory of the process so far."""
        done = state.step - self._first_step
        if done == 1:
            self._after_first = state.seconds  # compiling and filling caches took its time
        if done == _TIMED_STEPS and state.step < self._steps:
            per_step = (state.seconds - self._after_first) / (done - 1)
            minutes = per_step * (self._steps - state.step) / 60
            self._progress.note(
                f"training: about {minutes:.1f} minutes for {self._steps - state.step:,} more "
                f"steps{_memory_note()}"
            )

    def check_collapse(self, state: RunState) -> None:
        """Warn, once, if the last record's representations vary far less than the first's."""
        std = state.record["representation_std"]
        initial = state.initial_std
        if self._collapse_warned or initial is None or std >= _COLLAPSED * initial:
            return
        self._collapse_warned = True
        self._progress.warn(
            f"warning: the representations collapse (representation_std {std:.3f}, "
            f"{initial:.3f} in the first record); a smaller alpha keeps them apart"
        )

    def flush(self) -> int:
        """Write the file to disk and return its size in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()


def _memory_note() -> str:
    """The most memory that the process has had, for the progress; training needs little more."""
    if sys.platform == "win32":
        return ""
    from resource import RUSAGE_SELF, getrusage

    unit = 1 if sys.platform == "darwin" else 1024
    return f"; {getrusage(RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB of memory"


def _summary_line(record: dict[str, Any]) -> str:
    """A record's speed and main figures, for the progress line."""
    parts = [f"{record['pairs_per_second']:,} pairs/s"]
    for name, label in _SHOWN.items():
        if record.get(name) is not None:
            parts.append(f"{label} {record[name]:.3f}")
    return " · ".join(parts)


@contextmanager
def _tensorboard_writer(
    folder: str | Path | None, step: int
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes a record to TensorBoard, or that does nothing without a folder.

    Records after `step` that an earlier process wrote are discarded.
    """
    if folder is None:
        yield lambda record: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorboard", "tensorboard") from error
    with SummaryWriter(str(folder), purge_step=step + 1) as writer:

        def write(record: dict[str, Any]) -> None:
            for name, value in record.items():
                if name != "step" and value is not None:
                    writer.add_scalar(name, value, record["step"])

        yield write


@contextmanager
def _restored_threads() -> Iterator[None]:
    """Restore torch's number of threads on exit."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    """The torch device of that name, "auto" being CUDA where there is one."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"`device` is '{name}'; it must be one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("`device` is 'cuda', but torch finds no CUDA device; set it to 'cpu'")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
