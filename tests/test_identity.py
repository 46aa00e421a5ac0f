"""What vitrina writes knows its encoder, and what doesn't belong together is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.regressor import TitleRegressor
from vitrina.classification.saved import CLASSIFIER
from vitrina.cli.entry import _exit_code
from vitrina.encoder.embed import embed_file
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import ENCODER, EncoderWeights, initial_weights
from vitrina.labelling.label_file import LabelFile
from vitrina.sealed import seal
from vitrina.search.index import TitleIndex
from vitrina.text.tokenizer import TitleTokenizer

KINDS = [
    "encoder",
    "classifier",
    "regressor",
    "index",
    "vectors.parquet",
    "labels.csv",
    "labels.parquet",
]


@pytest.fixture(scope="module")
def other(tokenizer: TitleTokenizer) -> TitleEncoder:
    """An encoder of the same sizes with other weights."""
    return TitleEncoder(initial_weights(tokenizer, dim=32, filters=16, seed=1))


@pytest.fixture(scope="module")
def made(
    encoder: TitleEncoder,
    other: TitleEncoder,
    grocery_titles: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with one output of each kind, and another encoder."""
    folder = tmp_path_factory.mktemp("made")
    titles = grocery_titles[1:61]  # the first one is empty
    table = pl.DataFrame({"product_id": range(60), "title": titles})
    table.write_csv(folder / "catalogue.csv")
    encoder.save(folder / "encoder")
    other.save(folder / "other")
    numbers = np.arange(60)
    TitleClassifier(encoder).fit(titles, numbers % 2).save(folder / "classifier")
    TitleRegressor(encoder).fit(titles, numbers).save(folder / "regressor")
    TitleIndex.build(encoder, table).save(folder / "index")
    vectors = folder / "vectors.parquet"
    embed_file(encoder, folder / "catalogue.csv", vectors, key_column="product_id", quiet=True)
    for suffix in ("csv", "parquet"):
        labels = LabelFile(folder / f"labels.{suffix}", encoder.weights.digest)
        labels.add(titles[0], "yes", "audit")
        labels.add(titles[1], None, "audit")
    return folder


@pytest.fixture(autouse=True)
def working_copy(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must end with code 2; returns its one line."""
    capsys.readouterr()
    assert _exit_code(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("name", KINDS)
def test_inspect_tells_the_encoder(
    name: str, encoder: TitleEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit_code(["inspect", name]) == 0
    assert f"encoder: {encoder.weights.digest}" in capsys.readouterr().out


def test_inspect_describes_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code(["inspect", "vectors.parquet"]) == 0
    shown = capsys.readouterr().out
    assert "60 vectors of 64 numbers, titles: title, key: product_id, table of int8" in shown
    assert _exit_code(["inspect", "labels.csv"]) == 0
    assert "1 labels (1 yes), 1 skipped" in capsys.readouterr().out
    pl.DataFrame({"title": ["a"], "label": ["b"]}).write_csv("plain.csv")
    assert _exit_code(["inspect", "plain.csv"]) == 0
    assert "encoder: unknown" in capsys.readouterr().out
    message = refusal(capsys, "inspect", "catalogue.csv")
    assert "catalogue.csv: has neither vectors nor labels" in message


@pytest.mark.parametrize(
    "command",
    [
        ["refresh", "other", "catalogue.csv", "--vectors", "vectors.parquet"],
        ["similar", "other", "vectors.parquet", "milk"],
        ["similar", "other", "index", "milk"],
        ["index", "query", "other", "index", "milk"],
        ["index", "update", "other", "index", "catalogue.csv"],
    ],
)
def test_another_encoder_is_refused(
    command: list[str],
    encoder: TitleEncoder,
    other: TitleEncoder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refusal(capsys, *command)
    assert encoder.weights.digest[:12] in line
    assert other.weights.digest[:12] in line
    assert "; give that encoder" in line


def test_a_file_of_two_encoders_is_refused(
    encoder: TitleEncoder, other: TitleEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    embed_file(other, "catalogue.csv", "theirs.parquet", key_column="product_id", quiet=True)
    parts = [pq.read_table("vectors.parquet"), pq.read_table("theirs.parquet")]
    pq.write_table(pa.concat_tables(parts), "both.parquet")  # with the metadata of the first
    for command in (
        ["inspect", "both.parquet"],
        ["refresh", "encoder", "catalogue.csv", "--vectors", "both.parquet"],
        ["similar", "encoder", "both.parquet", "milk"],
    ):
        line = refusal(capsys, *command)
        assert encoder.weights.digest[:12] in line
        assert other.weights.digest[:12] in line


def test_the_encoder_of_a_classifier_can_t_be_exchanged(
    encoder: TitleEncoder, other: TitleEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("classifier/encoder")
    shutil.copytree("other", "classifier/encoder")
    assert "is damaged (its checksum differs)" in refusal(capsys, "inspect", "classifier")
    # not even with new checksums
    Path("classifier/manifest.json").unlink()
    seal(Path("classifier"), CLASSIFIER)
    line = refusal(capsys, "inspect", "classifier")
    assert encoder.weights.digest[:12] in line
    assert other.weights.digest[:12] in line


def test_labels_are_of_use_with_any_encoder(encoder: TitleEncoder, other: TitleEncoder) -> None:
    titles = pl.read_csv("catalogue.csv")["title"].to_list()
    LabelFile("labels.csv", other.weights.digest).add(titles[2], "no", "random")
    table = LabelFile("labels.csv").read()
    ours, theirs = encoder.weights.digest, other.weights.digest
    assert table["encoder"].to_list() == [ours, ours, theirs]
    LabelFile("labels.csv").add(titles[3], "no", "")
    assert LabelFile("labels.csv").read()["encoder"].to_list() == [ours, ours, theirs, None]


def test_the_digest_knows_the_table(
    encoder: TitleEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Products of matrices may differ in the last bit from machine to machine."""
    ours = encoder.weights.digest
    assert EncoderWeights.load("encoder").digest == ours
    assert json.loads(Path("encoder/config.json").read_text())["digest"] == ours
    table = safetensors.numpy.load_file("encoder/table.safetensors")
    table["values"] = table["values"].copy()
    table["values"][7, 3] += 1
    Path("encoder/table.safetensors").write_bytes(safetensors.numpy.save(table))
    Path("encoder/manifest.json").unlink()
    seal(Path("encoder"), ENCODER)
    theirs = EncoderWeights.load("encoder").digest
    assert theirs != ours
    line = refusal(capsys, "inspect", "encoder")
    assert ours[:12] in line
    assert theirs[:12] in line
