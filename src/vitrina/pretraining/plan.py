"""How long a run trains: epochs by the size of the data, then steps by the user's limits."""

from __future__ import annotations

import time
from math import ceil

import torch

from vitrina.pretraining.batches import Batches
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.trainer import estimate_steps
from vitrina.progress import Progress

_ENOUGH_STEPS = 300
_MOST_EPOCHS = 8

# With 5,000 sessions of The Complete Journey, vectors classified no better than LSA of the titles'
# words; with 20,000 they did (docs/results/ablation.md).
_FEW_SESSIONS = 10_000
# Open e-commerce has 3 pairs a title and gains by a teacher, The Complete Journey has 335 and
# doesn't (docs/teacher.md).
_FEW_PAIRS_PER_TITLE = 20


def planned_epochs(settings: Settings, steps_per_epoch: int) -> int:
    """Return the number of epochs of a run: how often it passes over its data.

    That is `settings.epochs`. If it is None, small data gets more than one epoch, because one has
    too few steps to train the network: as many as make 300 steps, but 8 at most. More epochs gained
    nothing (docs/results/ablation.md, "How many epochs").

    Parameters
    ----------
    settings : Settings
    steps_per_epoch : int

    Returns
    -------
    int
        1 or more.
    """
    if settings.epochs is not None:
        return settings.epochs
    return min(_MOST_EPOCHS, ceil(_ENOUGH_STEPS / steps_per_epoch))


def planned_steps(
    data: TrainingData,
    settings: Settings,
    device: torch.device,
    started: float,
    progress: Progress,
) -> dict[str, int]:
    """Plan the epochs and steps of a run, print the plan in one line, and warn of little data.

    Parameters
    ----------
    data : TrainingData
    settings : Settings
        `max_steps` limits the steps of the epochs, or else `max_minutes` does.
    device : torch.device
    started : float
        When the run began, on the monotonic clock.
    progress : Progress
        Prints the plan.

    Returns
    -------
    dict of str to int
        ``epochs``, ``steps_of_all_epochs``, and ``steps``: how many of them to do.
    """
    per_epoch = Batches(data, settings).per_epoch
    epochs = planned_epochs(settings, per_epoch)
    of_all_epochs = epochs * per_epoch
    if settings.max_steps is not None:
        steps = min(settings.max_steps, of_all_epochs)
    elif settings.max_minutes is not None:
        seconds = settings.max_minutes * 60 - (time.monotonic() - started)
        steps = estimate_steps(seconds, of_all_epochs, data, settings, device)
    else:
        steps = of_all_epochs

    sessions = int((data.sessions.lengths > 1).sum())
    pairs_per_title = 2 * data.pairs / len(data.titles)
    progress.note(
        f"data: {sessions:,} sessions, {data.pairs:,} pairs, {len(data.titles):,} titles with "
        f"{pairs_per_title:.3g} pairs each"
    )
    progress.note(_plan_line(settings, epochs, per_epoch, steps))
    if sessions < _FEW_SESSIONS:
        progress.note(
            f"hint: {sessions:,} sessions are few; with less than {_FEW_SESSIONS:,}, expect "
            "most from the lexical part of the vectors; 'vitrina evaluate' tells"
        )
    if settings.teacher is None and pairs_per_title < _FEW_PAIRS_PER_TITLE:
        progress.note(
            f"hint: {pairs_per_title:.3g} pairs a title are few; a teacher helps then "
            "(docs/teacher.md)"
        )
    if settings.max_steps is None and steps < per_epoch:
        progress.warn(
            f"warning: {settings.max_minutes:g} minutes are too few to see every pair once "
            f"({steps / per_epoch:.0%} of them); a longer run makes a better encoder"
        )
    return {"epochs": epochs, "steps_of_all_epochs": of_all_epochs, "steps": steps}


def _plan_line(settings: Settings, epochs: int, per_epoch: int, steps: int) -> str:
    """What is planned, and why."""
    passes = f"{epochs} epoch" if epochs == 1 else f"{epochs:,} epochs"
    if steps < epochs * per_epoch:
        limit = f"{steps:,} steps are the limit"
        if settings.max_steps is None:
            limit = f"{settings.max_minutes:g} minutes have time for {steps:,} steps"
        return f"plan: {limit}, of {epochs * per_epoch:,} in {passes}; the schedules end with them"
    if settings.epochs is not None:
        reason = "as the settings say"
    elif epochs == 1:
        reason = "one epoch is long enough"
    else:
        reason = f"one epoch of such small data is too short ({per_epoch:,} steps)"
    return f"plan: {passes}, {steps:,} steps: {reason}"
