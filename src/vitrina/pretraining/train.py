"""The training run: prepare, train, keep what a resumed run needs, leave a frozen encoder."""

from __future__ import annotations

import json
import math
import platform
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import vitrina
from vitrina.data.sessions import Sessions
from vitrina.data.tables import Catalogue
from vitrina.encoder.kernels import default_threads
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError, MissingExtraError
from vitrina.files import atomic_path, refuse_existing, write_json
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.settings import Settings
from vitrina.progress import Progress

try:
    import torch

    from vitrina.pretraining.batches import Batches
    from vitrina.pretraining.checkpoint import load_checkpoint, save_checkpoint
    from vitrina.pretraining.loop import Trainer, steps_within
except ModuleNotFoundError as error:
    raise MissingExtraError("torch", "train") from error

LOG = "training.jsonl"
_SECONDS_BETWEEN_CHECKPOINTS = 120.0
_COLLAPSED = 0.1  # of the spread at the start


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; everything is saved and the message says how to go on."""


@dataclass(frozen=True)
class RunFolder:
    """An unfinished run's files, beside its output: DIR.training for DIR."""

    path: Path

    @classmethod
    def of(cls, out: str | Path) -> RunFolder:
        out = Path(out)
        return cls(out.with_name(out.name + ".training"))

    @property
    def prepared(self) -> bool:
        """Whether data and plan are written, so that a resumed run needs no input."""
        return (self.path / "run.json").exists()

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        return self.path / LOG


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

    Until it is finished the run lives in the folder `out` + ".training". Stopped in any way, it
    goes on with ``resume=True`` from its last checkpoint, and its weights are bit-identical to
    those of a run that was never stopped (same machine, same threads, CPU).

    Parameters
    ----------
    catalogue, sessions : from `read_catalogue` and `sessionize`
        A resumed run that was prepared needs neither.
    out : path
        The encoder's folder; its `training.jsonl` is the log of the run.
    settings : Settings, default `preset("default")`
    threads : int, optional
        All processors by default; a resumed run keeps its own.
    device : {"auto", "cpu", "cuda"}
    resume, force : go on with a stopped run; replace what lies at `out`
    quiet : no progress
    tensorboard : path, optional
        Also write the log for TensorBoard, into this folder.
    inputs : mapping, optional
        Where the data came from (files, gap, ...): kept in the encoder's record, and what a
        resumed run must be given again.

    Raises
    ------
    InputError
        for input that can't be trained on, a path that exists, a run that can't be resumed
    Interrupted
        after Ctrl-C, once the run is saved
    """
    out, settings, started = Path(out), settings or Settings(), time.monotonic()
    run = RunFolder.of(out)
    check_output(out, resume=resume, force=force)
    target = _device(device)
    if resume and run.prepared:
        plan = _open_plan(run, settings, threads, dict(inputs or {}))
        data = TrainingData.load(run.path / "data")
        if data.digest() != plan["data_digest"]:
            raise InputError(f"{run.path}: its data is damaged; start over with --force")
        torch.set_num_threads(plan["threads"])
    else:
        if catalogue is None or sessions is None:
            raise InputError(f"{run.path}: holds nothing to resume; train without --resume")
        torch.set_num_threads(threads or default_threads())
        plan = _prepare(run, catalogue, sessions, settings, target, started, quiet)
        plan["inputs"] = dict(inputs or {})
        write_json(run.path / "run.json", plan)
        data = TrainingData.load(run.path / "data")
    encoder = _run(run, data, settings, plan, target, started, quiet, tensorboard)
    _finish(run, out, encoder)
    return encoder


def check_output(out: str | Path, *, resume: bool, force: bool) -> None:
    """Raise InputError if a run may not start at `out`, or has nothing to resume there."""
    out, run = Path(out), RunFolder.of(out)
    if resume and not run.path.exists():
        state = "is finished already" if out.exists() else "was never started"
        raise InputError(f"{out}: {state}; there is nothing to resume, leave out --resume")
    if not resume:
        refuse_existing(out, force)
        if run.prepared and not force:
            raise InputError(
                f"{run.path}: holds a run that was stopped; go on with --resume, "
                "or start over with --force"
            )


def _prepare(
    run: RunFolder,
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    device: torch.device,
    started: float,
    quiet: bool,
) -> dict[str, Any]:
    """Write the run's data and give its plan, which is written last: it says that all is there."""
    with Progress("preparing", None, quiet=quiet) as progress:
        progress.note("preparing: tokenizer and sessions")
        shutil.rmtree(run.path, ignore_errors=True)
        data = TrainingData.prepare(catalogue, sessions, settings)
        if len(data.tokenizer) < settings.pieces:
            progress.note(
                f"tokenizer: {len(data.tokenizer):,} pieces; the titles' words support no more "
                f"({settings.pieces:,} were asked for)"
            )
        data.save(run.path / "data")
        steps = Batches(data, settings).per_epoch * settings.epochs
        planned = steps
        if settings.max_minutes is not None:
            used = time.monotonic() - started
            planned = steps_within(settings.max_minutes * 60 - used, steps, data, settings, device)
            if planned < steps:
                progress.note(
                    f"plan: {planned:,} of {steps:,} steps fit into {settings.max_minutes:g} "
                    "minutes; the schedules end with them"
                )
    return {
        "settings": settings.asdict(),
        "steps": planned,
        "steps_of_all_epochs": steps,
        "threads": torch.get_num_threads(),
        "device": device.type,
        "data_digest": data.digest(),
        "catalogue": catalogue.counts,
        "sessions": sessions.counts,
        "versions": {
            "vitrina": vitrina.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def _run(
    run: RunFolder,
    data: TrainingData,
    settings: Settings,
    plan: dict[str, Any],
    device: torch.device,
    started: float,
    quiet: bool,
    tensorboard: str | Path | None,
) -> TitleEncoder:
    batches, steps = Batches(data, settings), int(plan["steps"])
    trainer = Trainer(data, settings, steps, device)
    position: dict[str, Any] = {"step": 0, "pairs": 0, "seconds": 0.0, "log_bytes": 0}
    if run.checkpoint.exists():
        position = load_checkpoint(run.checkpoint, trainer.networks, trainer.optimizer)
    else:
        position["seconds"] = time.monotonic() - started  # preparing counts towards max_minutes
    _cut(run.log, position["log_bytes"])
    every = max(1, steps // 200)
    begun, before = time.monotonic(), float(position["seconds"])
    seconds, saved = before, begun
    logged, warned = (position["pairs"], seconds), False
    record: dict[str, Any] = {}

    with (
        Progress("training", steps, done=position["step"], quiet=quiet) as progress,
        _writer(tensorboard) as write,
        run.log.open("a", encoding="utf-8") as log,
        _interrupts() as interrupted,
    ):
        for number in range(position["step"], steps):
            batch = batches[number]
            loss = trainer.step(batch, number)
            done, last = number + 1, number + 1 == steps
            seconds = before + time.monotonic() - begun
            position |= {"step": done, "pairs": position["pairs"] + batch.pairs}
            late = settings.max_minutes is not None and seconds > settings.max_minutes * 60
            if done % every == 0 or last or late:
                rate = (position["pairs"] - logged[0]) / max(seconds - logged[1], 1e-9)
                logged = (position["pairs"], seconds)
                record = {
                    "step": done,
                    "epoch": number // batches.per_epoch,
                    "pairs": position["pairs"],
                    "pairs_per_second": round(rate),
                    **trainer.record(loss, number),
                    "seconds": round(seconds, 2),
                }
                log.write(json.dumps(record) + "\n")
                write(record)
                progress.update(done, _shown(record))
                if not math.isfinite(record["loss"]):
                    raise InputError(
                        f"training diverged: the loss is {record['loss']} at step {done}; "
                        "try --preset default or another --alpha"
                    )
                at_start = position.setdefault("spread_at_start", record["spread"])
                if not warned and record["spread"] < _COLLAPSED * at_start:
                    warned = True
                    progress.note(
                        f"warning: the representations collapse (spread {record['spread']:.3f}, "
                        f"{at_start:.3f} at the start); a smaller --alpha holds them apart"
                    )
            if last:
                break
            stop = interrupted()
            if stop or late or time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                log.flush()
                position |= {"seconds": seconds, "log_bytes": log.tell()}
                save_checkpoint(run.checkpoint, trainer.networks, trainer.optimizer, position)
                saved = time.monotonic()
            if stop:
                raise Interrupted(
                    f"stopped and saved at step {done:,} of {steps:,}; "
                    "go on with the same command and --resume"
                )
            if late:
                progress.note(f"time is up at step {done:,} of {steps:,}: ending here")
                break
    summary = {
        **plan,
        "steps_done": position["step"],
        "epochs_done": round(position["step"] / batches.per_epoch, 3),
        "pairs_seen": position["pairs"],
        "minutes": round(seconds / 60, 2),
        "last": {name: record.get(name) for name in ("loss", "byol", "cross_entropy", "spread")},
    }
    return TitleEncoder(trainer.frozen(summary))


def _finish(run: RunFolder, out: Path, encoder: TitleEncoder) -> None:
    with atomic_path(out) as folder:
        folder.mkdir()
        shutil.copyfile(run.log, folder / LOG)
        encoder.weights.write_into(folder)
    shutil.rmtree(run.path)


def _open_plan(
    run: RunFolder, settings: Settings, threads: int | None, inputs: dict[str, Any]
) -> dict[str, Any]:
    """The plan of a run to resume; InputError if anything else is asked for now."""
    plan: dict[str, Any] = json.loads((run.path / "run.json").read_text("utf-8"))
    planned = {**plan["settings"], **plan["inputs"], "threads": plan["threads"]}
    asked = {**settings.asdict(), **inputs, "threads": threads or plan["threads"]}
    for name in sorted(planned.keys() | asked.keys()):
        if planned.get(name) != asked.get(name):
            raise InputError(
                f"{name}: is {asked.get(name)}, but the run to resume was started with "
                f"{planned.get(name)}; give the same settings, or start over with --force"
            )
    return plan


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device: '{name}' is not one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: torch sees no CUDA device; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _cut(log: Path, size: int) -> None:
    """Forget what was logged after the checkpoint: those steps are done again."""
    with log.open("ab") as file:
        file.truncate(size)


def _shown(record: dict[str, Any]) -> str:
    parts = [f"{record['pairs_per_second']:,} pairs/s", f"loss {record['loss']:.3f}"]
    for name, label in (("byol", "BYOL"), ("cross_entropy", "category"), ("spread", "spread")):
        if record[name] is not None:
            parts.append(f"{label} {record[name]:.3f}")
    return " · ".join(parts)


@contextmanager
def _interrupts() -> Iterator[Any]:
    """Turn the first Ctrl-C into a flag, so that no step is cut in two; the second one is real."""
    flag = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        flag.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set  # signals reach the main thread alone
        return
    previous = signal.signal(signal.SIGINT, on_signal)
    try:
        yield flag.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _writer(folder: str | Path | None) -> Iterator[Any]:
    """A function that takes each log record to TensorBoard, or nowhere."""
    if folder is None:
        yield lambda record: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorboard", "tensorboard") from error
    with SummaryWriter(str(folder)) as writer:

        def write(record: dict[str, Any]) -> None:
            for name, value in record.items():
                if name != "step" and value is not None:
                    writer.add_scalar(name, value, record["step"])

        yield write
