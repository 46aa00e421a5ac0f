"""The protocol: leak-free splits, repeatable subsamples, curves that a naive loop agrees with."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from vitrina.downstream.classifier import TitleClassifier
from vitrina.downstream.protocol import (
    Task,
    bag_of_words,
    learning_curve,
    on_vectors,
    split_titles,
    subsamples,
    summarise,
)
from vitrina.errors import InputError


@pytest.fixture
def task():
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.3
    return Task("toy", labels, np.arange(300), np.arange(300, 400))


def test_split_keeps_a_title_on_one_side():
    rng = np.random.default_rng(1)
    keys = [f"title {i}" for i in rng.integers(0, 100, 1000)]
    split = split_titles(keys, seed=3)
    assert list(split) == ["train", "test", "validation"]
    assert sorted(np.concatenate(list(split.values()))) == list(range(1000))
    titles = {part: {keys[row] for row in rows} for part, rows in split.items()}
    assert all(not titles[a] & titles[b] for a, b in combinations(titles, 2))
    assert [len(titles[part]) for part in split] == [60, 20, 20]


def test_split_follows_from_seed_and_keys_alone():
    keys = [f"title {i % 50}" for i in range(80)]
    test = {keys[row] for row in split_titles(keys, seed=1)["test"]}
    reversed_keys = keys[::-1]
    assert {reversed_keys[row] for row in split_titles(reversed_keys, seed=1)["test"]} == test
    assert {keys[row] for row in split_titles(keys, seed=2)["test"]} != test


def test_bad_splits_are_named():
    with pytest.raises(InputError, match="add up to 1"):
        split_titles(["a", "b"], {"train": 0.5, "test": 0.4})
    with pytest.raises(InputError, match="add up to 1"):
        split_titles(["a", "b"], {"train": 1.5, "test": -0.5})
    with pytest.raises(InputError, match="test would be empty, there are 2 distinct"):
        split_titles(["a", "b", "b"], {"train": 0.9, "test": 0.1})


def test_subsamples_are_distinct_training_rows(task):
    drawn = subsamples(task, [10, 300], repeats=3)
    assert list(drawn) == [(size, sample) for size in (10, 300) for sample in range(3)]
    for (size, _), rows in drawn.items():
        assert len(set(rows)) == size
        assert set(rows) <= set(task.train)
    assert any((drawn[10, 0] != drawn[10, s]).any() for s in (1, 2))


def test_a_subsample_stays_when_sizes_come_and_go(task):
    wide, narrow = subsamples(task, [10, 20, 50], seed=4), subsamples(task, [20], seed=4)
    for sample in range(5):
        np.testing.assert_array_equal(wide[20, sample], narrow[20, sample])


def test_rare_labels_are_in_every_subsample():
    labels = np.zeros(2000, bool)
    labels[[3, 1900, 1950]] = True  # one of them among the training rows
    rare = Task("rare", labels, np.arange(1800), np.arange(1800, 2000))
    for rows in subsamples(rare, [2, 10], repeats=20).values():
        assert labels[rows].sum() == 1
        assert len(set(rows)) == len(rows)


def test_bad_subsamples_are_named(task):
    with pytest.raises(InputError, match="301 labels can't be drawn from the 300"):
        subsamples(task, [301])
    with pytest.raises(InputError, match="1 labels"):
        subsamples(task, [1])
    with pytest.raises(InputError, match="toy: all training rows have the same label"):
        subsamples(Task("toy", np.zeros(4, bool), np.arange(2), np.arange(2, 4)), [2])
    with pytest.raises(InputError, match="toy: all test rows have the same label"):
        learning_curve(
            Task("toy", np.array([0, 1, 0, 0], bool), np.arange(2), np.arange(2, 4)), {}, {}
        )


def test_on_vectors_is_the_classifier_of_titles(task, encoder):
    vectors = np.random.default_rng(6).standard_normal((400, 64)).astype(np.float32)
    train, test = task.train, task.test
    ours = on_vectors(vectors)(train, task.labels[train], test)
    theirs = TitleClassifier(encoder).fit(vectors[train], task.labels[train])
    np.testing.assert_allclose(ours, theirs.decision_function(vectors[test]), rtol=1e-9, atol=1e-12)


def test_curve_is_the_naive_loop(task):
    rng = np.random.default_rng(2)
    titles = [
        " ".join(rng.choice(["x", "milk", "2", "new"] if label else ["x", "milk", "used"], 4))
        for label in task.labels
    ]
    vectors = rng.standard_normal((400, 8)).astype(np.float32)
    vectors[:, 0] += task.labels
    drawn = subsamples(task, [20, 100], repeats=2)
    models = {"encoder": on_vectors(vectors), "words": bag_of_words(titles)}
    curve = learning_curve(task, models, drawn)
    assert curve.columns == ["task", "model", "labels", "sample", "auc", "seconds"]
    assert len(curve) == 8

    truth = task.labels[task.test]
    for row in curve.iter_rows(named=True):
        rows = drawn[row["labels"], row["sample"]]
        features = normalize(vectors)
        if row["model"] == "words":
            words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit([titles[i] for i in rows])
            assert words.vocabulary_.keys() <= {"x", "milk", "2", "new", "used"}
            assert "x" in words.vocabulary_
            features = words.transform(titles).toarray()
        plain = LogisticRegression(solver="liblinear", max_iter=1000)
        plain.fit(features[rows], task.labels[rows])
        expected = roc_auc_score(truth, plain.predict_proba(features[task.test])[:, 1])
        assert row["auc"] == pytest.approx(expected, abs=1e-9)

    table = summarise(curve)
    first = curve["auc"][:2].to_numpy()
    assert table.row(0)[:3] == ("toy", "encoder", 20)
    assert table["auc"][0] == pytest.approx(first.mean())
    assert table["std"][0] == pytest.approx(first.std(ddof=1))
