"""One step of training after the other: forward, backward, optimiser, target network."""

from __future__ import annotations

import time
from math import cos, pi
from typing import Any

import torch

from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.pretraining.batches import Batch, Batches
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.networks import Networks
from vitrina.pretraining.objective import Losses, losses, representation_std
from vitrina.pretraining.settings import Settings


class Trainer:
    """Networks and optimiser of one run, as its settings want them.

    Parameters
    ----------
    data, settings
    steps : int
        Of the whole run: the schedules end with them.
    device : torch.device
    """

    def __init__(
        self, data: TrainingData, settings: Settings, steps: int, device: torch.device
    ) -> None:
        start = initial_weights(
            data.tokenizer,
            dim=settings.dim,
            filters=settings.filters,
            embedding_std=settings.embedding_std,
            seed=settings.seed,
        )
        self.data, self.settings, self.steps = data, settings, steps
        self.networks = Networks(settings, start, len(data.categories)).to(device)
        trained = [p for p in self.networks.parameters() if p.requires_grad]
        decay, momentum = settings.weight_decay, settings.momentum
        self.optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(trained, momentum=momentum, weight_decay=decay)
        else:
            self.optimizer = torch.optim.AdamW(trained, weight_decay=decay, fused=True)

    def step(self, batch: Batch, number: int) -> Losses:
        """Learn from a batch; `number` is the step's, from 0."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, number, self.steps)
        loss = losses(self.networks, batch, self.settings.alpha, self.settings.objective)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.networks.update_target(ema_decay(self.settings, number, self.steps))
        return loss

    def record(self, loss: Losses, number: int) -> dict[str, Any]:
        """What the log says of a step."""
        alpha = self.settings.alpha
        return {
            "loss": loss.total.item(),
            "alignment": loss.alignment.item() if alpha > 0 else None,
            "cross_entropy": loss.cross_entropy.item() if alpha < 1 else None,
            "representation_std": representation_std(loss.representation),
            "learning_rate": learning_rate(self.settings, number, self.steps),
            "ema_decay": ema_decay(self.settings, number, self.steps),
        }

    def export_encoder(self, training: dict[str, Any]) -> EncoderWeights:
        """The online encoder as it is now, with the record of its training."""
        encoder = self.networks.encoder
        parameters = (encoder.embeddings, encoder.filters, encoder.bias)
        arrays = [parameter.detach().cpu().numpy() for parameter in parameters]
        return EncoderWeights(arrays[0], arrays[1], arrays[2], self.data.tokenizer, training)


def estimate_steps(
    seconds: float, steps: int, data: TrainingData, settings: Settings, device: torch.device
) -> int:
    """How many of the steps fit into the time: from a few, with networks that are thrown away."""
    trainer, batches = Trainer(data, settings, steps, device), Batches(data, settings)
    begun = time.monotonic()
    trainer.step(batches[0], 0)  # compiles and fills the caches
    warm, number = time.monotonic(), 0
    # a twentieth of the time, and one step, is enough to know by
    while number < 1 or (number < 10 and time.monotonic() - begun < seconds / 20):
        number += 1
        trainer.step(batches[number % steps], number % steps)
    each = (time.monotonic() - warm) / number
    left = seconds - (time.monotonic() - begun)
    return max(1, min(steps, int(left * 0.92 / each)))  # some room: the machine may slow down


def learning_rate(settings: Settings, step: int, steps: int) -> float:
    """Rate of step `step` (0-based) of `steps`: a linear rise, then a cosine down to 0."""
    rise = max(1, round(settings.warmup * steps))
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    return settings.learning_rate * (1 + cos(pi * (step - rise) / max(1, steps - rise))) / 2


def ema_decay(settings: Settings, step: int, steps: int) -> float:
    """τ after step `step` of `steps`: 1 - (1 - τ₀)(cos(πk/K) + 1)/2, from τ₀ up to 1."""
    return 1 - (1 - settings.ema_decay) * (cos(pi * step / steps) + 1) / 2
