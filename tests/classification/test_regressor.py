"""TitleRegressor against scikit-learn's ridge regression on the same features."""

import json
import shutil
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import safetensors.numpy
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.features import TitleFeatures
from vitrina.classification.linear import features_of, tune_hyperparameters
from vitrina.classification.regressor import TitleRegressor
from vitrina.classification.saved import REGRESSOR
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.sealed import seal


@pytest.fixture(scope="module")
def titles(grocery_titles):
    return grocery_titles[:400]


@pytest.fixture(scope="module")
def lengths(titles):
    """Numbers that depend on the titles, with noise."""
    rng = np.random.default_rng(0)
    return np.array([len(title) + 10 * ("OZ" in title) for title in titles]) + rng.normal(
        size=len(titles)
    )


def ridge(features, targets, alpha, weights=None):
    """The closed form of ridge regression with an intercept that isn't penalised."""
    weights = np.ones(len(targets)) if weights is None else weights
    mean = weights @ features / weights.sum()
    offset = weights @ targets / weights.sum()
    centred = features - mean
    gram = centred.T * weights @ centred + alpha * np.eye(features.shape[1])
    coef = np.linalg.solve(gram, centred.T * weights @ (targets - offset))
    return coef, offset - mean @ coef


@pytest.mark.parametrize("weighted", [False, True])
def test_is_ridge_regression_on_vectors_and_words(encoder, titles, lengths, weighted):
    titles, lengths = titles[:80], lengths[:80]
    weights = np.random.default_rng(1).random(80) + 0.1 if weighted else None
    model = TitleRegressor(encoder, C=4.0).fit(titles, lengths, weights)
    features = TitleFeatures(encoder).fit_transform(titles).toarray()
    coef, intercept = ridge(features, lengths, 0.25, weights)
    expected = features @ coef + intercept
    np.testing.assert_allclose(model.predict(titles), expected, rtol=2e-3)
    assert model.coef_.shape == (1, features.shape[1])
    assert model.best_params_ == (1.5, 4.0)


def test_vectors_alone(encoder, titles, lengths):
    vectors = encoder.encode(titles)
    unit = features_of(vectors)
    expected = Ridge(alpha=0.5).fit(unit, lengths).predict(unit)
    for given in (titles, vectors, pl.Series(vectors, dtype=pl.Array(pl.Float32, 64))):
        model = TitleRegressor(encoder, C=2.0, use_words=False).fit(given, lengths)
        np.testing.assert_allclose(model.predict(given), expected, rtol=1e-6)
    with pytest.raises(InputError, match=r"^titles: .* vectors don't have"):
        TitleRegressor(encoder).fit(titles, lengths).predict(vectors)


def test_weights_are_repeated_rows(encoder, titles, lengths):
    times = np.arange(len(titles)) % 4
    weighted = TitleRegressor(encoder, C=1.0, use_words=False).fit(titles, lengths, times)
    repeated = TitleRegressor(encoder, C=1.0, use_words=False)
    repeated.fit(np.repeat(titles, times), np.repeat(lengths, times))
    np.testing.assert_allclose(weighted.predict(titles), repeated.predict(titles), rtol=1e-6)


def test_hyperparameters_are_chosen_by_cross_validation(encoder, titles, lengths):
    model = TitleRegressor(encoder).fit(titles, lengths)
    forms = encoder.weights.tokenizer.normalizer(titles)
    vectors = features_of(encoder.encode(titles))
    assert model.best_params_ == tune_hyperparameters("regression", lengths, 0, vectors, forms)
    assert model.score(titles, lengths) > 0.8
    search = GridSearchCV(TitleRegressor(encoder), {"C": np.array([0.5, 2.0])}, cv=2)
    assert search.fit(titles, lengths).best_params_["C"] in (0.5, 2.0)
    assert clone(model).get_params()["C"] is None


@pytest.mark.parametrize("use_words", [True, False])
def test_round_trip_predicts_the_same_bits(encoder, titles, lengths, tmp_path, use_words):
    model = TitleRegressor(encoder, C=0.7, use_words=use_words).fit(titles, 1e10 * lengths)
    model.save(tmp_path / "model")
    again = TitleRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(titles), model.predict(titles))
    assert again.get_params()["C"] == 0.7
    assert (again.use_words, again.best_params_) == (use_words, model.best_params_)
    alone = [model.predict([title])[0] for title in titles[:20]]
    np.testing.assert_array_equal(alone, model.predict(titles)[:20])
    TitleEncoder.load(tmp_path / "model" / "encoder")


