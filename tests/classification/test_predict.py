"""Fitting on a file, predicting a file and the cross-validated score, with real titles."""

import re

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.cross_validation import cross_validated
from vitrina.classification.predict import fit_file, predict_file, wants_logarithm
from vitrina.classification.regressor import TitleRegressor
from vitrina.classification.tfidf import HashedTfidf
from vitrina.errors import InputError


@pytest.fixture
def labels(grocery_titles):
    """Titles, and whether a size in ounces is in them."""
    titles = grocery_titles[:200]
    return pl.DataFrame({"title": titles, "ounces": ["OZ" in title for title in titles]})


def value(score):
    found = re.search(r": (\d\.\d+) ±", score)
    assert found
    return float(found[1])


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_fit_file_is_fit_on_its_columns(encoder, labels, tmp_path, suffix):
    path = tmp_path / f"labels.{suffix}"
    write = {"csv": "write_csv", "parquet": "write_parquet", "jsonl": "write_ndjson"}[suffix]
    getattr(labels.rename({"title": "name"}), write)(path)
    fitted, score, counts = fit_file(encoder, path, label_column="ounces", title_column="name")
    expected = TitleClassifier(encoder).fit(labels["title"], labels["ounces"])
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)
    classes = ["false", "true"] if suffix == "csv" else [False, True]
    assert fitted.classes_.tolist() == classes
    assert counts == {"rows": 200, "null_label": 0, "null_title": 0, "used": 200}
    of_lists = cross_validated(expected, labels["title"], labels["ounces"])
    assert score.lower() == of_lists.lower()  # a CSV file has no booleans
    assert score.startswith("5-fold AUC ROC: ")


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_rows_without_a_label_or_a_title_are_left_out(encoder, labels, tmp_path, missing):
    numbers = labels["ounces"].cast(pl.Float64)
    holes = labels.with_columns(
        pl.Series("ounces", [missing, missing, *numbers[2:]], dtype=pl.Float64, strict=False),
        pl.Series("title", [None, "a", None, *labels["title"][3:]]),
    )
    holes.write_parquet(tmp_path / "labels.parquet")
    fitted, _, counts = fit_file(encoder, tmp_path / "labels.parquet", label_column="ounces")
    assert counts == {"rows": 200, "null_label": 2, "null_title": 1, "used": 197}
    expected = TitleClassifier(encoder).fit(labels["title"][3:], labels["ounces"][3:])
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)
    assert fitted.classes_.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changed", "arguments", "message"),
    [
        ({"ounces": True}, {}, "labels: all 200 are True; give titles"),
        ({"ounces": 0.5}, {}, "labels: row 0 is 0.5"),
        ({"ounces": None}, {}, "no row of 200 has both a 'title' and a 'ounces': is this"),
        ({"title": 7}, {}, "titles: row 0 is 7"),
        ({}, {"label_column": "title"}, "column 'title' can't hold both the titles and their"),
        ({}, {"label_column": "brand"}, "no column 'brand'; there are: title, ounces"),
        (
            {},
            {"title_column": "name"},
            "no column 'name'; there are: title, ounces",
        ),
    ],
)
def test_labels_that_will_not_do_name_the_file(
    encoder, labels, tmp_path, changed, arguments, message
):
    path = tmp_path / "labels.parquet"
    labels.with_columns(**{name: pl.lit(v) for name, v in changed.items()}).write_parquet(path)
    with pytest.raises(InputError) as error:
        fit_file(encoder, path, **{"label_column": "ounces", **arguments})
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_predict_file_writes_what_predict_says(encoder, labels, tmp_path):
    labels.write_csv(tmp_path / "labels.csv")
    fitted, _, _ = fit_file(encoder, tmp_path / "labels.csv", label_column="ounces")
    out = tmp_path / "scores.parquet"
    assert predict_file(fitted, tmp_path / "labels.csv", out, quiet=True) == 200
    scores = pl.read_parquet(out)
    new = ["prediction", "probability_false", "probability_true"]
    assert scores.columns == ["title", "ounces", *new]
    assert scores["prediction"].to_list() == fitted.predict(labels["title"]).tolist()
    np.testing.assert_array_equal(
        scores.select(new[1:]).to_numpy(), fitted.predict_proba(labels["title"])
    )
    again = tmp_path / "again.parquet"
    with pytest.raises(InputError, match="has a column 'prediction' already"):
        predict_file(fitted, out, again, quiet=True)
    assert not again.exists()


