"""TitleFeatures against its parts, and in scikit-learn's tools."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import hstack, issparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.features import TitleFeatures
from vitrina.classification.tfidf import HashedTfidf
from vitrina.errors import InputError

WIDTH = 64  # of the encoder's vectors


@pytest.fixture(scope="module")
def titles(grocery_titles: list[str]) -> list[str]:
    return grocery_titles[:300]


def test_features_are_weighted_vectors_and_words(encoder, titles):
    normalizer = encoder.weights.tokenizer.normalizer
    new = [f"{title} zyxwv" for title in titles]
    features = TitleFeatures(encoder, weight=0.7).fit(titles)
    vectors = normalize(encoder.encode(new).astype(np.float64))
    expected = hstack([0.7 * vectors, HashedTfidf.fit(normalizer(titles))(normalizer(new))])
    found = features.transform(new)
    assert issparse(found)
    np.testing.assert_allclose(found.toarray(), expected.toarray(), rtol=1e-12)
    np.testing.assert_array_equal(
        features.transform(new[:1]).toarray(), features.transform(new)[:1].toarray()
    )


def test_the_classifier_has_the_same_features(encoder, titles):
    labels = np.array(["OZ" in title for title in titles])
    classifier = TitleClassifier(encoder, C=3.0).fit(titles, labels)
    regression = LogisticRegression(C=3.0, solver="liblinear", max_iter=1000)
    pipeline = make_pipeline(TitleFeatures(encoder), regression).fit(titles, labels)
    np.testing.assert_allclose(
        classifier.decision_function(titles), pipeline.decision_function(titles), rtol=1e-12
    )


def test_words_stand_beside_the_contextual_part_only(encoder, lexical_encoder, titles):
    labels = np.array(["OZ" in title for title in titles])
    features = TitleFeatures(lexical_encoder).fit(titles)
    # the vectors of the two encoders differ by their lexical part and a factor
    np.testing.assert_allclose(
        features.transform(titles).toarray(),
        TitleFeatures(encoder).fit_transform(titles).toarray(),
        rtol=1e-5,
        atol=1e-6,
    )
    assert len(features.get_feature_names_out()) == features.transform(titles[:1]).shape[1]
    model = TitleClassifier(lexical_encoder, C=2.0).fit(titles, labels)
    assert model.tfidf_ is not None
    assert model.coef_.shape[1] == WIDTH + len(model.tfidf_.hashes)
    alone = TitleClassifier(lexical_encoder, C=2.0, use_words=False).fit(titles, labels)
    assert alone.coef_.shape[1] == lexical_encoder.weights.width == WIDTH + 24


def test_a_title_and_a_price_say_more_together(encoder, titles):
    """The label depends on a word of the title and on the price."""
    rng = np.random.default_rng(0)
    price = rng.normal(size=len(titles))
    labels = price + 2 * np.array(["OZ" in title for title in titles]) > 1
    table = pl.DataFrame({"title": titles, "price": price})
    parts: dict[str, Any] = {
        "title": (TitleFeatures(encoder), "title"),
        "price": (StandardScaler(), ["price"]),
    }

    def score(*names: str) -> float:
        chosen = [(name, *parts[name]) for name in names]
        model = make_pipeline(ColumnTransformer(chosen), LogisticRegression(C=10.0, max_iter=1000))
        return float(cross_val_score(model, table, labels, cv=3, scoring="roc_auc").mean())

    assert score("title", "price") > max(score("title"), score("price")) + 0.05


@pytest.mark.parametrize("kind", [list, np.array, pl.Series, pd.Series])
def test_any_column_of_titles(encoder, titles, kind):
    features = TitleFeatures(encoder).fit(kind(titles))
    expected = TitleFeatures(encoder).fit_transform(titles)
    assert (features.transform(kind(titles)) != expected).nnz == 0
    missing = features.transform(["milk", None])
    assert missing.shape == (2, expected.shape[1])
    np.testing.assert_array_equal(missing[1].toarray(), features.transform([""]).toarray())


def test_names_of_the_columns(encoder, titles):
    """A word alone has the columns of its own name and of its n-grams, and no other."""
    features = TitleFeatures(encoder).fit([*titles, "crème"])
    names = features.get_feature_names_out()
    assert len(set(names)) == len(names) == features.transform(titles).shape[1]
    assert list(names[:2]) == ["vitrina0", "vitrina1"]
    words = features.transform(["CRÈME", "milk"])[:, WIDTH:]
    of_milk = set(names[WIDTH:][words[1].indices])
    assert "word:milk" in of_milk
    grams = {"_milk_"[at : at + size] for size in range(2, 6) for at in range(7 - size)}
    known = {f"ngram:{gram}" for gram in grams} & set(names)
    assert of_milk == {"word:milk"} | known
    assert {"word:creme", "ngram:_cre"} <= set(names[WIDTH:][words[0].indices])


def test_clones_and_searches(encoder, titles):
    labels = ["OZ" in title for title in titles]
    features = TitleFeatures(encoder, weight=2.0).fit(titles)
    copy = clone(features)
    assert copy.get_params()["weight"] == 2.0
    assert copy.encoder.weights is encoder.weights
    assert not hasattr(copy, "tfidf_")
    copy.set_params(weight=1.0).fit(titles)
    double = features.transform(titles)[:, :WIDTH]
    single = copy.transform(titles)[:, :WIDTH]
    np.testing.assert_allclose(double.toarray(), 2 * single.toarray(), rtol=1e-12)

    columns = ColumnTransformer([("title", TitleFeatures(encoder), "title")])
    pipeline = make_pipeline(columns, LogisticRegression(max_iter=1000))
    weights = np.array([0.7, 4.0])
    search = GridSearchCV(pipeline, {"columntransformer__title__weight": weights}, cv=2)
    search.fit(pl.DataFrame({"title": titles}), labels)
    fitted = search.best_estimator_[0]
    assert list(fitted.get_feature_names_out()[:1]) == ["title__vitrina0"]


@pytest.mark.parametrize(
    ("weight", "titles", "message"),
    [
        (0, ["a"], r"^`weight` is 0; it must be a number above 0"),
        (float("nan"), ["a"], "^`weight` is nan"),
        (True, ["a"], "^`weight` is True"),
        (1.5, [], "^titles: there are no rows"),
        (1.5, ["a", 2], "^titles: row 1 is 2"),
        (1.5, np.zeros((2, WIDTH)), "^titles: got a table of shape"),
    ],
)
def test_bad_input_is_named(encoder, weight, titles, message):
    with pytest.raises(InputError, match=message):
        TitleFeatures(encoder, weight=weight).fit(titles)


def test_a_folder_is_no_encoder():
    wrong: Any = "encoder"
    with pytest.raises(InputError, match=r"TitleEncoder\.load"):
        TitleFeatures(wrong).fit(["a"])
