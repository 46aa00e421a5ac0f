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

    The arithmetic is that of the frozen encoder: the filters are applied to each distinct piece of
    the batch once, and the convolutions look their results up, add them and take the maximum.

    Parameters
    ----------
    start : EncoderWeights
        Initial weights; they are copied.
    """

    def __init__(self, start: EncoderWeights) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.from_numpy(start.embeddings.copy()))  # (pieces, dim)
        self.filters = nn.Parameter(torch.from_numpy(start.filters.copy()))  # (dim, 14·filters)
        self.bias = nn.Parameter(torch.from_numpy(start.bias.copy()))  # (4·filters,)

    def forward(self, pieces: Tensor, titles: Ragged) -> Tensor:
        """Encode titles.

        Parameters
        ----------
        pieces : Tensor of shape (u,), int64
            Ids of distinct pieces.
        titles : Ragged of n rows
            The titles, as rows of `pieces`.

        Returns
        -------
        Tensor of shape (n, 4 · filters)
            y of each title.
        """
        table = functional.embedding(pieces, self.embeddings) @ self.filters  # (u, 14·filters)
        if table.device.type == "cpu":
            y: Tensor = _LookUp.apply(table, self.bias, titles)  # type: ignore[no-untyped-call]
            return y
        return look_up(table, self.bias, titles)


class _LookUp(torch.autograd.Function):
    """`kernels.encode` as a torch function with a gradient, on the CPU."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, bias: Tensor, titles: Ragged) -> Tensor:
        # Only the gradient needs the window that gave each maximum; the target network has none.
        winner = None
        if ctx.needs_input_grad[0]:
            winner = np.empty((len(titles), len(bias)), np.int32)
        y = kernels.encode(
            table.detach().numpy(),
            titles.values,
            titles.offsets,
            bias.detach().numpy(),
            torch.get_num_threads(),
            winner,
        )
        ctx.winner = winner
        ctx.titles = titles
        ctx.rows = len(table)
        return torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        gradient = gradients[0].contiguous().numpy()
        table = kernels.scatter_gradient(
            gradient, ctx.winner, ctx.titles.values, ctx.rows, torch.get_num_threads()
        )
        # no window won where the ReLU gave 0
        bias = gradients[0].masked_fill(torch.from_numpy(ctx.winner < 0), 0).sum(0)
        return torch.from_numpy(table), bias, None


def look_up(table: Tensor, bias: Tensor, titles: Ragged) -> Tensor:
    """`kernels.encode` in torch operations, for any device.

    Parameters
    ----------
    table : Tensor of shape (u, 14 · filters)
        Products of each piece's embedding with all filters.
    bias : Tensor of shape (4 · filters,)
    titles : Ragged of n rows
        The titles, as rows of `table`.

    Returns
    -------
    Tensor of shape (n, 4 · filters)
    """
    device = table.device
    filters = len(bias) // len(WIDTHS)
    pieces = torch.from_numpy(titles.values.astype(np.int64)).to(device)
    rows = table.index_select(0, pieces)  # (total, 14·filters)
    title = torch.from_numpy(np.repeat(np.arange(len(titles)), titles.lengths)).to(device)

    pooled = []
    block = 0  # first of the blocks of columns that belong to this width
    for width in WIDTHS:
        # Convolution over all titles as one text, one block for each position in the window
        windows = len(rows) - width + 1
        response = sum(
            rows[p : p + windows, (block + p) * filters : (block + p + 1) * filters]
            for p in range(width)
        )

        # Maximum over the windows that end in the title in which they start
        inside = title[:windows] == title[width - 1 :]
        index = title[:windows][inside][:, None].expand(-1, filters)
        lowest = torch.full((len(titles), filters), -torch.inf, dtype=table.dtype, device=device)
        pooled.append(lowest.scatter_reduce(0, index, response[inside], "amax"))  # type: ignore[index]
        block += width
    return functional.relu(torch.cat(pooled, 1) + bias)