def test_repeated_titles_do_not_leak_between_folds(encoder, grocery_titles):
    titles = grocery_titles[100:200]
    labels = np.random.default_rng(0).random(100) < 0.5  # nothing to learn but the titles
    spellings = [f(title) for f in (str, str.lower, str.title) * 2 for title in titles]
    model = TitleClassifier(encoder, C=1000.0)
    assert 0.35 < value(cross_validated(model, spellings, np.tile(labels, 6))) < 0.65
    # the classifier could tell every title that it has seen
    assert model.fit(spellings, np.tile(labels, 6)).score(titles, labels) > 0.8


def test_scores_of_several_and_of_rare_classes(encoder, grocery_titles):
    model, titles = TitleClassifier(encoder), grocery_titles[:60]
    score = cross_validated(model, titles, [i % 3 for i in range(60)])
    assert re.fullmatch(
        r"5-fold accuracy: 0\.\d{3} ± 0\.\d{3} \(most frequent class: 0\.333\); of words alone: "
        r"0\.\d{3} ± 0\.\d{3}\nclasses: 0 20 \(33\.3%\) · 1 20 \(33\.3%\) · 2 20 \(33\.3%\)",
        score,
    )
    # many rows, few titles
    rows = [*titles, *titles[:4] * 3]
    score = cross_validated(model, rows, ["rare" if row in titles[:4] else "x" for row in rows])
    first, balance = score.splitlines()
    assert first == "no cross-validation: class 'rare' has 4 distinct titles; 5 are needed"
    assert balance == "classes: x 56 (77.8%) · rare 16 (22.2%)"


def test_score_and_thresholds_are_those_of_the_folds(encoder, labels):
    """All figures, from the folds as scikit-learn makes them and its own metrics."""
    model = TitleClassifier(encoder, C=1.0)
    titles, truth = labels["title"].to_numpy(), labels["ounces"].to_numpy()
    score = cross_validated(model, labels["title"], labels["ounces"])
    first, balance, thresholds = score.splitlines()
    assert balance.startswith("classes: ")
    forms = np.array(encoder.weights.tokenizer.normalizer(titles), dtype=object)
    probability, words, aucs, aucs_of_words = np.empty(200), np.empty(200), [], []
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(
        forms, truth, forms
    ):
        fitted = TitleClassifier(encoder, C=1.0).fit(titles[train], truth[train])
        probability[test] = fitted.predict_proba(titles[test])[:, 1]
        aucs.append(roc_auc_score(truth[test], probability[test]))
        tfidf = HashedTfidf.fit(forms[train])
        of_words = LogisticRegression(C=10, solver="liblinear", max_iter=1000)
        of_words.fit(tfidf(forms[train]), truth[train])
        words[test] = of_words.decision_function(tfidf(forms[test]))
        aucs_of_words.append(roc_auc_score(truth[test], words[test]))
    assert first == (
        f"5-fold AUC ROC: {np.mean(aucs):.3f} ± {np.std(aucs):.3f}; "
        f"of words alone: {np.mean(aucs_of_words):.3f} ± {np.std(aucs_of_words):.3f}"
    )
    found = re.findall(r"(\d\.\d+): precision (\d\.\d+), recall (\d\.\d+)", thresholds)
    best = max(np.unique(probability), key=lambda at: f1_score(truth, probability >= at))
    for at, (shown, precision, recall) in zip((0.5, best), found, strict=True):
        assert shown == f"{at:.2f}"
        assert precision == f"{precision_score(truth, probability >= at):.2f}"
        assert recall == f"{recall_score(truth, probability >= at):.2f}"


