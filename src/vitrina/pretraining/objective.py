"""The paper's objective, summed over sessions instead of pairs (§3.2.3-3.2.6).

For unit vectors a_i = q(z_i) and b_j = z'_j, the inner products of all ordered pairs of a session
sum to ⟨Σ a, Σ b⟩ - Σ ⟨a_i, b_i⟩. The cross entropy of all partners of i needs one log-softmax of i.
So a session of n products needs n passes through the networks instead of n(n - 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vitrina.pretraining.batches import Batch
from vitrina.pretraining.distillation import TeacherBatch
from vitrina.pretraining.networks import Networks, on_device
from vitrina.pretraining.settings import Objective

TEACHER_WEIGHT = 6.0
"""Weight of the distillation loss of titles without sessions, beside 1 for equation 4."""


@dataclass(frozen=True)
class Losses:
    """Losses of a batch: means over its unordered pairs of the sum of both directions.

    If a product also predicts its own category, that counts as one direction of a pair.

    Attributes
    ----------
    total : Tensor of shape ()
        Equation 4, plus the weighted distillation loss; the only one with a gradient.
    alignment : Tensor of shape ()
        L_BYOL (equations 1 and 3), SimCLR's loss, or their sum.
    cross_entropy : Tensor of shape ()
        L_CE (equations 2 and 3).
    distillation : Tensor of shape ()
        `distillation_loss` of the titles with teacher vectors; 0 without a teacher.
    representation : Tensor of shape (n, 4 · filters)
        y of each title, for `representation_std`.
    """

    total: Tensor
    alignment: Tensor
    cross_entropy: Tensor
    distillation: Tensor
    representation: Tensor


def losses(
    networks: Networks,
    batch: Batch,
    alpha: float,
    objective: Objective = "byol",
    teacher_batch: TeacherBatch | None = None,
) -> Losses:
    """Compute the losses of a batch.

    Equation 4: α (L_BYOL(i→j) + L_BYOL(j→i)) + (1 - α)(L_CE(i→j) + L_CE(j→i)), averaged over pairs.
    A partner without a category adds nothing to the cross entropy. The other objectives replace
    L_BYOL by SimCLR's loss, or by the sum of both.

    Parameters
    ----------
    networks : Networks
    batch : Batch
    alpha : float
        Weight α, from 0 to 1. A loss of weight 0 is not computed.
    objective : {"byol", "simclr", "byol+simclr"}
    teacher_batch : TeacherBatch, optional
        Titles with the vectors of a teacher. Their loss is added to equation 4.

    Returns
    -------
    Losses
    """
    parameter = networks.encoder.filters
    tensors = on_device(batch, parameter.device, parameter.dtype)
    weight = tensors["title_weight"]

    # y = f(t(title))
    y = networks.encoder(tensors["pieces"], batch.titles)  # (n, 4 · filters)
    alignment = y.new_zeros(())
    cross_entropy = y.new_zeros(())

    # Alignment of the products of a session (equation 1, SimCLR, or both)
    if alpha > 0:
        alignment = _alignment(networks, batch, tensors, y, objective)

    # Category of the partner (equation 2)
    if alpha < 1:
        logits = networks.category(y, weight)  # (n, categories)
        pairs = batch.predictions / 2
        cross_entropy = category_loss(logits, tensors["target"], tensors["target_count"], pairs)

    # Weighted sum (equation 4)
    total = alpha * alignment + (1 - alpha) * cross_entropy

    # Vectors of the teacher
    distillation = y.new_zeros(())
    if teacher_batch is not None:
        pieces = torch.from_numpy(teacher_batch.pieces).to(y.device)
        predicted = networks.teacher_head(networks.encoder(pieces, teacher_batch.titles))
        vectors = torch.from_numpy(teacher_batch.vectors).to(y)
        weights = torch.from_numpy(teacher_batch.weights).to(y)
        distillation = distillation_loss(predicted, vectors, weights)
        total = total + TEACHER_WEIGHT * distillation

    titles = int(batch.visit_title.max()) + 1  # the rest is padding
    parts = (part.detach() for part in (alignment, cross_entropy, distillation, y[:titles]))
    return Losses(total, *parts)


def _alignment(
    networks: Networks, batch: Batch, tensors: dict[str, Tensor], y: Tensor, objective: Objective
) -> Tensor:
    """The loss that pulls the products of a session together, a scalar."""
    weight = tensors["title_weight"]
    title = tensors["visit_title"]
    session = tensors["visit_session"]
    alignment = y.new_zeros(())
    z = networks.projector(y, weight)  # (n, projection)

    # Visits take their title's row by index_select instead of z[title]: torch sums the gradient of
    # the latter in no fixed order, so a resumed run would end with other weights.
    if objective != "byol":
        unit = functional.normalize(z).index_select(0, title)
        alignment = simclr_loss(unit, title, session, batch.pairs)
    if objective != "simclr":
        online = functional.normalize(networks.predictor(z, weight))
        with torch.no_grad():  # the target network gets no gradient
            target_y = networks.target["encoder"](tensors["pieces"], batch.titles)
            target = functional.normalize(networks.target["projector"](target_y, weight))
        alignment = alignment + byol_loss(
            online.index_select(0, title), target.index_select(0, title), session, batch.pairs
        )
    return alignment


def byol_loss(online: Tensor, target: Tensor, session: Tensor, pairs: int) -> Tensor:
    """Equation 1, summed over all ordered pairs of each session, per unordered pair.

    Parameters
    ----------
    online : Tensor of shape (v, projection)
        a = q(z) of each visit, unit vectors.
    target : Tensor of shape (v, projection)
        b = z' of each visit, unit vectors.
    session : Tensor of shape (v,), int64
        Session of each visit, non-decreasing.
    pairs : int
        Number of unordered pairs.

    Returns
    -------
    Tensor of shape ()
    """
    # Σ over ordered pairs of ⟨a_i, b_j⟩ = ⟨Σ a, Σ b⟩ - Σ ⟨a_i, b_i⟩, session by session
    zeros = online.new_zeros(int(session[-1]) + 1, online.shape[1])
    online_sum = zeros.index_add(0, session, online)
    target_sum = zeros.index_add(0, session, target)
    inner = torch.sum(online_sum * target_sum) - torch.sum(online * target)
    if pairs == 0:  # every product is alone: 0, with a gradient of 0
        return inner
    return 2 * 2 - 2 * inner / pairs  # 2 for each of the two directions


def simclr_loss(
    z: Tensor, title: Tensor, session: Tensor, pairs: int, temperature: float = 0.1
) -> Tensor:
    """NT-Xent (Chen et al. 2020, equation 1) over all ordered pairs, per unordered pair.

    -log(exp(s_ij) / (exp(s_ij) + Σ exp(s_ik))), where s = cosine / temperature. The negatives k are
    the visits of the batch's other sessions, except those of the same title.

    Parameters
    ----------
    z : Tensor of shape (v, projection)
        Unit vectors of each visit.
    title : Tensor of shape (v,), int64
        Title of each visit.
    session : Tensor of shape (v,), int64
        Session of each visit.
    pairs : int
        Number of unordered pairs.
    temperature : float

    Returns
    -------
    Tensor of shape ()
    """
    similarity = z @ z.T / temperature  # (v, v)
    same_session = session[:, None] == session
    same_title = title[:, None] == title
    lowest = torch.finfo(z.dtype).min  # finite: a batch of one session has no negatives
    negatives = similarity.masked_fill(same_session | same_title, lowest)
    negatives = negatives.logsumexp(1, keepdim=True)
    # -log(e^s / (e^s + e^n)) = softplus(n - s), for each pair of partners
    loss = functional.softplus(negatives - similarity)
    partners = same_session & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    return loss.masked_fill(~partners, 0).sum() / max(1, pairs)


def category_loss(logits: Tensor, target: Tensor, count: Tensor, pairs: float) -> Tensor:
    """Equation 2, summed over all ordered pairs, per unordered pair.

    Parameters
    ----------
    logits : Tensor of shape (n, categories)
        h(y) of each title.
    target : Tensor of shape (m,), int64
        Row of a title · number of categories + a category that it predicts.
    count : Tensor of shape (m,)
        Number of ordered pairs with that prediction.
    pairs : float
        Number of unordered pairs.

    Returns
    -------
    Tensor of shape ()
    """
    # -log softmax(logits)[c] = logsumexp(logits) - logits[c], each as often as it is predicted
    predictions_of_title = logits.new_zeros(len(logits))
    predictions_of_title = predictions_of_title.index_add(0, target // logits.shape[1], count)
    predicted_logits = torch.dot(logits.flatten().gather(0, target), count)
    return (torch.dot(torch.logsumexp(logits, 1), predictions_of_title) - predicted_logits) / pairs


def distillation_loss(predicted: Tensor, vectors: Tensor, weights: Tensor) -> Tensor:
    """Mean of weight · (1 - cosine), the cosine of predicted vectors and those of the teacher.

    Parameters
    ----------
    predicted : Tensor of shape (n, dimension)
    vectors : Tensor of shape (n, dimension)
        Unit vectors.
    weights : Tensor of shape (n,)

    Returns
    -------
    Tensor of shape ()
    """
    cosine = torch.sum(functional.normalize(predicted) * vectors, 1)
    return torch.mean(weights * (1 - cosine))


def representation_std(representation: Tensor) -> float:
    """Gauge of collapse: how far the representations of a batch differ.

    The standard deviation of the unit-length representations over the batch, averaged over the
    dimensions, times √dim. It is 0 if all titles have the same representation and about 1 if they
    are spread evenly over the sphere.

    Parameters
    ----------
    representation : Tensor of shape (n, dim)

    Returns
    -------
    float
    """
    unit = functional.normalize(representation.float())
    return float(unit.std(0, correction=0).mean() * unit.shape[1] ** 0.5)
