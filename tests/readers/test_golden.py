"""The golden vectors in an encoder's folder are those of the encoder, and others are told."""

import hashlib
import json
from pathlib import Path

import pytest

from vitrina.encoder.golden import TITLES, compare_golden, golden_vectors
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import ENCODER, EncoderWeights
from vitrina.errors import InputError
from vitrina.sealed import SealedFolder

SAVED = Path(__file__).parents[1] / "saved"


@pytest.fixture
def folder(lexical_encoder: TitleEncoder, tmp_path: Path) -> Path:
    lexical_encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


def compared(folder: Path, weights: EncoderWeights) -> str:
    return compare_golden(SealedFolder(folder, ENCODER), weights)


def replace_golden(folder: Path, content: bytes) -> None:
    """Write another golden.json, with its checksum in the manifest."""
    (folder / "golden.json").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"]["golden.json"] = {"bytes": len(content), "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_the_file_holds_what_the_loaded_encoder_gives(folder: Path) -> None:
    encoder = TitleEncoder.load(folder)
    entries = json.loads((folder / "golden.json").read_text("ascii"))["titles"]
    assert tuple(entry["title"] for entry in entries) == TITLES
    for entry in entries:
        title = entry["title"]
        pieces = encoder.weights.tokenizer([title])[0].tolist()
        assert entry["form"] == encoder.weights.tokenizer.normalizer([title])[0]
        assert entry["pieces"] == pieces
        assert entry["sha256"] == hashlib.sha256(encoder.encode([title]).tobytes()).hexdigest()
    assert compared(folder, encoder.weights) == (
        f"golden vectors: all {len(TITLES)} are reproduced here"
    )


def test_it_does_not_depend_on_what_was_encoded_before(
    lexical_encoder: TitleEncoder, grocery_titles: list[str]
) -> None:
    first = golden_vectors(lexical_encoder.weights)
    lexical_encoder.encode(grocery_titles)
    assert golden_vectors(lexical_encoder.weights) == first


def test_a_difference_is_told_with_the_versions_of_unicode(folder: Path) -> None:
    weights = TitleEncoder.load(folder).weights
    content = json.loads((folder / "golden.json").read_text())
    content["unicode"] = "99.0.0"
    content["titles"][8]["form"] = "usb c"
    replace_golden(folder, json.dumps(content).encode())
    message = compared(folder, weights)
    assert f"1 of {len(TITLES)} differ here, the first for the title 'USB-C to" in message
    assert "99.0.0 where the encoder was saved" in message


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b'{"unicode": "14.0.0", "titles": [1]}', b'{"unicode": 14, "titles": []}'],
)
def test_a_damaged_file_is_refused_with_one_line(folder: Path, content: bytes) -> None:
    weights = TitleEncoder.load(folder).weights
    replace_golden(folder, content)
    with pytest.raises(InputError, match=r"golden\.json") as error:
        compared(folder, weights)
    assert "\n" not in str(error.value)


def test_an_encoder_of_an_earlier_version_has_none() -> None:
    weights = TitleEncoder.load(SAVED / "encoder-1").weights
    assert "none" in compared(SAVED / "encoder-1", weights)
