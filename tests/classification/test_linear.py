from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from vitrina.classification.linear import (
    DEFAULT_PARAMS,
    features_of,
    stratified_folds,
    tune_hyperparameters,
    tuning_rows,
)
from vitrina.classification.tfidf import HashedTfidf
from vitrina.metrics import Kind

N = 400


@pytest.fixture(scope="module")
def made():
    """Random vectors and titles, and labels that depend on neither."""
    rng = np.random.default_rng(0)
    vectors = features_of(rng.normal(size=(N, 8)))
    words = np.array([f"word{i}" for i in range(50)])
    forms = [f"{' '.join(words[rng.integers(50, size=5)])} n{i}" for i in range(N)]
    return vectors, forms, rng.random(N) < 0.5


def test_the_weight_follows_what_tells_the_classes_apart(made):
    vectors, forms, labels = made
    telling = [
        f"{form} {'used' if label else 'new'}" for form, label in zip(forms, labels, strict=True)
    ]
    assert tune_hyperparameters("binary", labels, 0, vectors, telling).weight < 4.0
    assert tune_hyperparameters("binary", vectors[:, 0] > 0, 0, vectors, forms).weight == 4.0
    classes = np.digitize(vectors[:, 0], [-0.2, 0.2])
    assert tune_hyperparameters("multiclass", classes, 3, vectors, forms).weight == 4.0
    assert tune_hyperparameters("regression", vectors[:, 0], 0, vectors, forms).weight == 4.0


@pytest.mark.parametrize("flipped", [0.0, 0.4])
def test_noisy_labels_are_trusted_less(made, flipped):
    vectors = made[0]
    rng = np.random.default_rng(1)
    labels = (vectors[:, 0] ** 3 > 0.01) ^ (rng.random(N) < flipped)
    expected = 0.3 if flipped else 3.0
    assert expected == tune_hyperparameters("binary", labels, 2, vectors).C


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_choice_is_that_of_three_folds(made, kind: Kind):
    """Against scikit-learn's models and scores, weight by weight, then C by C."""
    vectors, forms, _ = made
    numbers = vectors[:, 0] + 0.2 * np.array(["word7 " in form for form in forms])
    labels = numbers > 0.1 if kind == "binary" else numbers
    rows = tuning_rows(vectors, forms)
    assert sorted(rows) == list(range(N))

    def score(weight: float, C: float) -> float:
        scores = []
        for train, test in stratified_folds(labels, rows):
            tfidf = HashedTfidf.fit([forms[row] for row in train])
            features = hstack([weight * vectors, tfidf(forms)], "csr")
            if kind == "binary":
                model = LogisticRegression(C=C, solver="liblinear", max_iter=1000)
                found = model.fit(features[train], labels[train]).decision_function(features[test])
                scores.append(roc_auc_score(labels[test], found))
            else:
                ridge = Ridge(alpha=1 / C).fit(features[train], labels[train])
                scores.append(ridge.score(features[test], labels[test]))
        return float(np.mean(scores))

    weight = max((1.5, 0.7, 4.0), key=lambda weight: score(weight, 1.0))
    C = max((1.0, 0.3, 3.0), key=lambda C: score(weight, C))
    assert tune_hyperparameters(kind, labels, 2, vectors, forms) == (weight, C)


def test_few_titles_choose_nothing(made):
    vectors, forms, labels = made
    assert (
        tune_hyperparameters("binary", labels[:299], 0, vectors[:299], forms[:299])
        == DEFAULT_PARAMS
    )
    again = [forms[i % 200] for i in range(N)]  # many rows, few titles
    assert tune_hyperparameters("binary", labels, 0, vectors, again) == DEFAULT_PARAMS
    assert (
        tune_hyperparameters("binary", np.arange(N) == 7, 0, vectors, forms) == DEFAULT_PARAMS
    )  # one class in a fold
    assert tune_hyperparameters("binary", labels[:299], 0, vectors[:299]) == DEFAULT_PARAMS


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_weights_decide_what_the_folds_choose(made, kind: Kind):
    """Half of the rows follow the vectors and half the words; the weights say which half counts."""
    vectors, forms, _ = made
    rng = np.random.default_rng(2)
    by_words = rng.random(N)
    numbers = np.where(np.arange(N) % 2 == 0, vectors[:, 0], by_words - 0.5)
    edges = {"binary": [0.0], "multiclass": [-0.2, 0.2], "regression": []}[kind]
    labels = np.digitize(numbers, edges) if edges else numbers
    telling = [
        f"{form} level{int(10 * level)}" for form, level in zip(forms, by_words, strict=True)
    ]
    even = np.where(np.arange(N) % 2 == 0, 1.0, 1e-4)

    def chosen(weights):
        return tune_hyperparameters(kind, labels, len(edges) + 1, vectors, telling, weights).weight

    assert chosen(even) == 4.0
    assert chosen(even[::-1]) == 0.7


def test_equal_weights_choose_as_none(made):
    vectors, forms, labels = made
    tasks: dict[Kind, Any] = {"binary": labels, "regression": vectors[:, 0]}
    for kind, targets in tasks.items():
        expected = tune_hyperparameters(kind, targets, 2, vectors, forms)
        assert tune_hyperparameters(kind, targets, 2, vectors, forms, np.ones(N)) == expected