def test_saved_folders_are_guarded(encoder, titles, lengths, tmp_path):
    folder = tmp_path / "model"
    model = TitleRegressor(encoder, C=1.0).fit(titles, lengths)
    model.save(folder)
    with pytest.raises(InputError, match="exists already"):
        model.save(folder)
    with pytest.raises(InputError, match="holds a vitrina regressor, not a vitrina classifier"):
        TitleClassifier.load(folder)
    classifier = TitleClassifier(encoder, C=1.0).fit(titles, lengths > 20)
    with pytest.raises(InputError, match="holds a vitrina regressor, which a vitrina classifier"):
        classifier.save(folder, force=True)
    classifier.save(tmp_path / "classifier")
    with pytest.raises(InputError, match="holds a vitrina classifier, not a vitrina regressor"):
        TitleRegressor.load(tmp_path / "classifier")
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"C": -1}))
    with pytest.raises(InputError, match=r"config\.json: is damaged"):
        TitleRegressor.load(folder)
    huge = TitleRegressor(encoder, C=1e12).fit(titles, lengths)
    huge.coef_ = huge.coef_ + 1e19
    with pytest.raises(InputError, match=r"can't be saved; fit with a smaller `C`"):
        huge.save(tmp_path / "huge")
    assert not (tmp_path / "huge").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coef": lambda coef: coef[:, 1:]}, "coef is float64 of shape"),
        ({"coef": lambda coef: coef.astype(np.float32)}, "coef is float32"),
        ({"coef": lambda coef: coef * np.nan}, "coef holds a number that is not from"),
        ({"intercept": lambda intercept: intercept + 1e19}, "intercept holds a number"),
        ({"hashes": lambda hashes: hashes[::-1].copy()}, "hashes are not sorted"),
        ({"idf": lambda idf: idf * 0}, "idf holds a number that is not from 1"),
        ({"idf": None, "hashes": None}, "coef is float64 of shape"),
        ({"intercept": None}, "holds the arrays coef, hashes, idf, not"),
    ],
)
def test_forged_arrays_are_refused(encoder, titles, lengths, tmp_path, changes, message):
    folder = tmp_path / "model"
    TitleRegressor(encoder, C=1.0).fit(titles, lengths).save(folder)
    arrays = safetensors.numpy.load_file(folder / "regressor.safetensors")
    for name, change in changes.items():
        array = arrays.pop(name)
        if change is not None:
            arrays[name] = change(array)
    (folder / "regressor.safetensors").write_bytes(safetensors.numpy.save(arrays))
    refused = sealed_again(folder)
    assert f"{folder / 'regressor.safetensors'}: {message}" in refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("C", -1),
        ("C", "1"),
        ("use_words", 1),
        ("params", [1.5, 1.0]),
        ("params", {"weight": 0, "C": 1.0}),
        ("params", {"weight": 1.5}),
    ],
)
def test_forged_settings_are_refused(encoder, titles, lengths, tmp_path, name, value):
    folder = tmp_path / "model"
    TitleRegressor(encoder, C=1.0).fit(titles, lengths).save(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {name: value}), "utf-8")
    assert sealed_again(folder).startswith(f"{folder / 'config.json'}: ")


def test_a_lexical_encoder_is_saved_whole(encoder, lexical_encoder, titles, lengths, tmp_path):
    folder = tmp_path / "model"
    model = TitleRegressor(lexical_encoder, C=1.0, use_words=False).fit(titles, lengths)
    model.save(folder)
    again = TitleRegressor.load(folder)
    assert again.encoder.weights.digest == lexical_encoder.weights.digest
    np.testing.assert_array_equal(again.predict(titles), model.predict(titles))
    shutil.rmtree(folder / "encoder")
    encoder.save(folder / "encoder")
    assert "regressor.safetensors: coef is float64 of shape" in sealed_again(folder)


def sealed_again(folder):
    """Seal a changed folder anew, so that its checksums agree; return why it is refused."""
    (folder / "manifest.json").unlink()
    seal(folder, REGRESSOR)
    with pytest.raises(InputError) as error:
        TitleRegressor.load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", [list, np.array, pl.Series, pd.Series])
def test_any_columns_of_numbers(encoder, titles, kind):
    numbers = [len(title) for title in titles]
    expected = TitleRegressor(encoder, C=1.0).fit(titles, np.array(numbers, float)).coef_
    found = TitleRegressor(encoder, C=1.0).fit(kind(titles), kind(numbers)).coef_
    np.testing.assert_array_equal(found, expected)
    exact = [Decimal(number) for number in numbers]
    found = TitleRegressor(encoder, C=1.0).fit(titles, exact).coef_
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("titles", "targets", "message"),
    [
        (["a", "b"], [1.0, 1.0], "^targets: all 2 are 1; there is nothing to learn"),
        (["a", "b"], [1.0, None], "^targets: row 1 has no number"),
        (["a", "b"], pd.Series([np.nan, 1.0]), "^targets: row 0 has no number"),
        (["a", "b"], [1.0, "2"], r"^targets: row 1 is '2' \(str\), not a number"),
        (["a", "b"], [True, False], r"^targets: row 0 is True \(bool\), not a number"),
        (["a", "b"], [1.0, np.inf], "^targets: row 1 is inf; numbers from -1e[+]12 to 1e[+]12"),
        (["a", "b"], [1, 10**400], "^targets: row 1 is inf"),
        (["a", "b", "c"], [0, 1], "^targets: there are 2 targets for 3 titles"),
        ([], [], "no rows"),
        (["a", 2], [0, 1], "^titles: row 1 is 2"),
    ],
)
def test_bad_input_is_named(encoder, titles, targets, message):
    with pytest.raises(InputError, match=message) as caught:
        TitleRegressor(encoder).fit(titles, targets)
    assert "\n" not in str(caught.value)


def test_bad_parameters_are_named(encoder):
    wrong: Any = "1"
    with pytest.raises(InputError, match=r"^`C` is '1'; it must be a number from 1e-12"):
        TitleRegressor(encoder, C=wrong).fit(["a", "b"], [0, 1])
