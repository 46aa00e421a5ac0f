"""Files for the examples in docstrings, which run as tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

TITLES = [
    "APPLE SAUCE 24 OZ",
    "APPLE JUICE 64 OZ",
    "ORANGE JUICE 64 OZ",
    "DOG FOOD 20 LB",
    "CAT FOOD 16 LB",
    "PAPER TOWELS 6 CT",
]


@pytest.fixture(scope="session")
def example_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `encoder`, a small untrained encoder, and `products.csv`, a few titles."""
    folder = tmp_path_factory.mktemp("examples") / "files"
    folder.mkdir()
    pl.DataFrame({"title": TITLES}).write_csv(folder / "products.csv")
    tokenizer = TitleTokenizer.train(TITLES, Normalizer("en"), vocab_size=60)
    # 4 widths of 128 filters and a lexical part give the 1,024 dimensions that the docstrings show
    tokenizer = tokenizer.with_word_vectors(TITLES, 512)
    TitleEncoder(initial_weights(tokenizer, dim=16)).save(folder / "encoder")
    return folder


@pytest.fixture(autouse=True)
def _in_example_folder(
    example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run each example in a folder of its own, in which it may write."""
    folder = tmp_path / "example"
    shutil.copytree(example_files, folder)
    monkeypatch.chdir(folder)
