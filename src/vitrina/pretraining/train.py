"""The training run: prepare, train, keep what a resumed run needs, leave a frozen encoder."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vitrina._version import __version__
from vitrina.compiled import default_threads
from vitrina.data.catalogue import Catalogue
from vitrina.data.sessions import Sessions
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import KIND
from vitrina.errors import InputError, MissingExtraError
from vitrina.files import atomic_path, refuse_existing, write_json
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.settings import Settings
from vitrina.progress import Progress

try:
    import torch

    from vitrina.pretraining.batches import Batches
    from vitrina.pretraining.checkpoint import load_checkpoint, save_checkpoint
    from vitrina.pretraining.torch_speed import faster_torch
    from vitrina.pretraining.trainer import Trainer, estimate_steps
except ModuleNotFoundError as error:
    raise MissingExtraError("torch", "train") from error
from vitrina.pretraining.run_folder import (
    LOG,
    Interrupted,
    RunFolder,
    _interrupts,
    _locked,
    _open_plan,
    _truncate_log,
    check_output,
)

_SECONDS_BETWEEN_CHECKPOINTS = 120.0
_SECONDS_BETWEEN_RECORDS = 10.0
_COLLAPSED = 0.1  # of the spread at the start
_LOGGED = {  # figures of a step that are shown, with their short names
    "loss": "loss",
    "alignment": "alignment",
    "cross_entropy": "category",
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
    if threads is not None and threads < 1:
        raise InputError(f"threads: {threads} should be 1 or more")
    target = _device(device)
    requested = {
        "settings": settings.asdict(),
        "inputs": json.loads(json.dumps(dict(inputs or {}), default=str)),
        "threads": threads,
        "device": target.type,
    }
    with _locked(run), _torch_threads(), faster_torch():
        if resume and run.prepared:
            plan = _open_plan(run, requested)
            data = TrainingData.load(run.path / "data")
            if data.digest() != plan["data_digest"]:
                raise InputError(f"{run.path}: its data is damaged; start over with --force")
            torch.set_num_threads(plan["threads"])
        else:
            if catalogue is None or sessions is None:
                raise InputError(f"{run.path}: holds nothing to resume; train without --resume")
            torch.set_num_threads(threads or default_threads())
            requested["threads"] = torch.get_num_threads()
            run.clear()
            plan = requested | _prepare(run, catalogue, sessions, settings, target, started, quiet)
            write_json(run.plan, plan)  # last: it says that all is there
            data = TrainingData.load(run.path / "data")
        encoder = _run(run, data, settings, plan, target, started, quiet, tensorboard)
        refuse_existing(out, True, KIND)  # what lies there may have come since the start
        with atomic_path(out) as folder:
            folder.mkdir()
            shutil.copyfile(run.log, folder / LOG)
            encoder.weights.write_into(folder)
        run.clear()
    return encoder


def _prepare(
    run: RunFolder,
    catalogue: Catalogue,
    sessions: Sessions,
    settings: Settings,
    device: torch.device,
    started: float,
    quiet: bool,
) -> dict[str, Any]:
    """Write the run's data, and plan the run."""
    with Progress("preparing", None, quiet=quiet) as progress:
        progress.note("preparing: tokenizer and sessions")
        data = TrainingData.prepare(catalogue, sessions, settings)
        if len(data.tokenizer) < settings.vocab_size:
            progress.note(
                f"tokenizer: {len(data.tokenizer):,} pieces; the titles' words support no more "
                f"({settings.vocab_size:,} were asked for)"
            )
        data.save(run.path / "data")
        steps = Batches(data, settings).per_epoch * settings.epochs
        planned = steps
        if settings.max_minutes is not None:
            used = time.monotonic() - started
            planned = estimate_steps(
                settings.max_minutes * 60 - used, steps, data, settings, device
            )
            if planned < steps:
                progress.note(
                    f"plan: {planned:,} of {steps:,} steps fit into {settings.max_minutes:g} "
                    "minutes; the schedules end with them"
                )
            if (seen := planned * settings.epochs / steps) < 1:
                progress.warn(
                    f"warning: {settings.max_minutes:g} minutes are too few to see every pair once "
                    f"({seen:.0%} of them); a longer run makes a better encoder"
                )
    return {
        "steps": planned,
        "steps_of_all_epochs": steps,
        "data_digest": data.digest(),
        "catalogue": catalogue.counts,
        "sessions": sessions.counts,
        "versions": {
            "vitrina": __version__,
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
    steps = int(position.get("steps", steps))  # fewer than planned if time was up
    _truncate_log(run.log, position["log_bytes"])
    every = max(1, steps // 200)
    begun, before = time.monotonic(), float(position["seconds"])
    seconds, saved = before, begun
    logged, warned = (position["pairs"], seconds), False
    record: dict[str, Any] = position.get("record", {})  # the last, should no step be left

    with (
        Progress("training", steps, done=position["step"], quiet=quiet) as progress,
        _writer(tensorboard, position["step"]) as write,
        run.log.open("a", encoding="utf-8", buffering=1) as log,
        _interrupts() as interrupted,
    ):
        for number in range(position["step"], steps):
            batch = batches[number]
            loss = trainer.step(batch, number)
            done, last = number + 1, number + 1 == steps
            seconds = before + time.monotonic() - begun
            position |= {"step": done, "pairs": position["pairs"] + batch.pairs}
            late = settings.max_minutes is not None and seconds > settings.max_minutes * 60
            stop = interrupted() or late
            due = stop or time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS
            if done % every == 0 or last or due or seconds - logged[1] > _SECONDS_BETWEEN_RECORDS:
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
                    run.clear()  # there is nothing to go on with
                    raise InputError(
                        f"training diverged: the loss is {record['loss']} at step {done}; "
                        "try --preset default or another --alpha"
                    )
                at_start = position.setdefault("initial_std", record["representation_std"])
                if not warned and record["representation_std"] < _COLLAPSED * at_start:
                    warned = True
                    progress.warn(
                        f"warning: the representations collapse (spread {record['representation_std']:.3f}, "
                        f"{at_start:.3f} when first logged); a smaller --alpha holds them apart"
                    )
            if last:
                break
            if due:
                os.fsync(log.fileno())
                position |= {"seconds": seconds, "log_bytes": log.tell(), "record": record}
                if late:
                    position["steps"] = done
                save_checkpoint(run.checkpoint, trainer.networks, trainer.optimizer, position)
                saved = time.monotonic()
            if late:
                progress.warn(f"time is up at step {done:,} of {steps:,}: ending here")
                break
            if stop:
                raise Interrupted(
                    f"stopped and saved at step {done:,} of {steps:,}; "
                    "go on with the same command and --resume"
                )
    summary = {
        **plan,
        "steps_done": position["step"],
        "epochs_done": round(position["step"] / batches.per_epoch, 3),
        "pairs_seen": position["pairs"],
        "minutes": round(seconds / 60, 2),
        "last": {name: record[name] for name in _LOGGED if name in record},
    }
    return TitleEncoder(trainer.export_encoder(summary))


@contextmanager
def _torch_threads() -> Iterator[None]:
    """Leave torch's number of threads as it was."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device: '{name}' is not one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: torch sees no CUDA device; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _shown(record: dict[str, Any]) -> str:
    figures = ((label, record.get(name)) for name, label in _LOGGED.items())
    shown = (f"{label} {figure:.3f}" for label, figure in figures if figure is not None)
    return " · ".join([f"{record['pairs_per_second']:,} pairs/s", *shown])


@contextmanager
def _writer(folder: str | Path | None, step: int) -> Iterator[Any]:
    """A function that takes each log record after `step` to TensorBoard, or nowhere."""
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
