"""Prod2Vec and Meta-Prod2Vec against their equations, and on shops small enough to understand."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from safetensors.numpy import load_file

from vitrina.evaluation.models.prod2vec import MetaProd2Vec, Prod2Vec, metadata_of, read_corpus
from vitrina.evaluation.models.skipgram import NEGATIVES, PARTNERS, Corpus, train, update
from vitrina.evaluation.shop import HELD_OUT_USERS, Shop
from vitrina.evaluation.task import Task
from vitrina.ragged import Ragged

Array = npt.NDArray[Any]
TERMS = ("J|I", "M|I", "J|M", "M|M", "I|M")
MIXED = np.array([1.0, 0.3, 0.5, 0.7, 0.9])
DIM = 4


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Products with several values, one, a shared one and none; sessions of 2 to 7 products."""
    sessions = Ragged.from_lists([[0, 1], [2, 0, 3], [6, 5, 4, 1, 0, 2, 3], [4, 5], [0, 4]])
    return Corpus(sessions, Ragged.from_lists([[0, 1, 2], [1], [], [3, 0], [2], [], [1, 3]]))


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def noise(counts: list[float]) -> Array:
    powers = np.array(counts) ** 0.75
    shares: Array = powers / powers.sum()
    return shares


def expected(
    corpus: Corpus, v: Array, u: Array, weights: Array, window: int
) -> tuple[float, Array, Array]:
    """The loss of one pass over the sessions, every draw replaced by its expectation, and its
    gradients by input and output vectors: the module's equations, written out."""
    n = corpus.n_products
    metadata = [[n + int(m) for m in values] for values in corpus.metadata]
    visits = [sum(session.tolist().count(i) for session in corpus.sessions) for i in range(n)]
    drawn = [
        sum(visits[i] / len(values) for i, values in enumerate(metadata) if n + m in values)
        for m in range(corpus.n_metadata)
    ]
    of_products, of_metadata = noise(visits), noise(drawn)
    loss, by_v, by_u = 0.0, np.zeros_like(v), np.zeros_like(u)

    def add(output: int, given: int, weight: float) -> None:
        nonlocal loss
        first, distribution = (n, of_metadata) if output >= n else (0, of_products)
        terms = [(output, 1.0, 1)]
        terms += [(first + i, NEGATIVES * p, -1) for i, p in enumerate(distribution)]
        for token, times, sign in terms:
            probability = sigmoid(sign * u[token] @ v[given])
            slope = -sign * (1 - probability) * weight * times
            loss -= weight * times * np.log(probability)
            by_v[given] += slope * u[token]
            by_u[token] += slope * v[given]

    for session in corpus.sessions:
        for place, i in enumerate(session):
            near = [
                j
                for other, j in enumerate(session)
                if other != place and (not window or abs(other - place) <= window)
            ]
            for j in near:
                share = min(PARTNERS, len(near)) / len(near)
                pairs = (
                    [(j, i)],
                    [(m, i) for m in metadata[j]],
                    [(j, m) for m in metadata[i]],
                    [(to, m) for m in metadata[i] for to in metadata[j]],
                    [(i, m) for m in metadata[i]],
                )
                for weight, listed in zip(weights, pairs, strict=True):
                    for output, given in listed:
                        add(output, given, weight * share / len(listed))
    return loss, by_v, by_u


def start(corpus: Corpus) -> tuple[Array, Array]:
    rng = np.random.default_rng(7)
    shape = (corpus.n_products + corpus.n_metadata, DIM)
    return rng.standard_normal(shape), rng.standard_normal(shape)


