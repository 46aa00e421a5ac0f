"""Folders saved by earlier versions still load and give the same results.

`saved/encoder-1` and `saved/classifier-3*` were written by version 0.1.0 before its settings got
their present names; `saved/expected.json` has what that version computed.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.encoder.title_encoder import TitleEncoder

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
