"""Fitting on a file, predicting a file and the cross-validated score, with real titles."""

import re

import numpy as np
import polars as pl
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.predict import cross_validated, fit_file, predict_file
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
    assert score == cross_validated(expected, labels["title"], labels["ounces"])
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
        r"5-fold accuracy: 0\.\d{3} ± 0\.\d{3} \(most frequent class: 0\.333\)", score
    )
    # many rows, few titles
    rows = [*titles, *titles[:4] * 3]
    score = cross_validated(model, rows, ["rare" if row in titles[:4] else "x" for row in rows])
    assert score == "no cross-validation: class 'rare' has 4 distinct titles; 5 are needed"


def test_a_batch_is_scored_in_parts(encoder, labels, tmp_path, monkeypatch):
    model = TitleClassifier(encoder, C=1.0).fit(labels["title"], labels["ounces"])
    sizes = []
    predict_proba = TitleClassifier.predict_proba

    def counting(self, titles):
        sizes.append(len(titles))
        return predict_proba(self, titles)

    monkeypatch.setattr(TitleClassifier, "predict_proba", counting)
    monkeypatch.setattr("vitrina.classification.predict._SCORED_AT_ONCE", 120)
    predict_file(model, labels, tmp_path / "out.parquet", quiet=True)
    assert sizes == [60, 60, 60, 20]
    found = pl.read_parquet(tmp_path / "out.parquet")
    expected = predict_proba(model, labels["title"])
    np.testing.assert_array_equal(found["probability_True"], expected[:, 1])
    assert found["prediction"].to_list() == model.predict(labels["title"]).tolist()
