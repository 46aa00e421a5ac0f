"""The per-session objective against the paper's, written pair by pair."""

from typing import cast, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vitrina.encoder.weights import initial_weights
from vitrina.pretraining.batches import make_batch
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.networks import EncoderNetwork, Head, Networks, _LookUp, look_up
from vitrina.pretraining.objective import losses, representation_std, simclr_loss
from vitrina.pretraining.settings import Objective, Settings
from vitrina.ragged import Ragged


def networks_for(data: TrainingData, alpha: float) -> Networks:
    settings = Settings(objective="byol", alpha=alpha, seed=3, hidden=24, projection=8)
    start = initial_weights(data.tokenizer, dim=16, filters=4, embedding_std=0.5, seed=3)
    networks = Networks(settings, start, len(data.categories)).double()
    if alpha > 0:  # a target that differs from the online network, as after some steps
        with torch.no_grad():
            for parameter in networks.target.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return networks


def encode_one(encoder: EncoderNetwork, pieces: Tensor) -> Tensor:
    """Kim 2014 on one title, (pieces,) -> (4 · filters,): Embedding, Conv1d, max, ReLU."""
    embedded = encoder.embeddings[pieces].T[None]  # (1, dim, length)
    filters, block, pooled = len(encoder.bias) // 4, 0, []
    for group, width in enumerate((2, 3, 4, 5)):
        taps = [
            encoder.filters[:, (block + p) * filters : (block + p + 1) * filters]
            for p in range(width)
        ]
        weight = torch.stack(taps, -1).transpose(0, 1)  # (filters, dim, width)
        bias = encoder.bias[group * filters : (group + 1) * filters]
        pooled.append(functional.conv1d(embedded, weight, bias)[0].amax(1))
        block += width
    return functional.relu(torch.cat(pooled))


def head(module: Head, rows: Tensor) -> Tensor:
    """Linear, torch's own batch norm over the rows, ReLU, linear."""
    hidden = functional.batch_norm(
        module.first(rows), None, None, module.norm.scale, module.norm.shift, True, eps=1e-5
    )
    return module.second(functional.relu(hidden))


def reference(
    networks: Networks,
    data: TrainingData,
    sessions: Ragged,
    views: np.ndarray,
    alpha: float,
    own_category: bool,
) -> Tensor:
    """Equations 1 to 4, one row for each side of each pair, batch norm over these rows. With own
    categories, a row more for each product: the category alone, half a pair."""
    keys, partners, row = [], [], 0
    for session in sessions:
        visits = range(row, row + len(session))
        keys += [i for i in visits for j in visits if i < j]
        partners += [j for i in visits for j in visits if i < j]
        row += len(session)
    pairs = len(keys)
    keys, partners = keys + partners, partners + keys  # both directions
    if own_category:
        keys, partners = [*keys, *range(row)], [*partners, *range(row)]
    titles = [torch.tensor(data.titles[view].astype(np.int64)) for view in views]
    y = torch.stack([encode_one(networks.encoder, titles[i]) for i in keys])
    total = y.new_zeros(())
    if alpha > 0:
        q = functional.normalize(head(networks.predictor, head(networks.projector, y)))
        with torch.no_grad():
            # a pair's two sides pass through the target together, as they do online
            target = cast("EncoderNetwork", networks.target["encoder"])
            projector = cast("Head", networks.target["projector"])
            rows = torch.stack([encode_one(target, titles[j]) for j in partners])
            z = functional.normalize(head(projector, rows))
        total = total + alpha * (2 - 2 * (q * z).sum(1))[: 2 * pairs].sum() / pairs
    if alpha < 1:
        category = torch.tensor(data.category[sessions.values].astype(np.int64))[partners]
        logits = head(networks.category, y)
        entropy = functional.cross_entropy(logits, category, ignore_index=-1, reduction="sum")
        total = total + (1 - alpha) * entropy / (len(keys) / 2)
    return total


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("own_category", [False, True])
def test_sessions_equal_pairs_in_loss_and_gradient(
    data: TrainingData, alpha: float, seed: int, own_category: bool
) -> None:
    rng = np.random.default_rng(seed)
    sessions = data.sessions.take(rng.choice(len(data.sessions), 9, replace=False))
    views = np.array([rng.choice(data.views[product]) for product in sessions.values])
    networks = networks_for(data, alpha)
    trained = [p for p in networks.parameters() if p.requires_grad]

    loss = losses(networks, make_batch(data, sessions, views, own_category), alpha).total
    gradients = torch.autograd.grad(loss, trained)
    expected = reference(networks, data, sessions, views, alpha, own_category)
    expected_gradients = torch.autograd.grad(expected, trained)

    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_simclr_equals_its_equation(data: TrainingData) -> None:
    sessions, views = data.sessions.take(np.arange(6)), None
    views = data.views.values[data.views.offsets[sessions.values]].astype(np.int64)
    batch = make_batch(data, sessions, views)
    rng = torch.Generator().manual_seed(0)
    z = functional.normalize(torch.randn(len(views), 8, generator=rng, dtype=torch.float64))
    z.requires_grad_()
    title, session = batch.visit_title.tolist(), batch.visit_session.tolist()
    assert len(set(title)) < len(title)  # a title of two sessions isn't its own negative
    similar = torch.exp(z @ z.T / 0.1)
    visits, total = range(len(z)), z.new_zeros(())
    for i in visits:
        others = [k for k in visits if session[k] != session[i] and title[k] != title[i]]
        negatives = sum(similar[i, k] for k in others)
        for j in visits:
            if j != i and session[j] == session[i]:
                total = total - torch.log(similar[i, j] / (similar[i, j] + negatives))
    expected = total / batch.pairs
    numbers = torch.from_numpy(batch.visit_title), torch.from_numpy(batch.visit_session)
    loss = simclr_loss(z, *numbers, batch.pairs)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    gradients = [torch.autograd.grad(value, z)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_both_objectives_are_the_sum_of_each(data: TrainingData) -> None:
    networks = networks_for(data, 0.5)
    views = data.views.values[data.views.offsets[data.sessions.values]].astype(np.int64)
    batch = make_batch(data, data.sessions, views, own_category=True)
    found = {name: losses(networks, batch, 0.5, name) for name in get_args(Objective)}
    byol, simclr, both = (found[name] for name in ("byol", "simclr", "byol+simclr"))
    assert min(byol.alignment, simclr.alignment) > 0.1
    torch.testing.assert_close(both.alignment, byol.alignment + simclr.alignment)
    torch.testing.assert_close(both.cross_entropy, byol.cross_entropy)
    torch.testing.assert_close(both.total, (both.alignment + both.cross_entropy) / 2)


def test_one_session_has_nothing_to_contrast(data: TrainingData) -> None:
    z = functional.normalize(torch.randn(3, 8)).requires_grad_()
    loss = simclr_loss(z, torch.arange(3), torch.zeros(3, dtype=torch.long), 3)
    assert loss.item() == 0
    assert torch.isfinite(torch.autograd.grad(loss, z)[0]).all()


def test_a_partner_without_category_adds_nothing(data: TrainingData) -> None:
    networks = networks_for(data, 0.0)
    unknown = int(np.flatnonzero(data.category < 0)[0])
    known = int(np.flatnonzero(data.category >= 0)[0])
    sessions = Ragged.from_lists([[unknown, known]])
    batch = make_batch(data, sessions, data.views.values[data.views.offsets[sessions.values]])
    assert batch.target_count.sum() == 1  # only the unknown one has a partner with a category
    assert losses(networks, batch, 0.0).cross_entropy > 0


@pytest.mark.parametrize("alpha", [0.0, 0.9, 1.0])
def test_products_without_partners_learn_their_category_alone(
    data: TrainingData, alpha: float
) -> None:
    networks = networks_for(data, alpha)
    known = np.flatnonzero(data.category >= 0)[:4]
    sessions = Ragged(known.astype(np.int32), np.arange(5))
    views = data.views.values[data.views.offsets[known]]
    found = losses(networks, make_batch(data, sessions, views, own_category=True), alpha)
    assert found.alignment == pytest.approx(0, abs=1e-12)
    assert (found.cross_entropy > 0) == (alpha < 1)
    found.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in networks.parameters() if p.grad is not None)


