"""The protocol: leak-free splits, repeatable subsamples, cells equal to those of a naive loop."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from vitrina.classification.classifier import TitleClassifier
from vitrina.errors import InputError
from vitrina.evaluation.models.bag_of_words import BagOfWords
from vitrina.evaluation.models.stored_vectors import LinearOnVectors
from vitrina.evaluation.protocol import run_cell, split_titles, subsamples
from vitrina.evaluation.task import Task


def binary(name, labels, train, test, titles=()):
    return Task(name, "binary", titles, labels, train, np.empty(0, np.int64), test)


@pytest.fixture
def task():
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.3
    titles = [
        " ".join(rng.choice(["x", "milk", "2", "new"] if label else ["x", "milk", "used"], 4))
        for label in labels
    ]
    return binary("toy", labels, np.arange(300), np.arange(300, 400), titles)


def test_split_keeps_a_title_on_one_side():
    rng = np.random.default_rng(1)
    keys = [f"title {i}" for i in rng.integers(0, 2000, 9000)]
    split = split_titles(keys, seed=3)
    assert list(split) == ["test", "validation", "train"]
    assert sorted(np.concatenate(list(split.values()))) == list(range(9000))
    titles = {part: {keys[row] for row in rows} for part, rows in split.items()}
    assert all(not titles[a] & titles[b] for a, b in combinations(titles, 2))
    shares = [len(titles[part]) / len(set(keys)) for part in split]
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.6], atol=0.04)  # four standard deviations


def test_a_title_is_a_test_title_in_all_tasks_or_in_none():
    keys = [f"title {i % 50}" for i in range(80)]
    test = {keys[row] for row in split_titles(keys, seed=1)["test"]}
    others = [f"title {i}" for i in range(200, 20, -1)]
    parts = split_titles(others, {"test": 0.2, "train": 0.8}, seed=1)
    assert {others[row] for row in parts["test"]} & set(keys) == test & set(others)
    assert {keys[row] for row in split_titles(keys, seed=2)["test"]} != test


def test_bad_splits_are_named():
    with pytest.raises(InputError, match="add up to 1"):
        split_titles(["a", "b"], {"train": 0.5, "test": 0.4})
    with pytest.raises(InputError, match="add up to 1"):
        split_titles(["a", "b"], {"train": 1.5, "test": -0.5})
    with pytest.raises(
        InputError, match="the test part would be empty, because there are only 2 distinct"
    ):
        split_titles(["a", "b", "b"], {"test": 0.001, "train": 0.999})


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
    rare = binary("rare", labels, np.arange(1800), np.arange(1800, 2000))
    for rows in subsamples(rare, [2, 10], repeats=20).values():
        assert labels[rows].sum() == 1
        assert len(set(rows)) == len(rows)


def test_bad_subsamples_are_named(task):
    with pytest.raises(InputError, match="301 labels can't be drawn from the 300"):
        subsamples(task, [301])
    with pytest.raises(InputError, match="1 labels"):
        subsamples(task, [1])
    with pytest.raises(InputError, match="toy: all training rows have the same label"):
        subsamples(binary("toy", np.zeros(4, bool), np.arange(2), np.arange(2, 4)), [2])


def test_a_part_with_one_class_is_named(task):
    one_class = binary("toy", np.array([0, 1, 0, 0], bool), np.arange(2), np.arange(2, 4), "abcd")
    with pytest.raises(InputError, match="toy: all test rows have the same label"):
        run_cell(one_class, BagOfWords(name="words"), one_class.train)


def test_on_vectors_is_the_classifier_of_titles(task, encoder):
    vectors = np.random.default_rng(6).standard_normal((400, 64)).astype(np.float32)
    ours = (
        LinearOnVectors(name="ours", vectors=vectors)
        .fit(task, task.train, 0)
        .predict_scores(task.test)
    )
    theirs = TitleClassifier(encoder, C=1.0).fit(vectors[task.train], task.labels[task.train])
    expected = theirs.decision_function(vectors[task.test])
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


def test_cells_are_those_of_the_naive_loop(task):
    vectors = np.random.default_rng(2).standard_normal((400, 8)).astype(np.float32)
    vectors[:, 0] += task.labels
    models = [LinearOnVectors(name="encoder", vectors=vectors), BagOfWords(name="words")]
    truth = task.labels[task.test]
    for rows in subsamples(task, [20, 100], repeats=2).values():
        for model in models:
            features = normalize(vectors)
            if model.name == "words":
                words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit(task.titles_of(rows))
                assert words.vocabulary_.keys() <= {"x", "milk", "2", "new", "used"}
                assert "x" in words.vocabulary_
                features = words.transform(task.titles).toarray()
            plain = LogisticRegression(solver="liblinear", max_iter=1000)
            plain.fit(features[rows], task.labels[rows])
            expected = roc_auc_score(truth, plain.predict_proba(features[task.test])[:, 1])
            assert run_cell(task, model, rows)["value"] == pytest.approx(expected, abs=1e-9)


def test_several_classes_and_numbers():
    rng = np.random.default_rng(7)
    classes = np.arange(300) % 4
    vectors = rng.standard_normal((300, 6))
    vectors[:, :4] += 2 * np.eye(4)[classes]
    train, none, test = np.arange(200), np.empty(0, np.int64), np.arange(200, 300)
    model = LinearOnVectors(name="vectors", vectors=vectors)
    task = Task("c", "multiclass", (), classes, train, none, test, classes=tuple("abcd"))
    known = train[classes[train] != 3]  # no training row has the last class: its AUC is 0.5
    cell = run_cell(task, model, known)
    unit = normalize(vectors)
    each = []
    for k in range(3):
        plain = LogisticRegression(solver="liblinear", max_iter=1000)
        plain.fit(unit[known], classes[known] == k)
        each.append(roc_auc_score(classes[test] == k, plain.decision_function(unit[test])))
    assert cell["auc"] == pytest.approx(np.mean([*each, 0.5]))
    assert cell["value"] == cell["auc"]
    # a quarter of the rows has the class without training rows
    assert 0.5 < cell["accuracy"] < 0.78

    numbers = vectors @ np.arange(6)
    task = Task("r", "regression", (), numbers, train, none, test)
    cell = run_cell(task, model, train)
    fitted = Ridge().fit(unit[train], numbers[train])
    assert cell["r2"] == cell["value"] == pytest.approx(fitted.score(unit[test], numbers[test]))
    error = np.abs(fitted.predict(unit[test]) - numbers[test]).mean()
    assert cell["mae"] == pytest.approx(error)


def test_digest_knows_all_that_results_depend_on(task):
    assert (
        task.digest
        == binary("other name", *[task.labels, task.train, task.test, task.titles]).digest
    )
    others = [
        replace(task, labels=~task.labels),
        replace(task, titles=task.titles[::-1]),
        replace(task, test=task.test[1:]),
        replace(task, products=[str(i) for i in range(400)]),
        replace(task, sessions="shop"),
    ]
    assert len({task.digest, *[other.digest for other in others]}) == 6
