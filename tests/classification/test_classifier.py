"""TitleClassifier against scikit-learn's models on the same features, and in its tools."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import hstack
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import normalize
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import check_estimator

from vitrina.classification import features as module
from vitrina.classification import title_model
from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.features import TitleFeatures
from vitrina.classification.linear import features_of, tune_hyperparameters
from vitrina.classification.regressor import TitleRegressor
from vitrina.classification.saved import CLASSIFIER
from vitrina.classification.tfidf import HashedTfidf
from vitrina.data.sources import completejourney_tables
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.errors import InputError
from vitrina.sealed import seal
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer


@pytest.fixture(scope="module")
def products():
    """A few hundred real products: title, brand ('National', 'Private') and department."""
    table = pl.read_parquet(completejourney_tables() / "products.parquet")
    table = table.select(
        "brand", "department", title=pl.concat_str("product_type", "package_size", separator=" ")
    ).drop_nulls()
    return table.sample(400, seed=0)


@pytest.fixture(scope="module")
def tokenizer(products):
    return TitleTokenizer.train(products["title"], Normalizer("en"), 300)


@pytest.fixture
def encoder(tokenizer):
    """A new encoder for every test, so that no test finds vectors that another has cached."""
    return TitleEncoder(initial_weights(tokenizer, dim=16, filters=4), threads=1)


@pytest.fixture
def counted(encoder, monkeypatch):
    """The titles that are really encoded, not taken from the cache, in order."""
    seen: list[str] = []
    encode = TitleEncoder.encode

    def counting(self, titles):
        seen.extend(titles)
        return encode(self, titles)

    monkeypatch.setattr(TitleEncoder, "encode", counting)
    return seen


def test_is_scikit_learns_regression_on_the_vectors(encoder, products):
    titles, brands = products["title"], products["brand"]
    ours = TitleClassifier(encoder, C=2.0, use_words=False).fit(titles, brands)
    vectors = normalize(encoder.transform(titles).astype(np.float64))
    theirs = LogisticRegression(C=2.0, solver="liblinear", max_iter=1000).fit(vectors, brands)
    assert list(ours.classes_) == ["National", "Private"]
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(titles), theirs.predict_proba(vectors), rtol=1e-6)
    np.testing.assert_array_equal(ours.predict(titles), theirs.predict(vectors))
    assert ours.score(titles, brands) == theirs.score(vectors, brands)
    np.testing.assert_allclose(
        ours.decision_function(titles), theirs.decision_function(vectors), rtol=1e-6, atol=1e-9
    )


def test_words_count_beside_the_vectors_as_in_scikit_learn(encoder, products):
    titles, brands = products["title"], products["brand"]
    new = [f"{title} zyxwv" for title in titles.sort()]
    ours = TitleClassifier(encoder, C=3.0).fit(titles, brands)
    normalizer = encoder.weights.tokenizer.normalizer
    tfidf = HashedTfidf.fit(normalizer(titles))
    vectors = normalize(encoder.transform([*titles, *new]).astype(np.float64))
    words = tfidf(normalizer([*titles, *new]))
    features = hstack([1.5 * vectors, words]).tocsr()
    theirs = LogisticRegression(C=3.0, solver="liblinear", max_iter=1000)
    theirs.fit(features[: len(titles)], brands)
    assert ours.coef_.shape == (1, 16 + len(tfidf.hashes))
    np.testing.assert_allclose(
        ours.decision_function(new),
        theirs.decision_function(features[len(titles) :]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_titles_without_words_are_classified(encoder):
    model = TitleClassifier(encoder).fit(["", "!?"], [0, 1])
    assert model.tfidf_ is not None
    assert model.tfidf_.hashes.shape == (0,)
    assert model.predict_proba(["milk", None]).shape == (2, 2)


def test_a_saved_classifier_may_have_no_words(encoder, products, tmp_path):
    model = TitleClassifier(encoder, use_words=False).fit(products["title"], products["brand"])
    model.save(tmp_path / "model")
    again = TitleClassifier.load(tmp_path / "model")
    assert (again.use_words, again.tfidf_) == (False, None)
    np.testing.assert_array_equal(
        again.decision_function(products["title"]), model.decision_function(products["title"])
    )


def test_how_much_vectors_weigh_is_chosen_and_kept(encoder, products, tmp_path):
    titles = products["title"].unique(maintain_order=True)
    labels = [len(title.split()) > 4 for title in titles]
    assert len(titles) > 300
    model = TitleClassifier(encoder).fit(titles, labels)
    normalizer = encoder.weights.tokenizer.normalizer
    vectors = features_of(encoder.transform(titles))
    assert model.best_params_ == tune_hyperparameters(
        "binary", np.array(labels), 2, vectors, normalizer(titles)
    )
    model.save(tmp_path / "model")
    again = TitleClassifier.load(tmp_path / "model")
    assert (again.C, again.best_params_) == (None, model.best_params_)
    np.testing.assert_array_equal(again.decision_function(titles), model.decision_function(titles))
    fixed = TitleClassifier(encoder, C=model.best_params_.C).fit(titles, labels)
    assert fixed.best_params_ == (1.5, model.best_params_.C)


@pytest.mark.parametrize("format_version", [1, 2, 3, 4])
def test_classifiers_of_older_formats_predict_the_same(encoder, products, tmp_path, format_version):
    model = TitleClassifier(encoder, C=2.0, use_words=format_version > 1)
    model.fit(products["title"], products["brand"]).save(tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text("utf-8"))
    assert config.pop("class_weight") is None
    if format_version <= 3:
        use_words, params = config.pop("use_words"), config.pop("params")
        config |= {"lexical": use_words} if format_version >= 2 else {}
        config |= {"setting": params} if format_version == 3 else {}
    file.write_text(json.dumps(config), "utf-8")
    (tmp_path / "model" / "manifest.json").unlink()
    seal(tmp_path / "model", replace(CLASSIFIER, format_version=format_version))
    again = TitleClassifier.load(tmp_path / "model")
    assert (again.use_words, again.best_params_) == (format_version > 1, (1.5, 2.0))
    np.testing.assert_array_equal(
        again.predict_proba(products["title"]), model.predict_proba(products["title"])
    )


def test_vectors_have_no_words(encoder, products):
    titles, brands = products["title"], products["brand"]
    model = TitleClassifier(encoder).fit(titles, brands)
    with pytest.raises(InputError, match=r"^titles: .* vectors don't have; .*`use_words` to False"):
        model.predict(encoder.transform(titles))


def test_several_classes_are_one_against_the_rest(encoder, products):
    common = products["department"].value_counts(sort=True)["department"].head(4)
    some = products.filter(pl.col("department").is_in(common.to_list()))
    ours = TitleClassifier(encoder, C=1.0, use_words=False).fit(some["title"], some["department"])
    vectors = normalize(encoder.transform(some["title"]).astype(np.float64))
    theirs = OneVsRestClassifier(LogisticRegression(solver="liblinear", max_iter=1000))
    theirs.fit(vectors, some["department"].to_numpy())
    probabilities = ours.predict_proba(some["title"])
    assert list(ours.classes_) == sorted(common)
    np.testing.assert_allclose(probabilities, theirs.predict_proba(vectors))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(ours.predict(some["title"]), theirs.predict(vectors))


def test_a_title_scores_the_same_alone_and_in_a_batch(encoder, products):
    for labels in (products["brand"], products["department"]):
        model = TitleClassifier(encoder).fit(products["title"], labels)
        batch = model.decision_function(products["title"])
        alone = [model.decision_function([title])[0] for title in products["title"]]
        np.testing.assert_array_equal(batch, alone)


@pytest.mark.parametrize("column", ["brand", "department"])
def test_weights_of_rows_are_those_of_scikit_learn(encoder, products, column):
    common = products[column].value_counts(sort=True)[column].head(3).to_list()
    some = products.filter(pl.col(column).is_in(common))
    titles, labels = some["title"], some[column]
    weights = np.random.default_rng(0).random(len(some)) * 2
    ours = TitleClassifier(encoder, C=2.0).fit(titles, labels, sample_weight=pl.Series(weights))
    features = TitleFeatures(encoder).fit_transform(titles)
    for coef, label in zip(ours.coef_, ours.classes_[-len(ours.coef_) :], strict=True):
        theirs = LogisticRegression(C=2.0, solver="liblinear", max_iter=1000)
        theirs.fit(features, labels == label, weights)
        np.testing.assert_allclose(coef, theirs.coef_[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("column", ["brand", "department"])
def test_weights_are_repeated_rows(encoder, products, column):
    titles, labels = products["title"].to_numpy(), products[column].to_numpy()
    times = np.arange(len(titles)) % 4
    weighted = TitleClassifier(encoder, C=1.0, use_words=False).fit(titles, labels, times)
    repeated = TitleClassifier(encoder, C=1.0, use_words=False)
    repeated.fit(np.repeat(titles, times), np.repeat(labels, times))
    np.testing.assert_array_equal(weighted.classes_, repeated.classes_)
    np.testing.assert_allclose(
        weighted.decision_function(titles), repeated.decision_function(titles), atol=1e-3
    )


def test_balanced_classes_have_the_weights_of_scikit_learn(encoder, products):
    titles, labels = products["title"], products["department"].to_numpy()
    ours = TitleClassifier(encoder, C=1.0, class_weight="balanced").fit(titles, labels)
    weights = compute_sample_weight("balanced", labels)
    expected = TitleClassifier(encoder, C=1.0).fit(titles, labels, weights)
    np.testing.assert_allclose(ours.coef_, expected.coef_, rtol=1e-6, atol=1e-9)


def test_rows_of_weight_0_are_as_if_they_were_not_there(encoder, products):
    titles, brands = products["title"], products["brand"]
    weights = np.arange(len(titles)) % 3
    ours = TitleClassifier(encoder).fit(titles, brands, weights)
    kept = products.filter(weights > 0)
    expected = TitleClassifier(encoder).fit(kept["title"], kept["brand"], weights[weights > 0])
    np.testing.assert_array_equal(ours.coef_, expected.coef_)
    vectors = encoder.encode(titles)
    ours = TitleClassifier(encoder).fit(vectors, brands, weights)
    expected = TitleClassifier(encoder, use_words=False).fit(titles, brands, weights)
    np.testing.assert_array_equal(ours.coef_, expected.coef_)


@pytest.mark.parametrize("weight", ["balanced", {"Private": 5}, {"Private": 5, "National": 2.5}])
def test_weights_of_classes_are_those_of_scikit_learn(encoder, products, weight, tmp_path):
    titles, brands = products["title"], products["brand"]
    ours = TitleClassifier(encoder, C=2.0, class_weight=weight).fit(titles, brands)
    features = TitleFeatures(encoder).fit_transform(titles)
    theirs = LogisticRegression(C=2.0, solver="liblinear", max_iter=1000, class_weight=weight)
    if weight == {"Private": 5}:  # scikit-learn wants both
        theirs.set_params(class_weight={"Private": 5, "National": 1})
    theirs.fit(features, brands)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-9)

    ours.save(tmp_path / "model")
    again = TitleClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.coef_, ours.coef_)
    np.testing.assert_array_equal(clone(again).fit(titles, brands).coef_, ours.coef_)


def test_weights_of_classes_multiply_those_of_rows(encoder, products):
    titles, private = products["title"], products["brand"] == "Private"
    rows = np.random.default_rng(0).random(len(titles)) + 0.5
    both = TitleClassifier(encoder, C=1.0, class_weight={True: 3}).fit(titles, private, rows)
    product = np.where(private, 3 * rows, rows)
    expected = TitleClassifier(encoder, C=1.0).fit(titles, private, product)
    np.testing.assert_array_equal(both.coef_, expected.coef_)
    balanced = TitleClassifier(encoder, C=1.0, class_weight="balanced").fit(titles, private, rows)
    total = rows[private].sum(), rows[~private].sum()
    product = rows * sum(total) / 2 / np.where(private, *total)
    expected = TitleClassifier(encoder, C=1.0).fit(titles, private, product)
    np.testing.assert_allclose(balanced.coef_, expected.coef_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "^weights: there are 1 weights for 2 titles"),
        ([1.0, -1.0], "^weights: row 1 is -1; a weight is 0 or more"),
        ([1.0, None], "^weights: row 1 has no number"),
        ([1.0, 1e-300], "^weights: row 1 is 1e-300; a weight is 0 or at least 1e-09"),
        ([1.0, np.inf], "^weights: row 1 is inf"),
        ([0.0, 0.0], "^weights: all are 0"),
        ([1.0, 0.0], "^labels: all 1 are 0"),
    ],
)
def test_bad_weights_are_named(encoder, weights, message):
    with pytest.raises(InputError, match=message):
        TitleClassifier(encoder).fit(["a", "b"], [0, 1], sample_weight=weights)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("even", "^`class_weight` is 'even'; it must be 'balanced', a dict"),
        ({"0": 1.0}, "^`class_weight` has the class '0', which no row has"),
        ({0: 0.0}, "^`class_weight` of 0 is 0.0; it must be a number from 1e-09 to 1e[+]09"),
        ({0: 1e-300}, "^`class_weight` of 0 is 1e-300"),
        ({0: "2"}, "^`class_weight` of 0 is '2'"),
    ],
)
def test_bad_weights_of_classes_are_named(encoder, weight, message):
    with pytest.raises(InputError, match=message):
        TitleClassifier(encoder, class_weight=weight).fit(["a", "b"], [0, 1])


@pytest.mark.parametrize("weight", ["even", [1.0], [1.0, 0.0], [1.0, "2"], {"National": 1}, 1])
def test_stored_weights_of_classes_are_checked(encoder, products, tmp_path, weight):
    folder = tmp_path / "model"
    TitleClassifier(encoder).fit(products["title"], products["brand"]).save(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"class_weight": weight}), "utf-8")
    (folder / "manifest.json").unlink()
    seal(folder, CLASSIFIER)
    with pytest.raises(InputError, match=r"config\.json: class_weight is .*; it should be null"):
        TitleClassifier.load(folder)


@pytest.mark.parametrize("kind", [list, np.array, pl.Series, pd.Series, pa.array])
@pytest.mark.parametrize("labels", [["no", "yes"], [3, 20], [False, True]])
def test_any_columns(encoder, products, kind, labels):
    titles = products["title"].to_list()
    values = [labels[brand == "Private"] for brand in products["brand"]]
    model = TitleClassifier(encoder).fit(kind(titles), kind(values))
    assert model.classes_.tolist() == labels
    assert set(model.predict(kind(titles)).tolist()) <= set(labels)
    expected = TitleClassifier(encoder).fit(titles, products["brand"])
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert model.score(kind(titles), kind(values)) == expected.score(titles, products["brand"])


def test_whole_floats_are_integers(encoder, products):
    labels = (products["brand"] == "Private").cast(pl.Float64)
    model = TitleClassifier(encoder).fit(products["title"], labels)
    assert model.classes_.dtype == np.int64
    assert model.classes_.tolist() == [0, 1]


def test_ready_vectors_serve_as_titles(encoder, products):
    titles, brands = products["title"], products["brand"]
    vectors = encoder.transform(titles)
    expected = TitleClassifier(encoder, use_words=False).fit(titles, brands)
    as_column = pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
    for given in (vectors, as_column, pl.DataFrame(vectors), pd.DataFrame(vectors)):
        model = TitleClassifier(encoder).fit(given, brands)
        np.testing.assert_array_equal(model.coef_, expected.coef_)
        np.testing.assert_array_equal(model.predict_proba(given), expected.predict_proba(titles))


def test_cross_validation_embeds_each_title_once(encoder, products, counted):
    titles, brands = products["title"].to_numpy(), products["brand"].to_numpy()
    model = TitleClassifier(encoder)
    scores = cross_val_score(model, titles, brands == "Private", cv=3, scoring="roc_auc")
    search = GridSearchCV(model, {"C": [0.1, 10.0]}, cv=3, scoring="roc_auc")
    search.fit(titles, brands == "Private")
    clone(model).fit(titles, brands).predict(titles)
    assert len(scores) == 3
    assert np.isfinite(scores).all()
    assert search.best_params_["C"] in (0.1, 10.0)
    assert sorted(counted) == sorted(set(titles))


def test_memory_of_vectors_is_bounded_and_goes_with_the_encoder(
    encoder, products, counted, monkeypatch
):
    monkeypatch.setattr(module, "_MAX_CACHED_TITLES", 10)
    titles = list(dict.fromkeys(products["title"]))
    labels = [i % 2 for i in range(len(titles))]
    model = TitleClassifier(encoder).fit(titles, labels)
    assert sum(map(len, module._cache[encoder.weights].values())) == 10
    counted.clear()
    model.predict(titles)
    assert counted == titles[10:]
    kept = len(module._cache)
    del model, encoder.weights
    assert len(module._cache) == kept - 1


def test_none_is_the_empty_title_and_no_titles_give_no_predictions(encoder, products):
    model = TitleClassifier(encoder).fit(products["title"], products["brand"])
    assert model.predict_proba([None])[0].tolist() == model.predict_proba([""])[0].tolist()
    assert model.predict([]).shape == (0,)
    assert model.predict_proba([]).shape == (0, 2)


def test_many_titles_are_scored_in_chunks(encoder, products, monkeypatch):
    model = TitleClassifier(encoder).fit(products["title"], products["brand"])
    expected = model.predict_proba(products["title"])
    monkeypatch.setattr(title_model, "_CHUNK_ROWS", 7)
    np.testing.assert_array_equal(model.predict_proba(products["title"]), expected)


@pytest.mark.parametrize("column", ["brand", "department"])
def test_round_trip_predicts_the_same_bits(encoder, products, tmp_path, column):
    model = TitleClassifier(encoder, C=0.3).fit(products["title"], products[column])
    model.save(tmp_path / "model")
    again = TitleClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.predict_proba(products["title"]), model.predict_proba(products["title"])
    )
    np.testing.assert_array_equal(
        again.predict(products["title"]), model.predict(products["title"])
    )
    assert again.classes_.dtype == model.classes_.dtype
    assert again.C == 0.3
    TitleEncoder.load(tmp_path / "model" / "encoder")  # stands alone
    assert not list(tmp_path.rglob("*.pkl"))


@pytest.mark.parametrize("labels", [[1, 2], [False, True]])
def test_classes_keep_their_type(encoder, tmp_path, labels):
    model = TitleClassifier(encoder).fit(["milk", "bread", "milk 1 l", "bread white"], labels * 2)
    model.save(tmp_path / "model")
    again = TitleClassifier.load(tmp_path / "model")
    assert again.classes_.dtype == model.classes_.dtype
    assert again.predict(["milk"]).dtype == model.predict(["milk"]).dtype


def test_saved_folders_are_guarded(encoder, products, tmp_path):
    model = TitleClassifier(encoder).fit(products["title"], products["brand"])
    folder = tmp_path / "model"
    model.save(folder)
    with pytest.raises(InputError, match="exists already"):
        model.save(folder)
    model.save(folder, force=True)
    with pytest.raises(InputError, match="no such folder"):
        TitleClassifier.load(tmp_path / "other")
    with pytest.raises(InputError, match="holds a vitrina encoder, not a vitrina classifier"):
        TitleClassifier.load(folder / "encoder")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(InputError, match="newer"):
        TitleClassifier.load(folder)
    model.save(folder, force=True)
    weights = folder / "classifier.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(InputError, match=r"classifier\.safetensors: is damaged"):
        TitleClassifier.load(folder)
    (folder / "encoder" / "tokenizer.model").unlink()
    with pytest.raises(InputError, match=r"is missing|is damaged"):
        TitleClassifier.load(folder)


@pytest.mark.parametrize(
    ("titles", "labels", "message"),
    [
        (["a", "b"], [1, 1], "labels: all 2 are 1"),
        (["a", "b"], [1, None], "labels: row 1 has no label"),
        (["a", "b"], pd.Series(["x", None]), "labels: row 1 has no label"),
        (["a", "b"], np.array([np.nan, 1]), "labels: row 0 has no label"),
        (["a", "b", "c"], [0, 1], "2 labels for 3 titles"),
        (["a", "b"], [1, "x"], r"row 1 is 'x' \(str\), row 0 is 1 \(int\)"),
        (["a", "b"], [0.5, 1.0], r"row 0 is 0\.5 \(float\)"),
        (["a", "b"], np.eye(2), r"labels: got a table of shape \(2, 2\)"),
        (["a", "b"], "ab", "labels: got one string"),
        ([], [], "no rows"),
        ("ab", [0, 1], "titles: got one string"),
        (["a", 2], [0, 1], "titles: row 1 is 2"),
        (np.zeros((2, 3)), [0, 1], "have 3 dimensions, but this encoder's have 16"),
        (np.array([[0.0] * 16, [np.inf] * 16]), [0, 1], "vectors: row 1 is not finite"),
        (np.zeros((0, 16)), [], "no rows"),
    ],
)
def test_bad_input_is_named(encoder, titles, labels, message):
    with pytest.raises(InputError, match=message) as caught:
        TitleClassifier(encoder).fit(titles, labels)
    assert "\n" not in str(caught.value)


def test_strengths_of_a_search_may_be_numbers_of_numpy(encoder, products, tmp_path):
    search = GridSearchCV(TitleClassifier(encoder), {"C": np.arange(1, 3)}, cv=2)
    best = search.fit(products["title"], products["brand"]).best_estimator_
    best.save(tmp_path / "model")
    again = TitleClassifier.load(tmp_path / "model")
    assert again.C == best.C
    np.testing.assert_array_equal(again.coef_, best.coef_)
    strength: Any = np.float32(0.5)
    half = TitleClassifier(encoder, C=strength).fit(products["title"], products["brand"])
    same = TitleClassifier(encoder, C=0.5).fit(products["title"], products["brand"])
    np.testing.assert_array_equal(half.coef_, same.coef_)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [TitleClassifier, TitleRegressor])
def test_scikit_learns_checks_that_need_no_numeric_table(encoder, kind):
    results = check_estimator(kind(encoder), on_fail=None, on_skip=None)
    passed = {result["check_name"] for result in results if result["status"] == "passed"}
    assert passed >= {
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimators_unfitted",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    }


def test_bad_parameters_are_named(encoder):
    wrong: Any
    for wrong in (0, -1.0, float("nan"), "1", 1e-320, 1e300):
        with pytest.raises(InputError, match=r"^`C` is .*from 1e-12 to 1e[+]12"):
            TitleClassifier(encoder, C=wrong).fit(["a", "b"], [0, 1])
    with pytest.raises(InputError, match=r"TitleEncoder\.load"):
        TitleClassifier("demo/encoder").fit(["a", "b"], [0, 1])  # type: ignore[arg-type]


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_an_encoder_set_to_give_frames_serves_as_well(encoder, products, output):
    titles, brands = products["title"][:200], products["brand"][:200]
    framed = clone(encoder).set_output(transform=output)
    expected = TitleClassifier(encoder).fit(titles, brands).decision_function(titles)
    module._cache.clear()
    ours = TitleClassifier(framed).fit(titles, brands).decision_function(titles)
    np.testing.assert_array_equal(ours, expected)
