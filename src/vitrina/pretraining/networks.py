"""Online and target networks (paper §3.2, figure 1)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vitrina.encoder import kernels
from vitrina.encoder.kernels import WIDTHS
from vitrina.encoder.weights import EncoderWeights
from vitrina.pretraining.batches import Batch
from vitrina.pretraining.settings import Settings
from vitrina.ragged import Ragged


class EncoderNetwork(nn.Module):
    """Embeddings t and Text CNN f: titles -> y (paper §3.2.1).

    Same arithmetic as the frozen encoder: the batch's distinct pieces are projected once, then
    looked up, added and maximised.
    """

    def __init__(self, start: EncoderWeights) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.from_numpy(start.embeddings.copy()))  # (pieces, dim)
        self.filters = nn.Parameter(torch.from_numpy(start.filters.copy()))  # (dim, 14·filters)
        self.bias = nn.Parameter(torch.from_numpy(start.bias.copy()))  # (4·filters,)

    def forward(self, pieces: Tensor, titles: Ragged) -> Tensor:
        """y of n titles given as rows of the distinct pieces (u,): shape (n, 4 · filters)."""
        table = functional.embedding(pieces, self.embeddings) @ self.filters  # (u, 14·filters)
        if table.device.type == "cpu":
            y: Tensor = _LookUp.apply(table, self.bias, titles)  # type: ignore[no-untyped-call]
            return y
        return look_up(table, self.bias, titles)


class _LookUp(torch.autograd.Function):
    """`kernels.encode` and its gradient."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, bias: Tensor, titles: Ragged) -> Tensor:
        # the target network learns nothing, so nobody asks which windows won
        winner = np.empty((len(titles), len(bias)), np.int32) if ctx.needs_input_grad[0] else None
        y = kernels.encode(
            table.detach().numpy(),
            titles.values,
            titles.offsets,
            bias.detach().numpy(),
            torch.get_num_threads(),
            winner,
        )
        ctx.winner, ctx.titles, ctx.rows = winner, titles, len(table)
        return torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        gradient = gradients[0].contiguous().numpy()
        table = kernels.scatter_gradient(
            gradient, ctx.winner, ctx.titles.values, ctx.rows, torch.get_num_threads()
        )
        bias = gradients[0].masked_fill(torch.from_numpy(ctx.winner < 0), 0).sum(0)
        return torch.from_numpy(table), bias, None


def look_up(table: Tensor, bias: Tensor, titles: Ragged) -> Tensor:
    """`kernels.encode` in torch operations, for any device."""
    device, filters = table.device, len(bias) // len(WIDTHS)
    pieces = torch.from_numpy(titles.values.astype(np.int64)).to(device)
    rows = table.index_select(0, pieces)  # (total, 14·filters)
    title = torch.from_numpy(np.repeat(np.arange(len(titles)), titles.lengths)).to(device)
    pooled, block = [], 0
    for width in WIDTHS:
        windows = len(rows) - width + 1
        response = sum(
            rows[p : p + windows, (block + p) * filters : (block + p + 1) * filters]
            for p in range(width)
        )
        inside = title[:windows] == title[width - 1 :]  # a window ends in the title it starts in
        index = title[:windows][inside][:, None].expand(-1, filters)
        lowest = torch.full((len(titles), filters), -torch.inf, dtype=table.dtype, device=device)
        pooled.append(lowest.scatter_reduce(0, index, response[inside], "amax"))  # type: ignore[index]
        block += width
    return functional.relu(torch.cat(pooled, 1) + bias)


class WeightedBatchNorm(nn.Module):
    """Batch norm whose statistics weigh each row (paper A.1).

    A batch holds each distinct title once; weighted by the title's share in the pairs, mean and
    variance are exactly those over the pairs' rows. Running statistics (the paper's decay of 0.9)
    would serve evaluation only, and these networks end with training: there are none.
    """

    def __init__(self, features: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.epsilon = epsilon

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """x: (n, features), weight: (n,) summing to 1."""
        centred = x - weight @ x
        variance = weight @ centred.square()
        return centred * (torch.rsqrt(variance + self.epsilon) * self.scale) + self.shift


class Head(nn.Module):
    """Linear, batch norm, ReLU, linear: projector g, predictor q, category predictor h."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.norm = WeightedBatchNorm(hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """x: (n, inputs), weight: (n,) -> (n, outputs)."""
        out: Tensor = self.second(functional.relu(self.norm(self.first(x), weight)))
        return out


class Networks(nn.Module):
    """All of figure 1. An idle part doesn't exist: with categories alone (alpha = 0) there is no
    projector, predictor or target, without them (alpha = 1) no category head, and SimCLR has a
    projector alone."""

    def __init__(self, settings: Settings, start: EncoderWeights, categories: int) -> None:
        super().__init__()
        y, hidden, projection = len(start.bias), settings.hidden, settings.projection
        self.encoder = EncoderNetwork(start)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            if settings.alpha > 0:
                self.projector = Head(y, hidden, projection)
            if settings.alpha > 0 and settings.objective != "simclr":
                self.predictor = Head(projection, hidden, projection)
                self.target = nn.ModuleDict(
                    {
                        "encoder": copy.deepcopy(self.encoder),
                        "projector": copy.deepcopy(self.projector),
                    }
                ).requires_grad_(False)
            if settings.alpha < 1:
                self.category = Head(y, hidden, categories)

    def online_and_target(self) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters of the online encoder and projector, and their counterparts."""
        if not hasattr(self, "target"):
            return [], []
        online = [*self.encoder.parameters(), *self.projector.parameters()]
        return [p.data for p in online], [p.data for p in self.target.parameters()]

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """ξ ← τ ξ + (1 - τ) θ (paper §3.2.3)."""
        online, target = self.online_and_target()
        if target:
            torch._foreach_lerp_(target, online, 1 - decay)


def on_device(batch: Batch, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """The batch's arrays as tensors, the floats in the networks' dtype."""
    integers = ("pieces", "visit_title", "visit_session", "target")
    floats = ("title_weight", "target_count")
    tensors = {name: torch.from_numpy(getattr(batch, name)).to(device) for name in integers}
    return tensors | {
        name: torch.from_numpy(getattr(batch, name)).to(device, dtype) for name in floats
    }
