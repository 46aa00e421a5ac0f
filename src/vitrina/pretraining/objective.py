"""The paper's objective, summed over sessions instead of pairs (§3.2.3-3.2.6).

For unit vectors a_i = q(z_i) and b_j = z'_j, the inner products of all ordered pairs of a session
are ⟨Σ a, Σ b⟩ - Σ ⟨a_i, b_i⟩; the cross entropy of all partners of i needs one log-softmax of i.
So a session of n products costs n passes through the networks instead of n(n - 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vitrina.pretraining.batches import Batch
from vitrina.pretraining.networks import Networks, on_device
from vitrina.pretraining.settings import Objective


@dataclass(frozen=True)
class Losses:
    """Means over the batch's unordered pairs, each the sum of both directions. Where a product
    also predicts its own category, that counts as one direction of a pair."""

    total: Tensor  # equation 4
    alignment: Tensor  # equations 1 and 3, SimCLR's loss, or their sum
    cross_entropy: Tensor  # equations 2 and 3
    representation: Tensor  # y, (n, 512), detached: for the collapse gauge


def losses(networks: Networks, batch: Batch, alpha: float, objective: Objective = "byol") -> Losses:
    """Equation 4: α (L_BYOL(i→j) + L_BYOL(j→i)) + (1 - α)(L_CE(i→j) + L_CE(j→i)), averaged over
    pairs. A partner without a category adds nothing to the cross entropy. Other objectives have
    SimCLR's loss in the place of L_BYOL, or the sum of both."""
    parameter = networks.encoder.filters
    tensors = on_device(batch, parameter.device, parameter.dtype)
    y = networks.encoder(tensors["pieces"], batch.titles)  # (n, 512)
    weight = tensors["title_weight"]
    title, session = tensors["visit_title"], tensors["visit_session"]
    alignment = cross_entropy = y.new_zeros(())
    # index_select, not [ ]: torch sums the latter's gradient in no fixed order, and a resumed run
    # would end with other weights
    if alpha > 0:
        z = networks.projector(y, weight)  # (n, 128)
        if objective != "byol":
            unit = functional.normalize(z).index_select(0, title)
            alignment = simclr_loss(unit, title, session, batch.pairs)
        if objective != "simclr":
            online = functional.normalize(networks.predictor(z, weight))
            with torch.no_grad():
                target_y = networks.target["encoder"](tensors["pieces"], batch.titles)
                target = functional.normalize(networks.target["projector"](target_y, weight))
            alignment = alignment + byol_loss(
                online.index_select(0, title), target.index_select(0, title), session, batch.pairs
            )
    if alpha < 1:
        logits = networks.category(y, weight)  # (n, categories)
        cross_entropy = category_loss(
            logits, tensors["target"], tensors["target_count"], batch.predictions / 2
        )
    total = alpha * alignment + (1 - alpha) * cross_entropy
    titles = y.detach()[: int(batch.visit_title.max()) + 1]
    return Losses(total, alignment.detach(), cross_entropy.detach(), titles)


def byol_loss(online: Tensor, target: Tensor, session: Tensor, pairs: int) -> Tensor:
    """Equation 1 over all ordered pairs of each session, divided by the unordered pairs.

    online, target : (v, 128) unit vectors a, b of each visit; session : (v,) int64.
    """
    sums = online.new_zeros(int(session[-1]) + 1, online.shape[1])
    inner = torch.sum(
        sums.index_add(0, session, online) * sums.index_add(0, session, target)
    ) - torch.sum(online * target)
    if pairs == 0:  # all products are alone
        return inner
    return 2 * 2 - 2 * inner / pairs  # 2 for each of the two directions


def simclr_loss(
    z: Tensor, title: Tensor, session: Tensor, pairs: int, temperature: float = 0.1
) -> Tensor:
    """NT-Xent (Chen et al. 2020, equation 1) over all ordered pairs of each session, divided by the
    unordered pairs: -log(exp(s_ij) / (exp(s_ij) + Σ exp(s_ik))), s = cosine / temperature.

    The negatives k are the visits of the batch's other sessions, but not those of the same title,
    which are no negatives.

    z : (v, 128) unit vectors of each visit; title, session : (v,) int64.
    """
    similarity = z @ z.T / temperature  # (v, v)
    together = session[:, None] == session
    excluded = together | (title[:, None] == title)
    lowest = torch.finfo(z.dtype).min  # finite: a batch of one session has no negatives
    negatives = similarity.masked_fill(excluded, lowest).logsumexp(1, keepdim=True)
    partner = together & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    return functional.softplus(negatives - similarity).masked_fill(~partner, 0).sum() / max(
        1, pairs
    )


def category_loss(logits: Tensor, target: Tensor, count: Tensor, pairs: float) -> Tensor:
    """Equation 2 over all ordered pairs, divided by the unordered pairs.

    logits : (n, categories); target : (m,) int64, title · categories + category;
    count : (m,) ordered pairs in which that title predicts that category.
    """
    times = logits.new_zeros(len(logits)).index_add(0, target // logits.shape[1], count)
    picked = torch.dot(logits.flatten().gather(0, target), count)
    return (torch.dot(torch.logsumexp(logits, 1), times) - picked) / pairs


def representation_std(representation: Tensor) -> float:
    """Collapse gauge: standard deviation of the unit-length representations over the batch, mean
    over dimensions, times √dim. 0: all titles look alike; 1: they fill the sphere."""
    unit = functional.normalize(representation.float())
    return float(unit.std(0, correction=0).mean() * unit.shape[1] ** 0.5)