def test_gradients_are_those_of_the_loss(corpus: Corpus) -> None:
    v, u = start(corpus)
    arguments = (MIXED, 1)
    _, by_v, by_u = expected(corpus, v, u, *arguments)
    h = 1e-5
    for vectors, gradient in ((v, by_v), (u, by_u)):
        for place in np.ndindex(vectors.shape):
            middle = vectors[place]
            vectors[place] = middle + h
            above = expected(corpus, v, u, *arguments)[0]
            vectors[place] = middle - h
            below = expected(corpus, v, u, *arguments)[0]
            vectors[place] = middle
            assert gradient[place] == pytest.approx((above - below) / (2 * h), abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "window"),
    [*((row, 0) for row in np.eye(5)), (MIXED, 0), (MIXED, 1)],
    ids=[*TERMS, "all", "window of 1"],
)
def test_mean_update_is_the_gradient(corpus: Corpus, weights: Array, window: int) -> None:
    v, u = start(corpus)
    _, by_v, by_u = expected(corpus, v, u, weights, window)
    passes, rate = 2_000, 1e-9  # so small that vectors stay where they are
    order = np.tile(np.arange(len(corpus.sessions)), passes)
    steps = []
    for state in range(1, 21):
        inputs, outputs = v.copy(), u.copy()
        random = np.array([state * 0x9E3779B97F4A7C15 % 2**64], np.uint64)
        update(corpus, inputs, outputs, order, weights, rate, window, random)
        steps.append(np.stack([v - inputs, u - outputs]) / (rate * passes))
    mean, error = np.mean(steps, axis=0), np.std(steps, axis=0, ddof=1) / np.sqrt(len(steps))
    gradient = np.stack([by_v, by_u])
    assert error.max() < 0.01 * np.abs(gradient).max()
    assert (np.abs(mean - gradient) <= 6 * error + 1e-5).all()


def test_without_weight_metadata_changes_nothing(corpus: Corpus) -> None:
    bare = Corpus(corpus.sessions, Ragged.from_lists([[]] * corpus.n_products))
    settings: dict[str, Any] = {"dim": 8, "epochs": 3, "window": 0, "rate": 0.1}
    alone = train(bare, weight=0.0, seed=1, **settings)
    beside = train(corpus, weight=0.0, seed=1, **settings)
    assert np.array_equal(beside[: corpus.n_products], alone)
    assert not np.array_equal(train(bare, weight=0.0, seed=2, **settings), alone)
    weighted = train(corpus, weight=0.5, seed=1, **settings)
    assert not np.allclose(weighted[: corpus.n_products], alone)
    assert np.array_equal(train(corpus, weight=0.5, seed=1, **settings), weighted)


