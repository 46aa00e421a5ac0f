"""The domain classifier: against scikit-learn, and with the answers known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from vitrina.comparison.domain import FOLDS, RIDGE, DomainScore, tell_apart
from vitrina.encoder.title_encoder import unit_length


def drawn(n: int, shift: float, seed: int) -> np.ndarray:
    """Rows of length 1, the first half moved by `shift` in one direction."""
    vectors = np.random.default_rng(seed).standard_normal((n, 12))
    vectors[: n // 2, 0] += shift
    return unit_length(vectors)


def halves(n: int) -> tuple[np.ndarray, np.ndarray]:
    is_first = np.arange(n) < n // 2
    return is_first, ~is_first


def naive(vectors: np.ndarray, in_first: np.ndarray, in_second: np.ndarray) -> DomainScore:
    """Ridge regressions of scikit-learn on the table's rows, on the same folds."""
    fold = _folds(vectors, in_first, in_second)
    rows = np.concatenate([np.flatnonzero(in_first), np.flatnonzero(in_second)])
    target = np.repeat([-1.0, 1.0], [in_first.sum(), in_second.sum()])
    scores = np.empty(len(vectors))
    for which in range(FOLDS):
        train = fold[rows] != which
        model = Ridge(alpha=RIDGE).fit(vectors[rows[train]], target[train])
        scores[fold == which] = model.predict(vectors[fold == which])
    return DomainScore(roc_auc_score(target, scores[rows]), (0, 1), scores)


def _folds(vectors: np.ndarray, in_first: np.ndarray, in_second: np.ndarray) -> np.ndarray:
    """The folds that `tell_apart` draws: after the random divisions, from the same generator."""
    rng = np.random.default_rng(0)
    target = in_second.astype(float) - in_first
    for _ in range(200):
        rng.permutation(target[target != 0])
    return rng.permutation(len(vectors)) % FOLDS


@pytest.mark.parametrize("both", [0, 150])
def test_against_scikit_learn(both: int) -> None:
    vectors = drawn(500, 1.0, seed=0)
    in_first, in_second = halves(500)
    in_first[300 : 300 + both] = True  # titles of both tables are rows of each
    found = tell_apart(vectors, in_first, in_second)
    expected = naive(vectors, in_first, in_second)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-9)
    assert found.auc == pytest.approx(expected.auc, abs=1e-12)


def test_known_answers() -> None:
    in_first, in_second = halves(600)
    far = tell_apart(drawn(600, 30.0, seed=1), in_first, in_second)
    assert far.auc == 1.0
    assert far.scores[in_second].min() > far.scores[in_first].max()
    near = tell_apart(drawn(600, 0.7, seed=1), in_first, in_second)
    assert far.auc > near.auc > near.band[1]
    # the same titles in both tables
    every = np.ones(600, bool)
    same = tell_apart(drawn(600, 30.0, seed=1), every, every)
    assert (same.auc, same.band) == (0.5, (0.5, 0.5))


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_the_band_holds_what_is_random(shared: float) -> None:
    """Of tables that one distribution gave, 95 % lie in the band, also if they overlap."""
    inside = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        vectors = drawn(200, 0.0, seed=seed)
        in_first = rng.random(200) < 0.3  # of different sizes
        in_second = ~in_first | (rng.random(200) < shared)
        found = tell_apart(vectors, in_first, in_second, seed=seed)
        inside += found.band[0] <= found.auc <= found.band[1]
    assert inside >= 25
