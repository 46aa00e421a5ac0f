from typing import Literal

import numpy as np
import pytest

from vitrina.data.catalogue import Catalogue
from vitrina.data.sessions import Sessions
from vitrina.pretraining.batches import Batches, drop_tokens, make_batch, shuffled
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.settings import Settings, preset
from vitrina.ragged import Ragged


@pytest.mark.parametrize("kind", ["sessions", "pairs"])
def test_an_epoch_holds_every_pair_once(
    data: TrainingData, kind: Literal["sessions", "pairs"]
) -> None:
    batches = Batches(data, Settings(batching=kind, batch_size=16))
    seen = [batches[step].pairs for step in range(batches.per_epoch)]
    assert sum(seen) == data.pairs
    pieces = [tuple(batches[step].pieces) for step in range(batches.per_epoch)]
    assert len(set(pieces)) == batches.per_epoch  # not one batch repeated


def test_pair_numbers_are_all_pairs(data: TrainingData) -> None:
    batches = Batches(data, preset("paper"))
    drawn = batches._pairs(np.arange(data.pairs))
    expected = [
        {int(a), int(b)} for s in data.sessions for i, a in enumerate(s) for b in s[i + 1 :]
    ]
    found = [set(pair.tolist()) for pair in drawn]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000, 4096, 4097])
def test_an_order_is_a_permutation(size: int) -> None:
    orders = [shuffled(np.arange(size), size, np.random.default_rng(seed)) for seed in range(3)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(size))
    for start in range(0, size, 7):  # a part of the turns, alone
        turns = np.arange(start, min(start + 7, size))
        part = shuffled(turns, size, np.random.default_rng(0))
        np.testing.assert_array_equal(part, orders[0][turns])
    if size > 100:  # nothing of the numbers' own order is left
        for order in orders:
            assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 4 / size**0.5
            assert abs(np.corrcoef(order, np.arange(size))[0, 1]) < 4 / size**0.5
        assert abs(np.corrcoef(orders[0], orders[1])[0, 1]) < 4 / size**0.5


def test_every_number_gets_every_turn_alike() -> None:
    """Over many seeds, each of 8 numbers is first equally often, and each order of 3 occurs."""
    first = np.zeros(8)
    orders: dict[tuple[int, ...], int] = {}
    for seed in range(4000):
        first[shuffled(np.array([0]), 8, np.random.default_rng(seed))[0]] += 1
        order = tuple(shuffled(np.arange(3), 3, np.random.default_rng(seed)).tolist())
        orders[order] = orders.get(order, 0) + 1
    assert np.abs(first - 500).max() < 5 * 500**0.5
    assert len(orders) == 6
    assert max(orders.values()) < 1.5 * min(orders.values())


def test_batches_follow_from_seed_and_number_alone(data: TrainingData) -> None:
    first, second = (Batches(data, Settings(batch_size=8, seed=4)) for _ in "ab")
    second[0]  # another history
    last = first.per_epoch * 2 + 3
    for name in ("pieces", "visit_title", "title_weight", "target", "target_count"):
        ours, theirs = getattr(first[last], name), getattr(second[last], name)
        np.testing.assert_array_equal(ours, theirs)
    other = Batches(data, Settings(batch_size=8, seed=5))[last]
    assert not np.array_equal(other.pieces, first[last].pieces)


def test_a_batch_against_loops(data: TrainingData) -> None:
    sessions = data.sessions.take(np.array([0, 3, 5]))
    views = data.views.values[data.views.offsets[sessions.values]].astype(np.int64)
    batch = make_batch(data, sessions, views)
    for visit, view in enumerate(views):  # every visit finds its title's pieces
        title = batch.titles[batch.visit_title[visit]]
        np.testing.assert_array_equal(batch.pieces[title], data.titles[view])
    assert len(batch.titles) == len(set(views.tolist()))

    count: dict[tuple[int, int], int] = {}
    weight = np.zeros(len(batch.titles))
    row = 0
    for session in sessions:
        for i in range(len(session)):
            for j in range(len(session)):
                if i != j:
                    title = batch.visit_title[row + i]
                    weight[title] += 1
                    category = int(data.category[session[j]])
                    if category >= 0:
                        count[title, category] = count.get((title, category), 0) + 1
        row += len(session)
    np.testing.assert_allclose(batch.title_weight, weight / weight.sum())
    found = {
        divmod(int(t), len(data.categories)): c
        for t, c in zip(batch.target, batch.target_count, strict=True)
    }
    assert found == count


def test_every_product_with_a_category_trains(
    data: TrainingData, catalogue: Catalogue, sessions: Sessions
) -> None:
    """In its sessions, or else alone; without own categories, in sessions only."""
    in_sessions = set(sessions.products.values.tolist())
    with_category = set(np.flatnonzero(catalogue.product_category >= 0).tolist())
    assert with_category - in_sessions
    assert len(data.category) == len(in_sessions | with_category)
    lone = data.sessions.values[data.sessions.offsets[:-1][data.sessions.lengths == 1]]
    assert len(lone) == len(with_category - in_sessions)
    assert (data.category[lone] >= 0).all()
    assert data.pairs == sessions.pairs
    paper = TrainingData.prepare(catalogue, sessions, Settings(vocab_size=300, own_category=False))
    assert len(paper.category) == len(in_sessions)
    np.testing.assert_array_equal(paper.sessions.offsets, sessions.products.offsets)


def test_dropout_leaves_some_pieces_out(data: TrainingData) -> None:
    whole = Ragged.concatenated([data.titles] * 20)
    fewer = drop_tokens(whole, 0.3, np.random.default_rng(0))
    assert len(fewer) == len(whole)
    long = whole.lengths > 7
    assert (fewer.lengths >= 5).all()
    assert fewer.lengths[long].sum() / whole.lengths[long].sum() == pytest.approx(0.75, abs=0.06)
    for before, after in zip(list(whole)[:200], list(fewer)[:200], strict=True):
        pieces = iter(before.tolist())
        assert all(piece in pieces for piece in after.tolist())  # in their order
    settings = Settings(batch_size=8, token_dropout=0.3)
    one, again = (Batches(data, settings)[3].titles for _ in "ab")
    np.testing.assert_array_equal(one.values, again.values)
    plain = Batches(data, Settings(batch_size=8, token_dropout=0.0))[3].titles
    assert len(one.values) < len(plain.values)


def test_a_product_with_several_titles_shows_each(data: TrainingData) -> None:
    product = int(np.argmax(data.views.lengths))
    assert len(data.views[product]) == 2
    alone = TrainingData(
        Ragged.from_lists([[product, 0]] * 40),
        np.arange(41),
        *(data.views, data.titles, data.category, data.categories, data.tokenizer),
    )
    batches = Batches(alone, Settings(batch_size=40))
    shown = {len(batches[step].titles) for step in range(3)}
    assert shown == {3}  # both views, and the other product's title
