"""LSA, compared with scikit-learn's; the titles it is fitted on; its cache."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import safetensors.numpy
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from vitrina.evaluation.models.bag_of_words import ngram_vectorizer
from vitrina.evaluation.models.lsa import LSA
from vitrina.evaluation.protocol import split_titles
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.hashing import content_key
from vitrina.text.normalize import Normalizer

DIM = 40


@pytest.fixture(scope="module")
def titles(grocery_titles: list[str]) -> list[str]:
    return grocery_titles[1:601]


@pytest.fixture(scope="module")
def task(titles: list[str]) -> Task:
    """A task of the shop, with a word in every validation and test title that no other title has.

    The shop knows the first two thirds of its titles.
    """
    parts: dict[str, Any] = {**split_titles(titles)}
    written = list(titles)
    for part in ("validation", "test"):
        for row in parts[part]:
            written[row] += " Zzyzx"
    labels = np.array(["OZ" in title for title in titles])
    return Task("ounces", "binary", written, labels, **parts, sessions="shop")


@pytest.fixture(scope="module")
def shop(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """400 products; those with a validation or test title of the task are held out."""
    folder = tmp_path_factory.mktemp("shop")
    return shop_of(folder, task.titles[:400], task)


def shop_of(folder: Path, titles: Any, task: Task) -> Shop:
    events = {"user": [1, 1], "timestamp": [1_700_000_000] * 2, "product_id": [0, 1]}
    pl.DataFrame(events).write_csv(folder / "events.csv")
    products = {"product_id": range(len(titles)), "title": titles, "category": ["a"] * len(titles)}
    pl.DataFrame(products).write_csv(folder / "products.csv")
    held_out = Normalizer("en")(task.titles_of(np.append(task.validation, task.test)))
    return Shop(
        "shop",
        (folder / "events.csv",),
        (folder / "products.csv",),
        language="en",
        held_out=frozenset(held_out),
    )


@pytest.fixture
def model(tmp_path: Path, shop: Shop) -> LSA:
    return LSA(name="LSA", folder=tmp_path / "cache", shops={"shop": shop}, dim=DIM)


def expected_vectors(titles, other, dim=DIM, seed=0):
    """The unscaled vectors of other titles, by an LSA of these titles that was never saved."""
    vectorizer = ngram_vectorizer(np.float32)
    features = vectorizer.fit_transform(titles)
    with threadpool_limits(1):
        svd = TruncatedSVD(dim, n_iter=2, random_state=seed).fit(features)
    return svd.transform(vectorizer.transform(other))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def saved(folder: Path) -> Path:
    (file,) = folder.rglob("model.safetensors")
    return file.parent


def terms(folder: Path) -> set[str]:
    vocabularies = json.loads((saved(folder) / "vocabularies.json").read_text("utf-8"))
    return {*vocabularies["words"], *vocabularies["characters"]}


def test_scores_agree_with_scikit_learn(model: LSA, shop: Shop, task: Task) -> None:
    model.prepare([task], quiet=True)
    rows = task.train[:120]
    elsewhere = pickle.loads(pickle.dumps(model))  # cells run in other processes
    scores = elsewhere.fit(task, rows, 0).predict_scores(task.test)
    vectors = expected_vectors(shop.catalogue().titles.to_list(), task.titles)
    known = unit(vectors.astype(np.float64))
    linear = LogisticRegression(C=1.0, solver="liblinear", max_iter=1000)
    linear.fit(known[rows], task.labels[rows])
    np.testing.assert_allclose(scores, linear.decision_function(known[task.test]), atol=1e-9)
    np.testing.assert_allclose(model.vectors(task), unit(vectors), atol=1e-6)
    assert elsewhere.vectors_alone


def test_held_out_titles_are_not_seen(model: LSA, shop: Shop, task: Task, tmp_path: Path) -> None:
    assert any("Zzyzx" in title for title in shop.full_catalogue().titles)
    model.prepare([task], quiet=True)
    assert not any("zzy" in term for term in terms(tmp_path))

    # the same LSA as in a shop that never had these products
    seen = shop.catalogue().titles.to_list()
    (tmp_path / "other").mkdir()
    smaller = shop_of(tmp_path / "other", seen, task)
    other = replace(model, folder=tmp_path / "other", shops={"shop": smaller})
    other.prepare([task], quiet=True)
    assert (saved(tmp_path / "other") / "model.safetensors").read_bytes() == (
        saved(tmp_path / "cache") / "model.safetensors"
    ).read_bytes()


def test_a_task_without_a_shop_is_its_own(task: Task, tmp_path: Path) -> None:
    alone = replace(task, sessions="")
    model = LSA(name="LSA", folder=tmp_path, dim=DIM)
    model.prepare([alone], quiet=True)
    assert not any("zzy" in term for term in terms(tmp_path))
    train = sorted(set(task.titles_of(task.train)))
    expected = unit(expected_vectors(train, task.titles))
    np.testing.assert_allclose(model.vectors(alone), expected, atol=1e-6)
    # labels and names don't count: another task of the same titles finds the LSA
    other = replace(alone, name="other", labels=~task.labels)
    model.prepare([other], quiet=True)
    saved(tmp_path)  # there is one
    np.testing.assert_array_equal(model.vectors(other), model.vectors(alone))


def test_it_is_fitted_once_for_each_shop(model: LSA, task: Task, tmp_path: Path) -> None:
    second = replace(task, name="second", titles=task.titles[::-1])
    costs = model.prepare([task, second], quiet=True)
    assert set(costs) == {"pretraining_minutes", "titles_per_second", "bytes"}
    folder = saved(tmp_path)
    files = [folder / "model.safetensors", folder / "vocabularies.json"]
    assert costs["bytes"] == sum(file.stat().st_size for file in files)
    # no pickle
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".safetensors", ".json", ".npy"}
    before = [path.stat().st_mtime_ns for path in written]
    assert model.prepare([second, task], quiet=True) == costs
    assert [path.stat().st_mtime_ns for path in written] == before
    assert model.prepare([]) == {}


def test_costs_are_means_over_shops(model: LSA, task: Task, tmp_path: Path) -> None:
    alone = replace(task, sessions="")
    costs = [model.prepare([t], quiet=True) for t in (task, alone)]
    both = model.prepare([task, alone], quiet=True)
    for what, mean in both.items():
        assert mean == pytest.approx(np.mean([cost[what] for cost in costs]))
    assert len(list(tmp_path.rglob("model.safetensors"))) == 2


def test_a_sample_of_titles_follows_the_seed(model: LSA, task: Task, tmp_path: Path) -> None:
    def projection(name: str, **changes: Any) -> Any:
        sampled = replace(model, folder=tmp_path / name, max_titles=60, **changes)
        sampled.prepare([task], quiet=True)
        file = saved(tmp_path / name) / "model.safetensors"
        return safetensors.numpy.load_file(file)["projection"]

    first = projection("a")
    np.testing.assert_array_equal(projection("b"), first)
    assert projection("c", seed=1).shape != first.shape  # other titles have other n-grams
    assert len(projection("d", max_features=30)) == 60  # of either part
    # a vector can't be longer than there are titles
    assert projection("e", dim=100).shape[1] == 60


def test_unknown_titles_have_zero_vectors(model: LSA, task: Task) -> None:
    odd = replace(task, titles=["ωψξ", *task.titles[1:]])
    model.prepare([odd], quiet=True)
    assert not model.vectors(odd)[0].any()
    assert np.isfinite(model.fit(odd, odd.train[:50], 0).predict_scores(odd.test)).all()


def test_settings_identify_the_cells(model: LSA, shop: Shop, tmp_path: Path) -> None:
    different = [
        model,
        replace(model, shops={}),
        replace(model, shops={"shop": replace(shop, held_out=frozenset())}),
        replace(model, dim=8),
        replace(model, max_titles=10),
        replace(model, max_features=10),
        replace(model, seed=1),
    ]
    keys = [content_key(m.settings()) for m in different]
    assert len(set(keys)) == len(different)
    same = replace(model, name="other", folder=tmp_path / "other", max_subsamples=1)
    assert content_key(same.settings()) == keys[0]