def test_rows_without_a_title_get_no_prediction(encoder, labels, tmp_path):
    table = pl.DataFrame({"title": [None, *labels["title"][:3], None]})
    model = TitleClassifier(encoder, C=1.0).fit(labels["title"], labels["ounces"])
    predict_file(model, table, tmp_path / "scores.parquet", quiet=True)
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    for column in ("prediction", "probability_False", "probability_True"):
        assert scores[column].is_null().to_list() == [True, False, False, False, True]
    sizes = TitleRegressor(encoder, C=1.0).fit(labels["title"], range(200))
    predict_file(sizes, table, tmp_path / "numbers.parquet", quiet=True)
    numbers = pl.read_parquet(tmp_path / "numbers.parquet")["prediction"]
    assert numbers.is_null().to_list() == [True, False, False, False, True]


def test_many_classes_are_a_warning_that_names_the_column(encoder, grocery_titles, capsys):
    table = pl.DataFrame({"title": grocery_titles[:510], "sku": [f"p{i}" for i in range(510)]})
    fit_file(TitleClassifier(encoder, C=1.0), table, label_column="sku")
    assert "warning: 'sku' has 510 classes" in capsys.readouterr().err


def test_a_batch_is_scored_in_parts(encoder, labels, tmp_path, monkeypatch):
    model = TitleClassifier(encoder, C=1.0).fit(labels["title"], labels["ounces"])
    sizes = []
    predict_proba = TitleClassifier.predict_proba

    def counting(self, titles):
        sizes.append(len(titles))
        return predict_proba(self, titles)

    monkeypatch.setattr(TitleClassifier, "predict_proba", counting)
    monkeypatch.setattr("vitrina.classification.prediction_columns._SCORED_AT_ONCE", 120)
    predict_file(model, labels, tmp_path / "out.parquet", quiet=True)
    assert sizes == [60, 60, 60, 20]
    found = pl.read_parquet(tmp_path / "out.parquet")
    expected = predict_proba(model, labels["title"])
    np.testing.assert_array_equal(found["probability_True"], expected[:, 1])
    assert found["prediction"].to_list() == model.predict(labels["title"]).tolist()


@pytest.fixture
def sizes(grocery_titles):
    """Titles and numbers that depend on them, as text, as in a CSV file."""
    titles = grocery_titles[:200]
    return pl.DataFrame({"title": titles, "size": [f" {len(t) + ('OZ' in t)}.5 " for t in titles]})


def test_numbers_are_fitted_and_predicted_from_files(encoder, sizes, tmp_path):
    sizes[3, "size"] = " "
    sizes.write_csv(tmp_path / "sizes.csv")
    model = TitleRegressor(encoder)
    fitted, score, counts = fit_file(model, tmp_path / "sizes.csv", label_column="size")
    assert counts == {"rows": 200, "null_label": 1, "null_title": 0, "used": 199}
    used = sizes.filter(pl.col("size") != " ")
    numbers = used["size"].str.strip_chars().cast(pl.Float64)
    expected = TitleRegressor(encoder).fit(used["title"], numbers)
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)
    found = re.fullmatch(
        r"5-fold R²: (0\.\d{3}) ± 0\.\d{3}, mean absolute error: ([\d.]+) ± [\d.]+ "
        r"\(of the median: ([\d.]+)\)",
        score,
    )
    assert found
    assert float(found[1]) > 0.5
    assert float(found[2]) < float(found[3])

    out = tmp_path / "out.parquet"
    assert predict_file(fitted, tmp_path / "sizes.csv", out, quiet=True) == 200
    table = pl.read_parquet(out)
    assert table.columns == ["title", "size", "prediction"]
    np.testing.assert_array_equal(table["prediction"], fitted.predict(sizes["title"]))


