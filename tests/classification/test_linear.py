from __future__ import annotations

import numpy as np
import pytest

from vitrina.classification.linear import DEFAULT_PARAMS, features_of, tune_hyperparameters

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