def test_the_target_follows_and_is_never_trained(data: TrainingData) -> None:
    networks = networks_for(data, 0.9)
    before = [p.clone() for p in networks.target.parameters()]
    online, _ = networks.online_and_target()
    networks.update_target(0.9)
    for old, new, source in zip(before, networks.target.parameters(), online, strict=True):
        torch.testing.assert_close(new.data, 0.9 * old + 0.1 * source)
    sessions = data.sessions.take(np.arange(5))
    views = data.views.values[data.views.offsets[sessions.values]]
    losses(networks, make_batch(data, sessions, views), 0.9).total.backward()
    assert all(p.grad is None for p in networks.target.parameters())


def test_any_device_look_up_equals_the_kernels(data: TrainingData) -> None:
    """The path that a GPU takes, run here on the CPU."""
    rng = np.random.default_rng(0)
    titles = Ragged(rng.integers(0, 40, 200).astype(np.int32), np.array([0, 5, 17, 60, 66, 200]))
    tables = [torch.tensor(rng.standard_normal((40, 14 * 4)), requires_grad=True) for _ in "ab"]
    with torch.no_grad():
        tables[1].copy_(tables[0])
    bias = torch.tensor(rng.standard_normal(16) - 1, requires_grad=True)
    ours, theirs = _LookUp.apply(tables[0], bias, titles), look_up(tables[1], bias, titles)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert (ours == 0).any()
    weight = torch.tensor(rng.standard_normal(ours.shape))
    first = torch.autograd.grad((ours * weight).sum(), [tables[0], bias])
    second = torch.autograd.grad((theirs * weight).sum(), [tables[1], bias])
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_spread_tells_collapse() -> None:
    assert representation_std(torch.ones(50, 8)) == pytest.approx(0, abs=1e-6)
    assert representation_std(torch.randn(5000, 8)) == pytest.approx(1, abs=0.02)


def test_a_step_of_real_size_is_the_same_to_the_last_bit(data: TrainingData) -> None:
    """Resuming stands on it: torch adds up the gradient of a plain index in any order it likes,
    once there are enough rows to share between threads."""
    settings = Settings(hidden=24, projection=128)
    start = initial_weights(data.tokenizer, dim=16, filters=4)
    networks = Networks(settings, start, len(data.categories))
    sessions = data.sessions.take(np.arange(600) % len(data.sessions))
    views = data.views.values[data.views.offsets[sessions.values]].astype(np.int64)
    batch = make_batch(data, sessions, views)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = set()
        for _ in range(30):
            networks.zero_grad()
            losses(networks, batch, 0.9).total.backward()
            trained = [p for p in networks.parameters() if p.requires_grad]
            gradients = [cast("Tensor", p.grad).numpy().tobytes() for p in trained]
            seen.add(hash(tuple(gradients)))
    finally:
        torch.set_num_threads(threads)
    assert len(seen) == 1
