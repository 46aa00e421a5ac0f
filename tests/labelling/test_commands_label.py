"""`vitrina label ...` as a user runs it."""

from pathlib import Path

import polars as pl
import pytest

from vitrina.cli.entry import _exit_code
from vitrina.encoder.title_encoder import TitleEncoder

NEXT = ["label", "next", "catalogue.csv", "--encoder", "encoder", "--labels", "labels.csv"]


@pytest.fixture(autouse=True)
def folder(
    tmp_path: Path,
    encoder: TitleEncoder,
    grocery_titles: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder with a catalogue and an encoder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    pl.DataFrame({"title": grocery_titles[1::10]}).write_csv("catalogue.csv")
    encoder.save("encoder")
    return tmp_path


def fill_in(name: str) -> None:
    """Label the titles of a file; the result has the columns of an export of Label Studio."""
    table = pl.read_csv(name, infer_schema=False)
    is_ounces = pl.col("title").str.ends_with("OZ")
    labels = pl.when(is_ounces).then(pl.lit("oz")).otherwise(pl.lit("other"))
    table = table.with_columns(
        label=labels,
        id=pl.int_range(pl.len()),
        annotator=pl.lit("1"),
        annotation_id=pl.int_range(pl.len()),
        created_at=pl.lit("2026-01-01T10:00:00.000000Z"),
        lead_time=pl.lit(1.5),
    )
    table.write_csv(name)


def test_label_batch_after_batch(capsys: pytest.CaptureFixture[str]) -> None:
    for batch in range(3):
        name = f"next-{batch}.csv"
        assert _exit_code([*NEXT, "-n", "25", "--out", name]) == 0
        assert "25 titles" in capsys.readouterr().err
        chosen = pl.read_csv(name, infer_schema=False)
        assert chosen.columns == [
            "title",
            "label",
            "strategy",
            "prediction",
            "probability",
            "encoder",
        ]
        assert chosen["label"].null_count() == 25
        fill_in(name)
        assert _exit_code(["label", "add", "labels.csv", name]) == 0
        assert f"{25 * (batch + 1)} titles: labels.csv" in capsys.readouterr().err
    labels = pl.read_csv("labels.csv", infer_schema=False)
    assert labels.columns == ["title", "label", "strategy", "time", "encoder"]
    assert labels["title"].n_unique() == 75
    assert set(labels["encoder"]) == {TitleEncoder.load("encoder").weights.digest}

    # the same files give the same choice, and the score comes from the audit alone
    assert _exit_code([*NEXT, "--out", "one.csv"]) == 0
    output = capsys.readouterr()
    audit = labels.filter(strategy="audit")
    assert f"score from {len(audit)} random titles" in output.out
    assert "oz" in output.out
    assert _exit_code([*NEXT, "--out", "two.csv", "--quiet"]) == 0
    assert Path("one.csv").read_text() == Path("two.csv").read_text()

    fit = ["classify", "fit", "encoder", "labels.csv", "--label", "label", "--out", "classifier"]
    assert _exit_code(fit) == 0
    predict = ["classify", "predict", "classifier", "catalogue.csv", "--out", "scores.parquet"]
    assert _exit_code(predict) == 0
    assert "probability_oz" in pl.read_parquet("scores.parquet").columns


def test_mistakes_change_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.rglob("*"))
    assert _exit_code([*NEXT, "--out", "next.parquet"]) == 2
    assert "ends in .csv" in capsys.readouterr().err
    assert _exit_code([*NEXT, "--out", "next.csv", "--title-column", "name"]) == 2
    assert "--title-column" in capsys.readouterr().err
    assert _exit_code(["label", "add", "labels.csv", "catalogue.csv"]) == 2
    assert "'label'" in capsys.readouterr().err
    # a batch that nobody has filled in
    Path("empty.csv").write_text("title,label\nMILK 1 GAL,\n")
    assert _exit_code(["label", "add", "labels.csv", "empty.csv"]) == 2
    assert "empty.csv: no row has a label" in capsys.readouterr().err
    Path("empty.csv").unlink()
    assert sorted(folder.rglob("*")) == before
    Path("next.csv").write_text("mine")
    assert _exit_code([*NEXT, "--out", "next.csv"]) == 2
    assert Path("next.csv").read_text() == "mine"
