"""Query strategies against naive references, and the promises of the audit."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.cluster import KMeans

from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.labelling.catalogue_features import CatalogueFeatures
from vitrina.labelling.query_strategies import (
    AUDIT,
    DIVERSE,
    MARGIN,
    Sampler,
    audit_size,
    by_margin,
    by_score,
    diverse,
    random_order,
    rare_classes,
)


@pytest.fixture(scope="module")
def features(encoder: TitleEncoder, grocery_titles: list[str]) -> CatalogueFeatures:
    return CatalogueFeatures(encoder, grocery_titles[:400])


def test_score_and_margin_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(50, 3))
    pool = rng.permutation(50)[:30]
    expected = sorted(pool.tolist(), key=lambda row: -scores[row, 1])
    assert by_score(pool, scores, 1).tolist() == expected

    def margin(row: int) -> float:
        _, second, first = sorted(scores[row])
        return float(first - second)

    assert by_margin(pool, scores).tolist() == sorted(pool.tolist(), key=margin)


def test_diverse_titles_are_the_nearest_to_the_centres_of_k_means(
    features: CatalogueFeatures,
) -> None:
    pool = np.arange(50, 350)
    unit = features.vectors / features.lengths[:, None]
    chosen = diverse(features, pool, 12, 0)
    assert len(set(chosen.tolist())) == 12
    assert set(chosen.tolist()) <= set(pool.tolist())
    assert np.array_equal(chosen, diverse(features, pool, 12, 0))
    # a title of each cluster, the largest cluster first
    clusters = KMeans(12, n_init=1, max_iter=20, random_state=0).fit(unit[pool].astype(np.float32))
    of_chosen = clusters.predict(unit[chosen].astype(np.float32))
    assert sorted(of_chosen) == list(range(12))
    sizes = np.bincount(clusters.labels_)[of_chosen]
    assert (np.diff(sizes) <= 0).all()
    for row, cluster in zip(chosen, of_chosen, strict=True):
        centre = clusters.cluster_centers_[cluster]
        members = pool[clusters.labels_ == cluster]
        distances = np.linalg.norm(unit[members] - centre, axis=1)
        assert np.linalg.norm(unit[row] - centre) == pytest.approx(distances.min(), abs=1e-5)


def test_diverse_titles_of_a_small_pool(features: CatalogueFeatures) -> None:
    assert sorted(diverse(features, np.arange(5), 9, 0).tolist()) == [0, 1, 2, 3, 4]
    assert diverse(features, np.arange(0), 9, 0).tolist() == []
    same = CatalogueFeatures(features.encoder, ["MILK", "MILK 1", "BREAD", "MILK"])
    assert len(set(diverse(same, np.arange(4), 4, 0).tolist())) == 4


def test_the_audit_is_uniform_over_the_catalogue(features: CatalogueFeatures) -> None:
    """Each title is in the audit, and each place of its order, equally often."""
    n, draws = 40, 2_000
    size = audit_size(n)
    places = np.empty((draws, n), np.int64)
    for seed in range(draws):
        places[seed, random_order(features.forms[:n], seed)] = np.arange(n)
    in_audit = (places < size).mean(axis=0)
    error = np.sqrt(size / n * (1 - size / n) / draws)
    assert np.abs(in_audit - size / n).max() < 4.5 * error
    assert np.abs(places.mean(axis=0) - (n - 1) / 2).max() < 4.5 * n / np.sqrt(12 * draws)


def test_the_order_stays_when_titles_are_added(features: CatalogueFeatures) -> None:
    few = [features.forms[row] for row in random_order(features.forms[:50], 3)]
    many = [features.forms[row] for row in random_order(features.forms[:200], 3)]
    assert [form for form in many if form in few] == few


def labelled_by_mix(
    features: CatalogueFeatures, labels: npt.NDArray[np.str_], batches: list[int]
) -> list[tuple[int, str]]:
    """Label titles as the mix chooses them: numbers and strategies."""
    sampler = Sampler(features, seed=0)
    found: list[tuple[int, str]] = []
    for n in batches:
        rows = np.array([row for row, _ in found], np.int64)
        strategies = np.array([strategy for _, strategy in found], np.str_)
        found += sampler.choose(rows, labels[rows], strategies, n)
    assert len({row for row, _ in found}) == sum(batches)
    return [(row, strategy) for row, strategy in found]


def test_only_the_audit_takes_titles_of_the_audit(features: CatalogueFeatures) -> None:
    labels = np.where(np.arange(len(features)) % 25 == 0, "yes", "no")
    audit = Sampler(features, seed=0).audit_rows.tolist()
    found = labelled_by_mix(features, labels, [5] * 40)
    of_audit = [row for row, strategy in found if strategy == AUDIT]
    assert of_audit == audit[: len(of_audit)]
    assert not {row for row, strategy in found if strategy != AUDIT} & set(audit)


def test_labels_of_the_audit_decide_nothing(features: CatalogueFeatures) -> None:
    """With other labels of two titles of the audit, the same other titles are chosen."""
    labels = np.where(np.arange(len(features)) % 20 == 0, "yes", "no")
    sampler = Sampler(features, seed=0)
    positive = [row for row in sampler.other_rows.tolist() if labels[row] == "yes"][:4]
    rows = np.array([*sampler.audit_rows[:40], *sampler.other_rows[:20], *positive])
    rows = np.array(list(dict.fromkeys(rows.tolist())))
    strategies = np.array([""] * len(rows))
    chosen = sampler.choose(rows, labels[rows], strategies, 20)
    assert [strategy for _, strategy in chosen].count(MARGIN) == 16
    changed = labels[rows].copy()
    changed[[0, 1]] = ["yes", "no"] if changed[0] == "no" else ["no", "yes"]
    assert sampler.choose(rows, changed, strategies, 20) == chosen


def test_the_mix_of_a_frequent_class_is_diverse_first_and_random_later(
    features: CatalogueFeatures,
) -> None:
    labels = np.where(np.arange(len(features)) % 3 == 0, "yes", "no")
    found = labelled_by_mix(features, labels, [1] * 10 + [10] * 6)
    strategies = [strategy for _, strategy in found]
    assert strategies[:20] == [AUDIT, DIVERSE] * 10
    assert set(strategies[20:]) == {AUDIT}


def test_titles_end(features: CatalogueFeatures) -> None:
    labels = np.where(np.arange(len(features)) % 3 == 0, "yes", "no")
    found = labelled_by_mix(features, labels, [200, 200])
    assert len(found) == len(features)
    sampler = Sampler(features, seed=0)
    rows = np.arange(len(features))
    assert sampler.choose(rows, labels, np.array([""] * len(rows)), 3) == []


def test_a_rare_class_is_one_with_a_small_share_of_the_random_labels() -> None:
    labels = np.array(["no"] * 30 + ["yes"] * 4)
    strategies = np.array([AUDIT] * 30 + ["search"] * 4)
    assert rare_classes(labels, strategies) == ["yes"]
    assert rare_classes(labels[:32], strategies[:32]) == []  # two labels are too few
    assert rare_classes(labels, np.where(np.arange(34) < 20, "search", AUDIT)) == []  # 4 of 14
    assert rare_classes(labels[:30], strategies[:30]) == []
    assert rare_classes(labels, np.array(["search"] * 34)) == []  # nothing is known of the shares
    many = np.array([f"class {i % 12}" for i in range(60)])
    assert rare_classes(many, np.array([AUDIT] * 60)) == []  # all are as frequent


def test_a_class_is_searched_for_only_while_the_search_finds_it() -> None:
    labels = np.array(["no"] * 28 + ["yes"] * 2 + ["no"] * 8 + ["yes"] * 4)
    strategies = np.array([AUDIT] * 30 + [MARGIN] * 12)
    assert rare_classes(labels, strategies) == ["yes"]  # 4 of 12 by the search, 2 of 30 at random
    labels[-3:] = "no"
    assert rare_classes(labels, strategies) == []  # 1 of 12 is hardly more
    assert rare_classes(labels[:38], strategies[:38]) == []
