"""The estimates of the audit: against brute force, and against the truth of a known catalogue."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.labelling.audit import (
    Estimate,
    auc_estimate,
    audit_ranks,
    average_precision_estimate,
    class_score,
    share_estimate,
)
from vitrina.labelling.catalogue_features import CatalogueFeatures
from vitrina.labelling.query_strategies import Sampler


def test_the_share_has_the_exact_interval() -> None:
    for count, n in ((0, 12), (3, 40), (9, 9)):
        exact = binomtest(count, n).proportion_ci(method="exact")
        assert share_estimate(count, n) == pytest.approx((count / n, exact.low, exact.high))


def test_average_precision_is_the_jackknife_of_its_definition() -> None:
    rng = np.random.default_rng(2)
    for n in (8, 25, 60):
        truth = np.arange(n) % 3 == 0
        scores = rng.normal(size=n) + truth
        whole = average_precision_score(truth, scores)
        left_out = [
            average_precision_score(np.delete(truth, i), np.delete(scores, i)) for i in range(n)
        ]
        expected = n * whole - (n - 1) * np.mean(left_out)
        assert average_precision_estimate(truth, scores).value == pytest.approx(expected)


def catalogue(share: float, shift: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Scores of 20,000 titles, of which a share is positive."""
    rng = np.random.default_rng(3)
    truth = np.arange(20_000) < share * 20_000
    return truth, rng.normal(size=20_000) + shift * truth


@pytest.mark.parametrize(
    ("share", "shift", "n"), [(0.03, 2.0, 800), (0.1, 1.5, 200), (0.5, 0.7, 60)]
)
def test_estimates_have_no_bias_and_intervals_hold_the_truth(
    share: float, shift: float, n: int
) -> None:
    truth, scores = catalogue(share, shift)
    exact = (roc_auc_score(truth, scores), average_precision_score(truth, scores))
    rng = np.random.default_rng(4)
    found: list[list[Estimate]] = []
    naive = []
    for _ in range(400):
        rows = rng.choice(len(truth), n, replace=False)
        one = class_score("yes", truth[rows], scores[rows], 0.01)
        assert one.auc is not None
        assert one.average_precision is not None
        found.append([one.auc, one.average_precision])
        naive.append(average_precision_score(truth[rows], scores[rows]))
    table = np.array(found)  # draws, metrics, (value, low, high)
    for metric, expected in enumerate(exact):
        values, low, high = table[:, metric].T
        # the mean of 400 draws, give or take three standard errors and the jackknife's small rest
        assert abs(values.mean() - expected) < 3 * values.std() / 20 + 0.008
        assert np.mean((low <= expected) & (expected <= high)) > 0.91
    # without the jackknife, the average precision would be too high
    assert np.mean(naive) - exact[1] > 2 * abs(table[:, 1, 0].mean() - exact[1])


def test_few_positive_titles_give_no_score() -> None:
    truth, scores = np.arange(40) < 4, np.linspace(-1, 0, 40)
    one = class_score("yes", truth, scores, 0.05)
    assert (one.titles, one.positive, one.auc, one.average_precision) == (40, 4, None, None)
    assert one.precision_at_k == share_estimate(0, 2)
    assert class_score("yes", truth, scores - 1, 0.05).precision_at_k is None


def test_the_cross_fitted_score_is_that_of_new_titles(
    encoder: TitleEncoder, grocery_titles: list[str]
) -> None:
    """On average over draws, against the truth, and against scores of titles that were learnt."""
    features = CatalogueFeatures(encoder, grocery_titles[:800])
    rng = np.random.default_rng(5)
    # some labels are noise, so that learning by heart shows
    labels = np.array(["no", "yes"])[np.array(["CH" in title for title in features.titles]) * 1]
    wrong = rng.random(len(labels)) < 0.15
    labels[wrong] = np.where(labels[wrong] == "yes", "no", "yes")
    honest, true, by_heart = [], [], []
    for _ in range(30):
        order = rng.permutation(len(features))
        audit, others, rest = order[:60], order[60:120], order[120:]
        ranked = audit_ranks(features, audit, labels[audit], others, labels[others], rest)
        assert ranked is not None
        (score,) = ranked.scores()
        assert score.auc is not None
        honest.append(score.auc.value)
        used = order[:120]
        scores = features.scores(features.fit(used, labels[used]))[:, 1]
        true.append(roc_auc_score(labels[rest], scores[rest]))
        by_heart.append(auc_estimate(labels[audit] == "yes", scores[audit]).value)
    error = np.std(np.subtract(honest, true)) / np.sqrt(30)
    # a little too low, because each part is scored with fewer labels
    assert -0.02 - 3 * error < np.mean(honest) - np.mean(true) < 3 * error
    assert np.mean(by_heart) - np.mean(true) > 0.1


def test_the_score_is_honest_although_the_classifier_chooses(
    encoder: TitleEncoder, grocery_titles: list[str]
) -> None:
    """A rare class is searched for by the default mix; the truth is that of unlabelled titles."""
    features = CatalogueFeatures(encoder, grocery_titles[1:1201])
    labels = np.where(["CHEESE" in form.upper() for form in features.forms], "yes", "no")
    labels[np.random.default_rng(6).permutation(len(labels))[:60]] = "yes"  # noise
    honest, true, chosen_by = [], [], set()
    for seed in range(16):
        sampler = Sampler(features, seed)
        found = np.flatnonzero(labels == "yes")
        rows = found[np.isin(found, sampler.other_rows)][:3]
        strategies = np.array(["search"] * len(rows))
        while len(rows) < 160:
            choices = sampler.choose(rows, labels[rows], strategies, 20)
            rows = np.append(rows, [choice.row for choice in choices])
            strategies = np.append(strategies, [choice.strategy for choice in choices])
        chosen_by |= set(strategies.tolist())
        is_audit = np.isin(rows, sampler.audit_rows)
        rest = np.setdiff1d(np.arange(len(features)), rows)
        audit, others = rows[is_audit], rows[~is_audit]
        ranked = audit_ranks(features, audit, labels[audit], others, labels[others], rest)
        assert ranked is not None
        scores = ranked.scores()
        if scores and scores[0].auc is not None:
            honest.append(scores[0].auc.value)
            predicted = features.scores(features.fit(rows, labels[rows]), rest)[:, 1]
            true.append(roc_auc_score(labels[rest], predicted))
    assert "margin" in chosen_by
    assert len(honest) >= 5
    error = np.std(np.subtract(honest, true)) / np.sqrt(len(honest))
    assert abs(np.mean(honest) - np.mean(true)) < 3 * error
    assert error < 0.06
