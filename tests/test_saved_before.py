"""Folders saved by earlier versions still load and give the same results.

`saved/encoder-1` and `saved/classifier-3*` were written by version 0.1.0 before its settings got
their present names. `saved/encoder-2` is the first encoder with a lexical part and golden vectors;
`saved/index-1*` and `saved/labels-1.*` were made with it. `saved/expected.json` has what those
versions computed.
"""

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.encoder.golden import compare_golden
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import ENCODER
from vitrina.labelling.label_file import LabelFile
from vitrina.sealed import SealedFolder
from vitrina.search.index import TitleIndex

SAVED = Path(__file__).parent / "saved"
EXPECTED = json.loads((SAVED / "expected.json").read_text("utf-8"))


@pytest.mark.parametrize("folder", ["encoder-1", "classifier-3/encoder"])
def test_an_encoder_gives_the_same_vectors(folder: str) -> None:
    encoder = TitleEncoder.load(SAVED / folder)
    vectors = encoder.encode(EXPECTED["titles"])
    np.testing.assert_array_equal(vectors, np.array(EXPECTED["vectors"], np.float32))
    assert encoder.weights.training["settings"]["tau"] == 0.996  # its record is kept as it was


@pytest.mark.parametrize(
    ("folder", "use_words", "expected"),
    [
        ("classifier-3", True, "probabilities"),
        ("classifier-3-vectors", False, "probabilities_of_vectors"),
    ],
)
def test_a_classifier_gives_the_same_probabilities(
    folder: str, use_words: bool, expected: str, tmp_path: Path
) -> None:
    classifier = TitleClassifier.load(SAVED / folder)
    assert classifier.use_words is use_words
    found = classifier.predict_proba(EXPECTED["titles"])
    # the last bits of exp differ between processors
    np.testing.assert_allclose(found, EXPECTED[expected], rtol=1e-12)
    classifier.save(tmp_path / "again")
    again = TitleClassifier.load(tmp_path / "again")
    np.testing.assert_array_equal(again.predict_proba(EXPECTED["titles"]), found)
    assert again.best_params_ == classifier.best_params_


def test_an_encoder_with_a_lexical_part_gives_the_same_vectors(tmp_path: Path) -> None:
    encoder = TitleEncoder.load(SAVED / "encoder-2")
    expected = np.array(EXPECTED["vectors_with_words"], np.float32)
    np.testing.assert_array_equal(encoder.encode(EXPECTED["titles"]), expected)
    encoder.save(tmp_path / "again")
    again = TitleEncoder.load(tmp_path / "again").encode(EXPECTED["titles"])
    np.testing.assert_array_equal(again, expected)
    unicode = json.loads((SAVED / "encoder-2" / "golden.json").read_text("utf-8"))["unicode"]
    if unicode == unicodedata.unidata_version:  # normal forms follow Python's version
        found = compare_golden(SealedFolder(SAVED / "encoder-2", ENCODER), encoder.weights)
        assert found.endswith("are reproduced here")


@pytest.mark.parametrize("folder", ["index-1", "index-1-graph"])
def test_an_index_finds_the_same_products(folder: str) -> None:
    if folder.endswith("graph"):
        pytest.importorskip("usearch")
    index = TitleIndex.load(SAVED / folder, TitleEncoder.load(SAVED / "encoder-2"))
    found = index.query(EXPECTED["titles"][:2], 3)
    assert found["product_id"].to_list() == EXPECTED["similar"]
    assert index.recall == 1
    assert (
        index.query(EXPECTED["titles"][0], 50, {"brand": "ñandú"})["brand"].to_list()
        == ["ñandú"] * 14
    )


@pytest.mark.parametrize("name", ["labels-1.csv", "labels-1.parquet"])
def test_a_label_file_has_the_same_labels(name: str, tmp_path: Path) -> None:
    file = LabelFile(shutil.copy(SAVED / name, tmp_path))
    before = file.read()
    assert before["label"].to_list() == EXPECTED["labels"]
    assert before["strategy"].to_list() == ["random", "uncertainty", ""] * 4
    file.add(before["title"][0], "no food", "review")
    assert file.read()["label"].to_list() == [*EXPECTED["labels"][1:], "no food"]
