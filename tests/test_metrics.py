"""Metrics and their bootstrap compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score

from vitrina.metrics import bootstrap, metrics, precision_metrics, weighted_auc


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_weighted_auc_is_scikit_learns(rng):
    positive = rng.random(200) < 0.2
    for scores in (rng.standard_normal(200), rng.integers(0, 5, 200).astype(float), np.zeros(200)):
        weights = rng.integers(0, 4, (6, 200)).astype(float)
        expected = [roc_auc_score(positive, scores, sample_weight=w) for w in weights]
        np.testing.assert_allclose(weighted_auc(positive, scores, weights), expected)


def test_one_class_has_no_auc():
    auc = weighted_auc(np.array([True, False]), np.array([1.0, 2.0]), np.array([[1.0, 0.0]]))
    assert np.isnan(auc).all()


def naive(kind, truth, scores, metric, replicates):
    """Compute the metric on the rows of each replicate."""
    drawn = np.random.default_rng(len(truth)).integers(len(truth), size=(replicates, len(truth)))
    return [metric(truth[rows], scores[rows]) for rows in drawn]


def test_replicates_are_resampled_rows(rng):
    truth, scores = rng.random(80) < 0.4, rng.standard_normal(80)
    expected = naive("binary", truth, scores, roc_auc_score, 20)
    np.testing.assert_allclose(bootstrap("binary", truth, scores, 20), expected)
    numbers = rng.standard_normal(80)
    expected = naive("regression", numbers, scores, r2_score, 20)
    np.testing.assert_allclose(bootstrap("regression", numbers, scores, 20), expected)
    classes, table = rng.integers(0, 3, 80), rng.standard_normal((80, 4))

    def macro(truth, scores):
        return np.mean([roc_auc_score(truth == k, scores[:, k]) for k in range(3)])

    expected = naive("multiclass", classes, table, macro, 20)
    np.testing.assert_allclose(bootstrap("multiclass", classes, table, 20), expected)
    assert metrics("multiclass", classes, table)["auc"] == pytest.approx(macro(classes, table))


def test_replicates_spread_like_the_metric(rng):
    """The spread of the replicates is the standard error of the AUC, as found by simulation."""
    found, spread = [], []
    for _ in range(100):
        truth = rng.random(300) < 0.5
        scores = truth + rng.standard_normal(300)
        found.append(metrics("binary", truth, scores)["auc"])
        spread.append(bootstrap("binary", truth, scores, 100).std())
    assert np.mean(spread) == pytest.approx(np.std(found), rel=0.2)


def test_precision_at_k_is_that_of_the_highest_scores(rng):
    truth = rng.random(4_000) < 0.05
    scores = truth + rng.standard_normal(4_000)
    found = precision_metrics(truth, scores)
    highest = np.argsort(-scores)[:100]
    assert found["precision_at_k"] == truth[highest].mean()
    assert found["average_precision"] == average_precision_score(truth, scores)
    # with fewer positive rows than 100, a perfect ranking still reaches 1
    few = np.arange(500) < 7
    assert precision_metrics(few, few.astype(float))["precision_at_k"] == 1
    assert precision_metrics(few, -few.astype(float))["precision_at_k"] == 0


def test_precision_at_k_expects_ties_in_random_order(rng):
    truth = rng.random(60) < 0.3
    scores = rng.integers(0, 4, 60).astype(float)
    k = int(truth.sum())
    # break the ties at random, many times
    orders = [np.lexsort([rng.random(60), -scores]) for _ in range(4_000)]
    simulated = np.mean([truth[order[:k]].mean() for order in orders])
    assert precision_metrics(truth, scores)["precision_at_k"] == pytest.approx(simulated, abs=0.01)
    same = np.zeros(60)
    assert precision_metrics(truth, same)["precision_at_k"] == pytest.approx(truth.mean())