def test_the_score_of_numbers_is_that_of_folds_of_titles(encoder, grocery_titles):
    """Nothing can be learnt from the titles but themselves, which repeat."""
    titles = grocery_titles[:60] * 5
    numbers = np.tile(np.random.default_rng(0).normal(size=60), 5)
    model = TitleRegressor(encoder, C=1000.0)
    found = re.search(r"R²: (-?\d+\.\d+)", cross_validated(model, titles, numbers))
    assert found
    assert float(found[1]) < 0.3
    assert model.fit(titles, numbers).score(titles, numbers) > 0.9
    score = cross_validated(model, titles[:9] * 3, numbers[:27])
    assert score == "no cross-validation: there are 9 distinct titles; 10 are needed"
    score = cross_validated(model, titles[:60], [0.0] * 59 + [1.0])
    assert score == "no cross-validation: too many of the numbers are the same"


def test_only_the_two_columns_are_read(encoder, labels):
    def fail(column: pl.Series) -> pl.Series:
        raise AssertionError("was read")

    other = pl.col("title").map_batches(fail, return_dtype=pl.String)
    table = labels.lazy().with_columns(other=other)
    fitted, _, _ = fit_file(encoder, table, label_column="ounces")
    expected = TitleClassifier(encoder).fit(labels["title"], labels["ounces"])
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)


@pytest.mark.parametrize("value", [1e300, float("inf")])
def test_numbers_that_are_too_large_are_named(encoder, sizes, tmp_path, value):
    numbers = sizes["size"].str.strip_chars().cast(pl.Float64).to_list()
    numbers[2:8] = [None, float("nan"), 1.0, 1.0, value, 1.0]
    table = sizes.with_columns(size=pl.Series(numbers, dtype=pl.Float64, strict=False))
    path = tmp_path / "sizes.parquet"
    table.write_parquet(path)
    with pytest.raises(InputError, match=r"no number in row 6 \('(1e\+300|inf)'\)"):
        fit_file(TitleRegressor(encoder), path, label_column="size")


def test_text_that_is_no_number_is_named(encoder, sizes, tmp_path):
    sizes[7, "size"] = "12,5 cm"
    path = tmp_path / "sizes.csv"
    sizes.write_csv(path)
    with pytest.raises(InputError, match=r"no number in row 7 \('12,5 cm'\)") as error:
        fit_file(TitleRegressor(encoder), path, label_column="size")
    assert str(error.value).startswith(f"{path}: column 'size' has")
    flags = sizes.with_columns(size=pl.lit(True))
    with pytest.raises(InputError, match=r"the table given: targets: row 0 is True"):
        fit_file(TitleRegressor(encoder), flags, label_column="size")


def test_skewed_numbers_want_their_logarithm(encoder, sizes, capsys):
    rng = np.random.default_rng(0)
    normal = rng.normal(size=200)
    expected = {
        "log-normal": (np.exp(1.5 * normal), True),
        "with a zero": (np.append(np.exp(1.5 * normal[1:]), 0), False),
        "with negative numbers": (np.exp(1.5 * normal) - 0.1, False),
        "normal": (100 + normal, False),
        "uniform": (rng.random(200), False),
        "all equal": (np.full(200, 3.0), False),
    }
    assert {name: wants_logarithm(numbers) for name, (numbers, _) in expected.items()} == {
        name: wanted for name, (_, wanted) in expected.items()
    }
    for name in ("log-normal", "normal"):
        table = sizes.with_columns(size=pl.Series(expected[name][0]))
        fit_file(TitleRegressor(encoder, C=1.0), table, label_column="size")
        shown = capsys.readouterr()
        assert ("warning: the numbers in 'size' are all above 0" in shown.err) == (
            name == "log-normal"
        )


def test_a_classifier_may_be_given_with_its_parameters(encoder, labels):
    model = TitleClassifier(encoder, C=2.0, class_weight="balanced")
    fitted, _, _ = fit_file(model, labels, label_column="ounces")
    expected = TitleClassifier(encoder, C=2.0, class_weight="balanced")
    expected.fit(labels["title"], labels["ounces"])
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)
