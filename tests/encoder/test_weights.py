"""Saving, loading and pickling encoders, and their vectors against PyTorch's."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest

from vitrina.encoder.kernels import WIDTHS
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import ENCODER, FORMAT_VERSION, EncoderWeights, initial_weights
from vitrina.errors import InputError
from vitrina.sealed import MANIFEST, FolderKind, seal
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

ARRAYS = {"model.safetensors", "table.safetensors"}
FILES = {"README.md", "config.json", "golden.json", MANIFEST, "tokenizer.model", *ARRAYS}
FILES |= {"config_sentence_transformers.json", "modules.json"}


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture
def folder(encoder: TitleEncoder, tmp_path: Path) -> Path:
    encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_vectors_equal_a_torch_network_s(
    tokenizer: TitleTokenizer, grocery_titles: list[str]
) -> None:
    import torch

    weights = initial_weights(tokenizer, dim=24, filters=8, embedding_std=1.0, seed=3)
    convolutions, column = [], 0
    for which, width in enumerate(WIDTHS):
        convolution = torch.nn.Conv1d(24, 8, width)
        block = weights.filters[:, column : column + width * 8].reshape(24, width, 8)
        convolution.weight.data = torch.tensor(block.transpose(2, 0, 1).copy())
        assert convolution.bias is not None
        convolution.bias.data = torch.tensor(weights.bias[which * 8 : which * 8 + 8])
        convolutions.append(convolution)
        column += width * 8
    embedding = torch.nn.Embedding.from_pretrained(torch.tensor(weights.embeddings))
    titles = [*grocery_titles[:200], "", "a", " ".join(grocery_titles[:10])]
    found = TitleEncoder(weights, table="float32").transform(titles)
    assert (found > 0).any(axis=0).all()
    with torch.no_grad():
        for row, ids in zip(found, tokenizer(titles), strict=True):
            x = embedding(torch.tensor(ids.astype(np.int64)))[None].transpose(1, 2)
            y = torch.cat([torch.relu(c(x)).amax(2) for c in convolutions], dim=1)[0]
            np.testing.assert_allclose(row, y.numpy(), atol=1e-5, rtol=1e-5)


def test_the_start_of_training(tokenizer: TitleTokenizer) -> None:
    weights = initial_weights(tokenizer, dim=64, filters=32, embedding_std=0.05)
    assert weights.embeddings.shape == (500, 64)
    assert abs(weights.embeddings.std() - 0.05) < 0.002
    column = 0
    for which, width in enumerate(WIDTHS):
        bound = 1 / np.sqrt(64 * width)
        block = weights.filters[:, column : column + width * 32]
        assert 0.99 * bound < np.abs(block).max() <= np.float32(bound)
        assert 0.5 * bound < np.abs(weights.bias[which * 32 : which * 32 + 32]).max() <= bound
        column += width * 32
    again = initial_weights(tokenizer, dim=64, filters=32, embedding_std=0.05)
    other = initial_weights(tokenizer, dim=64, filters=32, embedding_std=0.05, seed=1)
    np.testing.assert_array_equal(weights.embeddings, again.embeddings)
    np.testing.assert_array_equal(weights.filters, again.filters)
    assert not np.array_equal(weights.embeddings, other.embeddings)


def test_arrays_that_do_not_fit_together(encoder: TitleEncoder) -> None:
    w = encoder.weights
    for embeddings, filters, bias in (
        (w.embeddings[:-1], w.filters, w.bias),
        (w.embeddings[:, :-1], w.filters, w.bias),
        (w.embeddings, w.filters[:, :-14], w.bias),
        (w.embeddings, w.filters, w.bias[:-4]),
    ):
        with pytest.raises(InputError, match="fit together") as error:
            EncoderWeights(embeddings, filters, bias, w.tokenizer)
        one_line(error)


def test_saved_and_loaded(encoder: TitleEncoder, folder: Path, grocery_titles: list[str]) -> None:
    loaded = TitleEncoder.load(folder)
    np.testing.assert_array_equal(
        loaded.transform(grocery_titles), encoder.transform(grocery_titles)
    )
    assert {p.name for p in folder.iterdir()} == FILES
    assert [p.name for p in folder.parent.iterdir()] == ["encoder"]
    config = json.loads((folder / "config.json").read_text())
    assert config["model"] == {"pieces": 500, "dim": 32, "widths": [2, 3, 4, 5], "filters": 16}
    assert "TitleEncoder.load" in (folder / "README.md").read_text()
    for path in folder.iterdir():  # a pickle starts with its protocol's mark
        assert path.read_bytes()[:1] != pickle.PROTO
    loaded.save(folder.parent / "again")
    for name in FILES:
        assert (folder.parent / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_the_record_of_training_is_kept(encoder: TitleEncoder, tmp_path: Path) -> None:
    w = encoder.weights
    record = {"alpha": 0.9, "seeds": [1, 2], "data": {"sessions": 3}, "país": "México"}
    EncoderWeights(w.embeddings, w.filters, w.bias, w.tokenizer, record).save(tmp_path / "e")
    assert EncoderWeights.load(tmp_path / "e").training == record
    card = (tmp_path / "e" / "README.md").read_text("utf-8")
    assert "| alpha | 0.9 |" in card
    assert "| país | México |" in card


def test_an_existing_path_is_refused_or_replaced(
    encoder: TitleEncoder, folder: Path, tokenizer: TitleTokenizer
) -> None:
    other = TitleEncoder(initial_weights(tokenizer, dim=16, filters=8, seed=5))
    with pytest.raises(InputError, match="exists already"):
        other.save(folder)
    assert len(TitleEncoder.load(folder).weights.bias) == 64
    (folder / "left over").write_text("x")
    other.save(folder, force=True)
    assert {p.name for p in folder.iterdir()} == FILES
    assert len(TitleEncoder.load(folder).weights.bias) == 32
    (folder.parent / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):  # force replaces like with like
        other.save(folder.parent / "file", force=True)
    assert (folder.parent / "file").read_text() == "x"


def test_stop_words_travel_with_the_encoder(tmp_path: Path) -> None:
    titles = ["Taza de té para niños", "lote nuevo sin uso", "mesa"]
    normalizer = Normalizer("es", "paper")
    tokenizer = TitleTokenizer.train(titles * 5, normalizer)
    encoder = TitleEncoder(initial_weights(tokenizer, dim=8, filters=4))
    encoder.save(tmp_path / "e")
    config = json.loads((tmp_path / "e" / "config.json").read_text())
    assert config["normalization"]["language"] == "spanish"
    assert config["normalization"]["style"] == "paper"
    assert set(config["normalization"]["stop_words"]) == normalizer.stop_words
    np.testing.assert_array_equal(
        TitleEncoder.load(tmp_path / "e").transform(titles), encoder.transform(titles)
    )
    # A later package with other lists: another process whose lists are empty.
    program = (
        "import sys, numpy as np, stop_words\n"
        "stop_words.get_stop_words = lambda language: []\n"
        "from vitrina import TitleEncoder\n"
        "np.save(sys.argv[2], TitleEncoder.load(sys.argv[1]).transform(sys.argv[3:]))\n"
    )
    out = tmp_path / "out.npy"
    subprocess.run([sys.executable, "-c", program, tmp_path / "e", out, *titles], check=True)
    np.testing.assert_array_equal(np.load(out), encoder.transform(titles))


def message(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        TitleEncoder.load(folder)
    return one_line(error)


def test_folders_that_are_no_encoder(folder: Path, tmp_path: Path) -> None:
    assert message(tmp_path / "none").startswith(f"{tmp_path / 'none'}: no such folder; ")
    assert "is a file; give the folder of a saved vitrina encoder" in message(
        folder / "config.json"
    )
    (tmp_path / "empty").mkdir()
    assert f"no {MANIFEST}" in message(tmp_path / "empty")
    seal(tmp_path / "empty", FolderKind("vitrina classifier", 1, {}, frozenset()))
    assert "holds a vitrina classifier, not a vitrina encoder" in message(tmp_path / "empty")


@pytest.mark.parametrize("name", sorted(FILES - {MANIFEST, "README.md"}))
def test_damaged_files(folder: Path, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert message(folder) == (
            f"{path}: is damaged (its checksum differs); copy or save the vitrina encoder again"
        )
    path.write_bytes(whole[:-1])
    assert f"{path}: is damaged" in message(folder)
    path.unlink()
    assert f"{path}: is missing" in message(folder)


def test_a_newer_format(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    seal(folder, replace(ENCODER, format_version=FORMAT_VERSION + 1))
    assert f"has format {FORMAT_VERSION + 1}, newer than {FORMAT_VERSION}" in message(folder)
    assert "pip install -U vitrina" in message(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{}"),
        ("config.json", b"[]"),
        ("config.json", b"{"),
        ("tokenizer.model", b""),
        ("tokenizer.model", b"no model"),
        ("model.safetensors", b""),
        ("model.safetensors", b"no tensors at all"),
    ],
)
def test_wrong_files_under_a_right_seal(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    (folder / MANIFEST).unlink()
    seal(folder, ENCODER)
    assert re.match(rf"{folder / name}: |tokenizer: not a SentencePiece model", message(folder))


TRANSFORM = """
import sys, numpy as np
{load}
titles = [line.rstrip("\\n") for line in open(sys.argv[3], encoding="utf-8")]
np.save(sys.argv[2], encoder.transform(titles))
print(sorted({{"torch", "tensorboard", "matplotlib"}} & set(sys.modules)))
"""
LOADERS = {
    "folder": "from vitrina import TitleEncoder; encoder = TitleEncoder.load(sys.argv[1])",
    "pickle": "import pickle; encoder = pickle.load(open(sys.argv[1], 'rb'))",
    "joblib": "import joblib; encoder = joblib.load(sys.argv[1])",
}


@pytest.mark.parametrize("how", LOADERS)
def test_another_process_gives_the_same_bits(
    encoder: TitleEncoder, grocery_titles: list[str], tmp_path: Path, how: str
) -> None:
    """The other process imports no training library."""
    stored = tmp_path / "stored"
    if how == "folder":
        encoder.save(stored)
    elif how == "pickle":
        stored.write_bytes(pickle.dumps(encoder))
    else:
        joblib.dump(encoder, stored)
    titles = [*grocery_titles[:200], "ñandú 1,5 L", ""]
    (tmp_path / "titles.txt").write_text("".join(f"{t}\n" for t in titles), "utf-8")
    program = TRANSFORM.format(load=LOADERS[how])
    out = tmp_path / "out.npy"
    ran = subprocess.run(
        [sys.executable, "-c", program, stored, out, tmp_path / "titles.txt"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"
    np.testing.assert_array_equal(np.load(out), encoder.transform(titles))


def test_others_may_read_what_is_saved(folder: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert len(modes) == 1  # what the umask gives, for every file
