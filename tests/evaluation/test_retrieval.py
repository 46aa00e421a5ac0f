"""Next-product retrieval: held-out users, recall compared with brute force, and categories."""

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
    """A model with given vectors."""

    name: str = "given"
    known: Any = None

    def vectors(self, task: Task) -> Any:
        return unit_length(self.known)

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        raise NotImplementedError


@pytest.fixture(scope="module")
def tasks_and_shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Task], Shop]:
    """A shop with sessions of products of one kind, and a task on its titles."""
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
        (f"user {user}", 1_700_000_000 + user * 10 + i, product)
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


def test_held_out_users_are_not_in_training_sessions(
    tasks_and_shop: tuple[list[Task], Shop],
) -> None:
    _, shop = tasks_and_shop
    events = pl.read_csv(shop.events[0])
    real = Counter(
        frozenset(products)
        for (products,) in events.group_by("user").agg("product_id").select("product_id").rows()
        if len(set(products)) > 1
    )
    training, held_out = (visited(shop, held_out=part) for part in (False, True))
    assert Counter(map(frozenset, training)) + Counter(map(frozenset, held_out)) == real
    assert 0 < len(held_out) <= USERS // HELD_OUT_USERS


def test_queries_are_sessions_of_held_out_users(tasks_and_shop: tuple[list[Task], Shop]) -> None:
    tasks, shop = tasks_and_shop
    retrieval_task = NextProduct.from_shop(shop, tasks, 100, seed=3)
    assert retrieval_task is not None
    titles = retrieval_task.titles.titles
    assert len(titles) == len(set(titles)) == len(retrieval_task.visits) == 100
    number = [int(title.split()[-1]) for title in titles]
    query_sets = [
        {number[query], *(number[row] for row in relevant)}
        for query, relevant in zip(retrieval_task.queries, retrieval_task.relevant, strict=True)
    ]
    sessions = visited(shop, held_out=True)
    assert len(query_sets) == len(sessions)
    assert sorted(map(sorted, query_sets)) == sorted(map(sorted, sessions))
    visits = Counter(product for session in visited(shop, held_out=False) for product in session)
    assert retrieval_task.visits.tolist() == [visits[product] for product in number]
    # rows with a category are training rows if pre-training sees their titles, else test rows
    unseen = {row for row, title in enumerate(titles) if title in shop.held_out}
    known = {row for row, product in enumerate(number) if product % 7}
    assert set(retrieval_task.titles.train) == known - unseen
    assert set(retrieval_task.titles.test) == known & unseen
    assert set(retrieval_task.titles.validation) == set(range(100)) - known
    classes, labels = retrieval_task.titles.classes, retrieval_task.titles.labels
    assert all(classes[labels[row]] == f"kind {number[row] % 10}" for row in known)
    again = NextProduct.from_shop(shop, tasks, 100, seed=3)
    assert again is not None
    assert again.titles.digest == retrieval_task.titles.digest
    assert again.queries.tolist() == retrieval_task.queries.tolist()


def test_no_queries_without_held_out_sessions(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "user,timestamp,product_id\na,2024-01-01,1\na,2024-01-01,2\n"
    )
    (tmp_path / "products.csv").write_text("product_id,title,category\n1,x,k\n2,y,k\n")
    files = (tmp_path / "events.csv",), (tmp_path / "products.csv",)
    assert NextProduct.from_shop(Shop("small", *files), []) is None


def problem(n: int, queries: Sequence[int], relevant: Sequence[Sequence[int]]) -> NextProduct:
    half = np.arange(n // 2)
    task = Task(
        "next", "multiclass", [f"t{i}" for i in range(n)], np.arange(n) % 3, half, half[:0],
        np.arange(n // 2, n), classes=["a", "b", "c"],
    )  # fmt: skip
    return NextProduct(task, np.array(queries), Ragged.from_lists(relevant), np.arange(n) % 4)


def test_recall_is_the_mean_over_all_orders_of_equal_titles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieval, "DEPTHS", (2, 4))
    rng = np.random.default_rng(1)
    vectors = rng.integers(0, 2, (7, 3)).astype(np.float64)  # many similarities are equal
    retrieval_task = problem(7, [0, 3, 6], [[1], [0, 1, 5], [2, 4]])

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
    found = retrieval_task.evaluate(Given(known=vectors))
    popular = retrieval_task.popularity()
    for i, query in enumerate(retrieval_task.queries):
        for k in (2, 4):
            near = np.round(unit @ unit[query], 12)
            value = expected(near, query, retrieval_task.relevant[i], k)
            assert found[f"recall@{k}"][i] == pytest.approx(value)
            value = expected(retrieval_task.visits, query, retrieval_task.relevant[i], k)
            assert popular[f"recall@{k}"][i] == pytest.approx(value)


def test_category_is_that_of_the_nearest_seen_titles() -> None:
    rng = np.random.default_rng(2)
    retrieval_task = problem(400, [0], [[1]])
    vectors = rng.random((400, 8))
    seen, unseen = retrieval_task.titles.train, retrieval_task.titles.test
    reference = KNeighborsClassifier(5, metric="cosine", weights=lambda distance: 1 - distance)
    reference.fit(vectors[seen], retrieval_task.titles.labels[seen])
    expected = reference.predict(vectors[unseen]) == retrieval_task.titles.labels[unseen]
    assert retrieval_task.evaluate(Given(known=vectors))["category"].tolist() == expected.tolist()


def test_bag_of_words_finds_kinds_that_titles_name(tasks_and_shop: tuple[list[Task], Shop]) -> None:
    tasks, shop = tasks_and_shop
    retrieval_task = NextProduct.from_shop(shop, tasks, 300)
    assert retrieval_task is not None
    found = retrieval_task.evaluate(BagOfWords(name="words"))
    assert found["category"].mean() > 0.9
    # titles name the kind of their session, which has 30 of 300 titles; visits are random
    assert found["recall@100"].mean() == 1
    assert retrieval_task.popularity()["recall@100"].mean() < 0.6
