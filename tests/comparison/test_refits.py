"""The classifier on stored labels, against scikit-learn's cross-validation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.cross_validation import FOLDS
from vitrina.comparison.refits import read_labelled, refit
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.errors import InputError
from vitrina.text.tokenizer import TitleTokenizer


@pytest.fixture(scope="module")
def other(tokenizer: TitleTokenizer) -> TitleEncoder:
    return TitleEncoder(initial_weights(tokenizer, dim=8, filters=2, seed=9))


def table_of(titles: list[str], n_classes: int) -> pl.DataFrame:
    """Titles, some of them twice, with labels that their first letter nearly tells."""
    some = titles[1::10][:120]
    kept = some + some[:20]
    rng = np.random.default_rng(0)
    codes = [(ord(title[0]) + (rng.random() < 0.2)) % n_classes for title in kept]
    labels = [f"class {code}" for code in codes]
    missing = {"title": [None, "", "milk", "milk"], "label": ["class 0", "class 1", None, ""]}
    table = pl.DataFrame({"title": kept, "label": labels})
    return pl.concat([table, pl.DataFrame(missing)])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_against_cross_validation(
    encoder: TitleEncoder, other: TitleEncoder, grocery_titles: list[str], n_classes: int
) -> None:
    labelled = read_labelled(encoder, table_of(grocery_titles, n_classes), "label", "title")
    assert (len(labelled.titles), labelled.classes) == (140, n_classes)
    found = refit(encoder, other, labelled, quiet=True)

    titles, codes = labelled.titles, labelled.codes
    forms = encoder.weights.tokenizer.normalizer(titles)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    values = []
    for each in (encoder, other):
        scores = cross_val_predict(
            TitleClassifier(each), titles, codes, groups=forms, cv=folds, method="predict_proba"
        )
        if n_classes == 2:
            values.append(roc_auc_score(codes, scores[:, 1]))
        else:
            values.append((scores.argmax(axis=1) == codes).mean())
    assert [found.old, found.new] == pytest.approx(values)
    low, high = found.difference
    assert low <= found.new - found.old <= high
    assert high - low < 0.5
    assert found.metric == ("AUC ROC" if n_classes == 2 else "accuracy")

    same = refit(encoder, encoder, labelled, quiet=True)
    assert same.old == same.new == found.old
    assert same.difference == (0, 0)


def test_a_label_file_beside_a_catalogue_with_other_names(
    encoder: TitleEncoder, grocery_titles: list[str]
) -> None:
    table = table_of(grocery_titles, 2)
    expected = read_labelled(encoder, table, "label", "title")
    assert read_labelled(encoder, table, "label", "name").titles == expected.titles
    renamed = table.rename({"title": "name"})
    assert read_labelled(encoder, renamed, "label", "name").titles == expected.titles
    with pytest.raises(InputError, match="`title_column`"):
        read_labelled(encoder, renamed, "label", "titulo")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"] * 20, "has 1 classes; at least 2"),
        ([None] * 20, "has 0 classes; at least 2"),
        (["a"] * 17 + ["rare"] * 3, "the class 'rare' with 3 distinct titles in 20 rows"),
    ],
)
def test_labels_that_are_refused(
    encoder: TitleEncoder, grocery_titles: list[str], labels: list, message: str
) -> None:
    table = pl.DataFrame(
        {"title": grocery_titles[1:21], "kind": pl.Series(labels, dtype=pl.String)}
    )
    with pytest.raises(InputError, match=message) as error:
        read_labelled(encoder, table, "kind", "title")
    assert "`label_column`" in str(error.value)
