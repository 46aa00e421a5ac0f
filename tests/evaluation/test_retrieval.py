"""Next-product retrieval: held-out users, a brute-force twin of recall, neighbours' categories."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.neighbors import KNeighborsClassifier

from vitrina.classification.linear import Rows
from vitrina.encoder.title_encoder import unit_length
from vitrina.evaluation import retrieval
from vitrina.evaluation.model import Fitted, VectorModel
from vitrina.evaluation.models.bag_of_words import BagOfWords
from vitrina.evaluation.retrieval import NextProduct
from vitrina.evaluation.shop import HELD_OUT_USERS, Shop
from vitrina.evaluation.task import Task
from vitrina.evaluation.task_file import read_tasks
from vitrina.ragged import Ragged

USERS, PRODUCTS = 200, 300


@dataclass(frozen=True, kw_only=True)
class Given(VectorModel):
    """A model whose vectors are known beforehand."""

    name: str = "given"
    known: Any = None

    def vectors(self, task: Task) -> Any:
        return unit_length(self.known)

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        raise NotImplementedError


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Task], Shop]:
    """A shop in whose sessions products of one kind meet, and a task on its titles."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    kind = np.arange(PRODUCTS) % 10
    pl.DataFrame(
        {
            "product_id": np.arange(PRODUCTS),
            "title": [f"kind{k} item {i}" for i, k in enumerate(kind)],
            "category": [None if i % 7 == 0 else f"kind {k}" for i, k in enumerate(kind)],
            "label": rng.random(PRODUCTS) < 0.5,
        }
    ).write_csv(folder / "products.csv")
    events = [
        (f"user {user}", user * 10 + i, product)
        for user in range(USERS)
        for i, product in enumerate(rng.choice(np.flatnonzero(kind == rng.integers(10)), 4))
    ]
    pl.DataFrame(events, ["user", "timestamp", "product_id"], orient="row").write_csv(
        folder / "events.csv"
    )
    (folder / "tasks.toml").write_text(
        '[sessions.shop]\nevents = "events.csv"\nproducts = "products.csv"\n'
        '[[task]]\nname = "label"\nfile = "products.csv"\nlabel = "label"\nkind = "binary"\n'
        'product = "product_id"\ncategory = "category"\nsessions = "shop"\n'
    )
    tasks, shops = read_tasks(folder / "tasks.toml")
    return tasks, shops["shop"]


def visited(shop: Shop, *, held_out: bool) -> list[set[int]]:
    sessions = shop.sessions(None, held_out=held_out)
    return [{int(sessions.product_ids[int(row)]) for row in one} for one in sessions.products]


def test_held_out_users_are_met_by_nobody(shop: tuple[list[Task], Shop]) -> None:
    shop = shop[1]
    events = pl.read_csv(shop.events[0])
    real = Counter(
        frozenset(products)
        for (products,) in events.group_by("user").agg("product_id").select("product_id").rows()
        if len(set(products)) > 1
    )
    training, held_out = (visited(shop, held_out=part) for part in (False, True))
    assert Counter(map(frozenset, training)) + Counter(map(frozenset, held_out)) == real
    assert 0 < len(held_out) <= USERS // HELD_OUT_USERS