FRUIT, TOOLS = ("apple", "pear", "plum", "fig"), ("saw", "drill", "file", "clamp")
QUICK: dict[str, Any] = {"dim": 16, "pairs": 120_000, "rate": 0.1}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two cliques of products, 100 to 119 of fruit and 200 to 219 of tools, never bought together.

    The last four of either are not in the catalogue.
    """
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    events = []
    for user in range(300):
        clique = 100 if user % 2 else 200
        for second, product in enumerate(rng.choice(20, 5, replace=False)):
            events.append((f"u{user}", 1_700_000_000 + second, clique + int(product)))
    events.append(("alone", 1_700_000_000, 999))
    products = [
        (clique + i, f"{words[i % 4].upper()} No{i}", f"{kind} {i % 2}")
        for clique, words, kind in ((100, FRUIT, "food"), (200, TOOLS, "tool"))
        for i in range(16)
    ]
    pl.DataFrame(events, ["user", "timestamp", "product_id"], orient="row").write_csv(
        folder / "events.csv"
    )
    pl.DataFrame(products, ["product_id", "title", "category"], orient="row").write_csv(
        folder / "products.csv"
    )
    return Shop("shop", (folder / "events.csv",), (folder / "products.csv",))


def task(kind: Any = "binary", **changes: Any) -> Task:
    """Is it fruit? Rows 0-39: all products, 40-41: words alone, 42: a stranger."""
    titles = [f"{FRUIT[i % 4]} no{i}" for i in range(20)]
    titles += [f"{TOOLS[i % 4]} no{i}" for i in range(20)]
    titles += ["fig new", "clamp new", "violin"]
    labels = np.array([1] * 20 + [0] * 20 + [1, 0, 0])
    plain = Task(
        "fruit",
        kind,
        titles,
        labels.astype({"binary": bool, "multiclass": np.int64, "regression": np.float64}[kind]),
        train=np.arange(0, 40, 2),
        validation=np.arange(1, 40, 2),
        test=np.array([17, 37, 40, 41, 42]),
        classes=("tool", "fruit", "neither") if kind == "multiclass" else (),
        products=[*map(str, [*range(100, 120), *range(200, 220)]), None, "7", None],
        sessions="shop",
    )
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def plain(shop: Shop, folder: Path) -> Prod2Vec:
    model = Prod2Vec(name="Prod2Vec", folder=folder, shops={"shop": shop}, **QUICK)
    model.prepare([task()], quiet=True)
    return model


@pytest.fixture(scope="module")
def meta(shop: Shop, folder: Path) -> MetaProd2Vec:
    model = MetaProd2Vec(name="Meta-Prod2Vec", folder=folder, shops={"shop": shop}, **QUICK)
    model.prepare([task()], quiet=True)
    return model


def kept(model: Prod2Vec) -> Path:
    """The folder of what the model learnt: with metadata or without."""
    (folder,) = (
        names.parent
        for names in model.folder.glob("*/names.json")
        if bool(json.loads(names.read_text())["metadata"]) == isinstance(model, MetaProd2Vec)
    )
    return folder


def saved(model: Prod2Vec) -> dict[str, Array]:
    """Vectors by name."""
    names = json.loads((kept(model) / "names.json").read_text())
    vectors = load_file(kept(model) / "vectors.safetensors")["vectors"]
    return dict(zip(names["products"] + names["metadata"], vectors, strict=True))


def test_corpus_holds_all_visited_products_and_what_is_known_of_them(shop: Shop) -> None:
    corpus, names = read_corpus(shop, with_metadata=True)
    assert sorted(names["products"]) == sorted(map(str, [*range(100, 120), *range(200, 220)]))
    assert len(corpus.sessions) == 300 - 300 // HELD_OUT_USERS  # a session a user
    assert corpus.visits.sum() == 5 * len(corpus.sessions)
    known = {
        product: [names["metadata"][m] for m in values]
        for product, values in zip(names["products"], corpus.metadata, strict=True)
    }
    assert known["101"] == ["pear", "no1", "category: food 1"]
    assert known["117"] == []
    bare, without = read_corpus(shop, with_metadata=False)
    assert not len(bare.metadata.values)
    assert without == {"products": names["products"], "metadata": []}


def test_metadata_values_are_distinct() -> None:
    assert metadata_of(["red red wine", "wine 1.5 l"], "wine") == [
        *("red", "wine", "1.5", "l"),
        "category: wine",
    ]
    assert metadata_of([""], None) == []


def test_cliques_are_neighbours(plain: Prod2Vec, meta: MetaProd2Vec) -> None:
    for model in (plain, meta):
        vectors = saved(model)
        products = [name for name in vectors if name.isdigit()]
        unit = np.array([vectors[name] / np.linalg.norm(vectors[name]) for name in products])
        cosines = unit @ unit.T - 2 * np.eye(len(unit))
        assert all(
            products[near][0] == name[0]
            for name, near in zip(products, cosines.argmax(axis=1), strict=True)
        )


def test_prod2vec_scores_with_ids_alone(plain: Prod2Vec) -> None:
    few = task()
    fitted = plain.fit(few, few.train[:-2], 0)
    scores = fitted.predict_scores(few.test)
    assert scores.tolist() == pytest.approx([1, 0, 10 / 18, 10 / 18, 10 / 18])
    assert fitted.bytes == 18 * (16 * 4 + 8)


def test_metadata_stand_in_for_ids(meta: MetaProd2Vec) -> None:
    scores = meta.fit(task(), task().train, 0).predict_scores(task().test)
    assert scores.tolist() == [1, 0, 1, 0, 0.5]
    # with a category that is known in spite of a title that isn't
    categories = [None] * 42 + ["food 1"]
    described = task(categories=categories, products=None)
    scores = meta.fit(described, described.train, 0).predict_scores(described.test)
    assert scores.tolist() == [1, 0, 1, 0, 1]


def test_a_row_is_the_mean_of_all_that_is_known_of_it(meta: MetaProd2Vec) -> None:
    vectors = saved(meta)
    known = [  # of a product of the catalogue, one that was only sold, and words alone
        ["101", "pear", "no1", "category: food 1"],
        ["218", "file"],
        ["fig", "category: tool 0"],
    ]
    means = [np.mean([vectors[name] for name in names], axis=0) for names in known]
    categories = ["food 1"] * 20 + [None] * 20 + ["tool 0"] * 3
    described = task(categories=categories)
    found = meta._row_vectors(described, np.array([1, 38, 40]))
    np.testing.assert_allclose(found, [x / np.linalg.norm(x) for x in means], atol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_scores_are_those_of_five_neighbours(plain: Prod2Vec, kind: Any) -> None:
    rng = np.random.default_rng(3)
    labels = {
        "binary": rng.random(43) < 0.5,
        "multiclass": rng.integers(0, 2, 43) * 2,  # class 1 has no row
        "regression": rng.standard_normal(43),
    }[kind]
    shuffled = task(kind, labels=labels)
    rows = np.append(shuffled.train, 42)  # a stranger is nobody's neighbour
    found = plain.fit(shuffled, rows, 0).predict_scores(np.append(shuffled.validation, 42))
    vectors = saved(plain)
    products = shuffled.products or ()
    unit = {
        row: vectors[name] / np.linalg.norm(vectors[name])
        for row in range(40)
        if (name := products[row])
    }
    targets = np.eye(3)[labels] if kind == "multiclass" else labels.astype(float)
    for score, row in zip(found, shuffled.validation, strict=False):
        nearest = sorted(shuffled.train, key=lambda other: -float(unit[row] @ unit[other]))[:5]
        assert score == pytest.approx(targets[nearest].mean(axis=0))
    assert found[-1] == pytest.approx(targets[rows].mean(axis=0))


def test_few_rows_or_none_that_is_known(plain: Prod2Vec) -> None:
    two = plain.fit(task(), np.array([0, 20]), 0).predict_scores(np.array([2, 22]))
    assert two.tolist() == [0.5, 0.5]  # both are neighbours
    strangers = plain.fit(task(), np.array([40, 41, 42]), 0).predict_scores(task().test)
    assert strangers.tolist() == pytest.approx([1 / 3] * 5)


def test_work_is_done_once_and_found_again(meta: MetaProd2Vec, shop: Shop, tmp_path: Path) -> None:
    file = kept(meta) / "vectors.safetensors"
    before = file.stat().st_mtime_ns
    cost = meta.prepare([task()], quiet=True)
    assert file.stat().st_mtime_ns == before
    assert cost == meta.prepare([task()], quiet=True)
    assert 0 < cost["pretraining_minutes"] < 1
    assert cost["bytes"] == file.stat().st_size + file.with_name("names.json").stat().st_size
    again = replace(meta, folder=tmp_path)
    again.prepare([task()], quiet=True)
    (copy,) = tmp_path.glob("*/vectors.safetensors")
    assert copy.read_bytes() == file.read_bytes()
    other = replace(meta, folder=tmp_path, weight=0.5)
    other.prepare([task()], quiet=True)
    assert len(list(tmp_path.glob("*/vectors.safetensors"))) == 2
    rows = task().validation
    elsewhere = pickle.loads(pickle.dumps(again))
    assert np.array_equal(
        elsewhere.fit(task(), task().train, 0).predict_scores(rows),
        meta.fit(task(), task().train, 0).predict_scores(rows),
    )


def test_settings_tell_what_figures_depend_on(
    plain: Prod2Vec, meta: MetaProd2Vec, shop: Shop
) -> None:
    settings = json.loads(json.dumps(meta.settings()))
    assert settings["shops"] == {"shop": shop.digest}
    assert settings["weight"] == meta.weight
    assert plain.settings()["model"] != settings["model"]
    assert "folder" not in settings
    slower = replace(shop, gap="2h")
    assert replace(meta, shops={"shop": slower}).settings() != meta.settings()
    assert hash(meta) == hash(replace(meta))


def test_tasks_it_suits(plain: Prod2Vec, meta: MetaProd2Vec) -> None:
    without_ids, elsewhere = task(products=None), task(sessions="")
    assert [plain.suits(t) for t in (task(), without_ids, elsewhere)] == [True, False, False]
    assert [meta.suits(t) for t in (task(), without_ids, elsewhere)] == [True, True, False]
    assert plain.prepare([without_ids, elsewhere]) == {}
