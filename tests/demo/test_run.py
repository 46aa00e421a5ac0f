"""The demo's own parts on its real data; the whole demo takes minutes and is run separately."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from vitrina.classification.classifier import TitleClassifier
from vitrina.data.catalogue import read_catalogue
from vitrina.data.sources import load_public_dataset
from vitrina.demo import run
from vitrina.demo.demo_products import nearest, product_table, tasks
from vitrina.demo.run import evaluate_encoder, run_demo
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.errors import InputError
from vitrina.evaluation.protocol import subsamples


@pytest.fixture(scope="module")
def products():
    table = product_table(read_catalogue(load_public_dataset("completejourney").products))
    return table.with_columns(test=pl.int_range(pl.len()) % 5 == 0)


def test_labels_are_as_documented(products):
    source = load_public_dataset("completejourney")
    events = source.events.collect()
    private, repeat = tasks(products)
    rng = np.random.default_rng(0)
    for row in rng.choice(len(products), 20, replace=False):
        bought = events.filter(pl.col("product_id") == products["product_id"][int(row)])
        per_household = len(bought) / max(bought["user"].n_unique(), 1)
        assert repeat.labels[row] == (per_household >= 1.5)
        assert (row in repeat.train or row in repeat.test) == (len(bought) > 0)
        assert private.labels[row] == (products["brand"][int(row)] == "Private")
    assert len(private.train) + len(private.test) == len(products)
    for task in (private, repeat):
        assert products["test"].gather(task.test).all()
        assert not products["test"].gather(task.train).any()


def test_neighbours_are_the_nearest_of_other_types(products):
    rng = np.random.default_rng(1)
    by_title = {title: rng.standard_normal(8) for title in products["title"].unique().sort()}
    vectors = np.array([by_title[title] for title in products["title"]], np.float32)
    found = nearest(products, vectors, queries=2, k=3)
    assert len(found) == 6
    types = dict(products.select("title", "type").iter_rows())
    bought = products.drop_nulls(["type", "department", "purchases"])
    for title, part in found.group_by("title"):
        query = by_title[title[0]]
        best: dict[str, float] = {}
        for other, kind in bought.select("title", "type").unique().iter_rows():
            vector = by_title[other]
            cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
            best[kind] = max(best.get(kind, -1), cosine)
        del best[types[title[0]]]
        np.testing.assert_allclose(part["cosine"], sorted(best.values())[-3:][::-1], atol=1e-5)


def test_only_a_demo_is_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="exists already"):
        run_demo(tmp_path)
    with pytest.raises(InputError, match="vitrina didn't write"):
        run_demo(tmp_path, force=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_time_limit_must_be_positive(tmp_path):
    with pytest.raises(InputError, match="`minutes` is 0; it must be more than 0"):
        run_demo(tmp_path / "demo", minutes=0)
    assert not (tmp_path / "demo").exists()


def test_models_are_those_that_a_user_gets(products, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SIZES", (50, 320))
    monkeypatch.setattr(run, "REPEATS", 2)
    weights = encoder.weights
    record = {"settings": {"seed": 3}}
    EncoderWeights(
        weights.embeddings, weights.filters, weights.bias, weights.tokenizer, record
    ).save(tmp_path / "encoder")
    some = products.gather_every(40)
    some = some.with_columns(test=pl.int_range(pl.len()) % 5 == 0)
    curve = evaluate_encoder(tmp_path / "encoder", some, seed=1, threads=2, quiet=True)
    order = ["encoder with words", "encoder", "random", "bag of words"]
    assert curve["model"].unique(maintain_order=True).to_list() == order
    assert curve["task"].unique(maintain_order=True).to_list() == [
        "private_label",
        "repeat_purchase",
    ]
    assert len(curve) == 2 * 4 * 2
    assert curve["samples"].unique().to_list() == [2]

    random = TitleEncoder(initial_weights(weights.tokenizer, seed=3))
    classifiers = {
        "encoder with words": TitleClassifier(encoder),
        "encoder": TitleClassifier(encoder, C=1.0, use_words=False),
        "random": TitleClassifier(random, C=1.0, use_words=False),
    }
    for task in tasks(some):
        drawn = subsamples(task, [50, 320], seed=1)
        truth, titles = task.labels[task.test], task.titles_of(task.test)
        for name, classifier in classifiers.items():
            for size in (50, 320):
                values = []
                for sample in range(2):
                    rows = drawn[size, sample]
                    classifier.fit(task.titles_of(rows), task.labels[rows].astype(bool))
                    values.append(roc_auc_score(truth, classifier.decision_function(titles)))
                row = curve.row(
                    by_predicate=(pl.col("task") == task.name)
                    & (pl.col("model") == name)
                    & (pl.col("size") == size),
                    named=True,
                )
                assert row["mean"] == pytest.approx(np.mean(values), abs=1e-9)
                assert row["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-9)