def test_queries_are_sessions_of_held_out_users(shop: tuple[list[Task], Shop]) -> None:
    tasks, shop = shop
    asked = NextProduct.of(shop, tasks, 100, seed=3)
    assert asked is not None
    titles = asked.titles.titles
    assert len(titles) == len(set(titles)) == len(asked.visits) == 100
    number = [int(title.split()[-1]) for title in titles]
    asked_for = [
        {number[query], *(number[row] for row in relevant)}
        for query, relevant in zip(asked.queries, asked.relevant, strict=True)
    ]
    sessions = visited(shop, held_out=True)
    assert len(asked_for) == len(sessions)
    assert sorted(map(sorted, asked_for)) == sorted(map(sorted, sessions))
    visits = Counter(product for session in visited(shop, held_out=False) for product in session)
    assert asked.visits.tolist() == [visits[product] for product in number]
    # rows with a category: those whose titles pre-training sees, and the others
    unseen = {row for row, title in enumerate(titles) if title in shop.held_out}
    known = {row for row, product in enumerate(number) if product % 7}
    assert set(asked.titles.train) == known - unseen
    assert set(asked.titles.test) == known & unseen
    assert set(asked.titles.validation) == set(range(100)) - known
    classes, labels = asked.titles.classes, asked.titles.labels
    assert all(classes[labels[row]] == f"kind {number[row] % 10}" for row in known)
    again = NextProduct.of(shop, tasks, 100, seed=3)
    assert again is not None
    assert again.titles.digest == asked.titles.digest
    assert again.queries.tolist() == asked.queries.tolist()


def test_no_held_out_session_no_queries(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,timestamp,product_id\na,1,1\na,2,2\n")
    (tmp_path / "products.csv").write_text("product_id,title,category\n1,x,k\n2,y,k\n")
    files = (tmp_path / "events.csv",), (tmp_path / "products.csv",)
    assert NextProduct.of(Shop("small", *files), []) is None


def problem(n: int, queries: Sequence[int], relevant: Sequence[Sequence[int]]) -> NextProduct:
    half = np.arange(n // 2)
    task = Task(
        "next", "multiclass", [f"t{i}" for i in range(n)], np.arange(n) % 3, half, half[:0],
        np.arange(n // 2, n), classes=["a", "b", "c"],
    )  # fmt: skip
    return NextProduct(task, np.array(queries), Ragged.from_lists(relevant), np.arange(n) % 4)


def test_recall_is_what_all_orders_of_equals_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "DEPTHS", (2, 4))
    rng = np.random.default_rng(1)
    vectors = rng.integers(0, 2, (7, 3)).astype(np.float64)  # many are equally near
    asked = problem(7, [0, 3, 6], [[1], [0, 1, 5], [2, 4]])

    def expected(near: Any, query: int, relevant: Any, k: int) -> float:
        others = [row for row in range(7) if row != query]
        orders = [
            order
            for order in permutations(others)
            if all(near[a] >= near[b] for a, b in pairwise(order))
        ]
        found = [np.isin(relevant, order[:k]).mean() for order in orders]
        return float(np.mean(found))

    unit = unit_length(vectors)
    found = asked.judge(Given(known=vectors))
    popular = asked.popularity()
    for i, query in enumerate(asked.queries):
        for k in (2, 4):
            near = np.round(unit @ unit[query], 12)
            value = expected(near, query, asked.relevant[i], k)
            assert found[f"recall@{k}"][i] == pytest.approx(value)
            value = expected(asked.visits, query, asked.relevant[i], k)
            assert popular[f"recall@{k}"][i] == pytest.approx(value)


def test_category_is_that_of_the_nearest_seen() -> None:
    rng = np.random.default_rng(2)
    asked = problem(400, [0], [[1]])
    vectors = rng.random((400, 8))
    seen, unseen = asked.titles.train, asked.titles.test
    twin = KNeighborsClassifier(5, metric="cosine", weights=lambda distance: 1 - distance)
    twin.fit(vectors[seen], asked.titles.labels[seen])
    expected = twin.predict(vectors[unseen]) == asked.titles.labels[unseen]
    assert asked.judge(Given(known=vectors))["category"].tolist() == expected.tolist()


def test_words_find_what_words_tell(shop: tuple[list[Task], Shop]) -> None:
    tasks, shop = shop
    asked = NextProduct.of(shop, tasks, 300)
    assert asked is not None
    found = asked.judge(BagOfWords(name="words"))
    assert found["category"].mean() > 0.9
    # the words of a session's titles name its kind, 30 of 300 titles; visits say nothing
    assert found["recall@100"].mean() == 1
    assert asked.popularity()["recall@100"].mean() < 0.6