class WeightedBatchNorm(nn.Module):
    """Batch norm with weighted statistics (paper A.1).

    A batch has each distinct title once. With the title's share of the pairs as its weight, mean
    and variance are exactly those over the rows of all pairs. There are no running statistics (the
    paper's decay of 0.9): only evaluation would use them, and these networks end with training.

    Parameters
    ----------
    features : int
    epsilon : float
        Added to the variance.
    """

    def __init__(self, features: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.epsilon = epsilon

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Normalise x.

        Parameters
        ----------
        x : Tensor of shape (n, features)
        weight : Tensor of shape (n,)
            Weights of the rows; they sum to 1.

        Returns
        -------
        Tensor of shape (n, features)
        """
        centred = x - weight @ x
        variance = weight @ centred.square()
        return centred * (torch.rsqrt(variance + self.epsilon) * self.scale) + self.shift


class Head(nn.Module):
    """Linear, batch norm, ReLU, linear: projector g, predictor q or category predictor h.

    Parameters
    ----------
    inputs, hidden, outputs : int
        Sizes of the layers.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.norm = WeightedBatchNorm(hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply the head.

        Parameters
        ----------
        x : Tensor of shape (n, inputs)
        weight : Tensor of shape (n,)
            Weights of the rows in the batch norm; they sum to 1.

        Returns
        -------
        Tensor of shape (n, outputs)
        """
        out: Tensor = self.second(functional.relu(self.norm(self.first(x), weight)))
        return out


class Networks(nn.Module):
    """The online and target networks of figure 1.

    Parts without a use are left out. With `alpha` = 0 (only categories) there is no projector,
    predictor or target; with `alpha` = 1 there is no category head; SimCLR needs no predictor and
    no target.

    Parameters
    ----------
    settings : Settings
    start : EncoderWeights
        Initial weights of the encoder.
    categories : int
        Number of categories.
    teacher_dim : int, default 0
        Dimensions of the teacher's vectors; 0 without a teacher.

    Attributes
    ----------
    encoder : EncoderNetwork
        t and f.
    projector, predictor, category : Head
        g, q and h.
    teacher_head : Linear
        Predicts the teacher's vector of a title from y.
    target : ModuleDict
        The target network's "encoder" and "projector".
    """

    def __init__(
        self, settings: Settings, start: EncoderWeights, categories: int, teacher_dim: int = 0
    ) -> None:
        super().__init__()
        dim = len(start.bias)  # of y
        hidden = settings.hidden
        projection = settings.projection
        self.encoder = EncoderNetwork(start)
        # the heads' initial weights depend on the settings' seed and change no other random numbers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            if settings.alpha > 0:
                self.projector = Head(dim, hidden, projection)
            if settings.alpha > 0 and settings.objective != "simclr":
                self.predictor = Head(projection, hidden, projection)
                target = {
                    "encoder": copy.deepcopy(self.encoder),
                    "projector": copy.deepcopy(self.projector),
                }
                self.target = nn.ModuleDict(target).requires_grad_(False)
            if settings.alpha < 1:
                self.category = Head(dim, hidden, categories)
            if teacher_dim > 0:
                self.teacher_head = nn.Linear(dim, teacher_dim)

    def online_and_target(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the parameters of the online encoder and projector, and those of the target.

        Both lists have the same order. They are empty if there is no target network.
        """
        if not hasattr(self, "target"):
            return [], []
        online = [*self.encoder.parameters(), *self.projector.parameters()]
        return [p.data for p in online], [p.data for p in self.target.parameters()]

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """Update the target network: ξ ← τ ξ + (1 - τ) θ, τ = `decay` (paper §3.2.3)."""
        online, target = self.online_and_target()
        if target:
            torch._foreach_lerp_(target, online, 1 - decay)  # one call for all parameters


def on_device(batch: Batch, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Copy a batch's arrays to a device.

    Parameters
    ----------
    batch : Batch
    device : torch.device
    dtype : torch.dtype
        Type of the tensors of floats: that of the networks.

    Returns
    -------
    dict of str to Tensor
        By the names of the batch's attributes.
    """
    integers = ("pieces", "visit_title", "visit_session", "target")
    floats = ("title_weight", "target_count")
    tensors = {}
    for name in integers:
        tensors[name] = torch.from_numpy(getattr(batch, name)).to(device)
    for name in floats:
        tensors[name] = torch.from_numpy(getattr(batch, name)).to(device, dtype)
    return tensors
