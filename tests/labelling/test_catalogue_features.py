"""Features computed once give the same classifier and scores as the titles themselves."""

import numpy as np
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.labelling.catalogue_features import CatalogueFeatures


@pytest.fixture(scope="module", params=["encoder", "lexical_encoder"])
def features(request: pytest.FixtureRequest, grocery_titles: list[str]) -> CatalogueFeatures:
    encoder: TitleEncoder = request.getfixturevalue(request.param)
    return CatalogueFeatures(encoder, [*grocery_titles[:900], "", "zzzz yyyy", "a a a a"])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_fit_equals_a_fresh_fit(features: CatalogueFeatures, classes: int) -> None:
    rng = np.random.default_rng(classes)
    rows = rng.permutation(len(features))[:120]
    labels = np.array([f"class {i}" for i in rng.integers(classes, size=len(rows))])
    fitted = features.fit(rows, labels)
    fresh = TitleClassifier(features.encoder, C=2.0)
    fresh.fit([features.titles[row] for row in rows], labels)
    assert fitted.get_params() == fresh.get_params()
    assert fitted.best_params_ == fresh.best_params_
    assert fitted.tfidf_ is not None
    assert fresh.tfidf_ is not None
    assert np.array_equal(fitted.tfidf_.hashes, fresh.tfidf_.hashes)
    assert np.array_equal(fitted.tfidf_.idf, fresh.tfidf_.idf)
    assert np.array_equal(fitted.coef_, fresh.coef_)
    assert np.array_equal(fitted.intercept_, fresh.intercept_)

    expected = fresh.decision_function(features.titles)
    scores = features.scores(fitted)
    if classes == 2:
        expected = np.column_stack([-expected, expected])
    assert np.allclose(scores, expected, rtol=0, atol=1e-10)
    some = rng.permutation(len(features))[:50]
    assert np.array_equal(features.scores(fitted, some), scores[some])
