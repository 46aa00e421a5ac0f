"""One training step, the schedules of the steps, and how many steps fit into a given time."""

from __future__ import annotations

import time
from math import cos, pi
from typing import Any

import torch

from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.pretraining.batches import Batch, Batches
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.distillation import TeacherTargets, targets_for_timing
from vitrina.pretraining.lars import Lars
from vitrina.pretraining.networks import Networks
from vitrina.pretraining.objective import Losses, losses, representation_std
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.teacher import teacher_seconds


class Trainer:
    """The networks and the optimiser of one run.

    Parameters
    ----------
    data : TrainingData
    settings : Settings
    steps : int
        Steps of the whole run; the schedules end with them.
    device : torch.device
    targets : TeacherTargets, optional
        The teacher's vectors of titles, if `settings` name a teacher.
    """

    def __init__(
        self,
        data: TrainingData,
        settings: Settings,
        steps: int,
        device: torch.device,
        targets: TeacherTargets | None = None,
    ) -> None:
        self.data = data
        self.settings = settings
        self.steps = steps
        self.targets = targets
        start = initial_weights(
            data.tokenizer,
            dim=settings.dim,
            filters=settings.filters,
            embedding_std=settings.embedding_std,
            seed=settings.seed,
        )
        dimension = 0 if targets is None else targets.dimension
        self.networks = Networks(settings, start, len(data.categories), dimension).to(device)
        # the target network is not trained by gradients
        trained = [p for p in self.networks.parameters() if p.requires_grad]
        decay = settings.weight_decay
        self.optimizer: torch.optim.Optimizer
        if settings.optimizer == "lars":
            self.optimizer = Lars(trained, momentum=settings.momentum, decay=decay)
        else:
            self.optimizer = torch.optim.AdamW(trained, weight_decay=decay, fused=True)

    def step(self, batch: Batch, number: int) -> Losses:
        """Train on a batch.

        Parameters
        ----------
        batch : Batch
        number : int
            Number of the step, from 0.

        Returns
        -------
        Losses
            Losses before the update.
        """
        # Forward and loss (equations 1 to 4)
        teacher_batch = None if self.targets is None else self.targets[number]
        settings = self.settings
        loss = losses(self.networks, batch, settings.alpha, settings.objective, teacher_batch)

        # Backward and optimiser step
        rate = learning_rate(self.settings, number, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

        # Target network: ξ ← τ ξ + (1 - τ) θ (§3.2.3)
        self.networks.update_target(ema_decay(self.settings, number, self.steps))
        return loss

    def record(self, loss: Losses, number: int) -> dict[str, Any]:
        """Return a step's figures for the log: losses, collapse gauge and schedules.

        A loss of weight 0 is None.
        """
        alpha = self.settings.alpha
        record = {
            "loss": loss.total.item(),
            "alignment": loss.alignment.item() if alpha > 0 else None,
            "cross_entropy": loss.cross_entropy.item() if alpha < 1 else None,
            "representation_std": representation_std(loss.representation),
            "learning_rate": learning_rate(self.settings, number, self.steps),
            "ema_decay": ema_decay(self.settings, number, self.steps),
        }
        if self.targets is not None:
            record["distillation"] = loss.distillation.item()
        return record

    def export_encoder(self, training: dict[str, Any]) -> EncoderWeights:
        """Return the weights of the online encoder, with `training` as the record of the run."""
        if self.targets is not None:
            training = {**training, "teacher": self.targets.about}
        encoder = self.networks.encoder
        parameters = (encoder.embeddings, encoder.filters, encoder.bias)
        embeddings, filters, bias = (p.detach().cpu().numpy() for p in parameters)
        return EncoderWeights(embeddings, filters, bias, self.data.tokenizer, training)


def learning_rate(settings: Settings, step: int, steps: int) -> float:
    """Learning rate of step `step` (from 0) of `steps`: a linear rise, then a cosine down to 0."""
    rise = max(1, round(settings.warmup * steps))
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    return settings.learning_rate * (1 + cos(pi * (step - rise) / max(1, steps - rise))) / 2


def ema_decay(settings: Settings, step: int, steps: int) -> float:
    """τ of step `step` (from 0) of `steps`: 1 - (1 - τ₀)(cos(πk/K) + 1)/2, from τ₀ up to 1.

    The schedule is BYOL's (Grill et al. 2020, §3.2).
    """
    return 1 - (1 - settings.ema_decay) * (cos(pi * step / steps) + 1) / 2


def estimate_steps(
    seconds: float, steps: int, data: TrainingData, settings: Settings, device: torch.device
) -> int:
    """Estimate how many steps fit into a time, by timing a few on a throwaway trainer.

    Parameters
    ----------
    seconds : float
        Time left for the run; the teacher and the timed steps use some of it.
    steps : int
        Steps of all epochs.
    data : TrainingData
    settings : Settings
    device : torch.device

    Returns
    -------
    int
        From 1 to `steps`.
    """
    targets = None if settings.teacher is None else targets_for_timing(data, settings)
    trainer = Trainer(data, settings, steps, device, targets)
    batches = Batches(data, settings)
    seconds -= teacher_seconds(settings)
    begun = time.monotonic()
    trainer.step(batches[0], 0)  # not timed: it compiles kernels and fills caches

    # Time one step or more, up to 10 as long as they take less than a twentieth of the time.
    timed_from = time.monotonic()
    number = 0
    while number < 1 or (number < 10 and time.monotonic() - begun < seconds / 20):
        number += 1
        trainer.step(batches[number % steps], number % steps)
    seconds_per_step = (time.monotonic() - timed_from) / number

    left = seconds - (time.monotonic() - begun)
    margin = 0.92  # the machine may slow down
    return max(1, min(steps, int(left * margin / seconds_per_step)))
