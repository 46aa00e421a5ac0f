"""`vitrina compare` as a process of its own: its page, its figures and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from vitrina.cli import main
from vitrina.comparison.compare import MAX_AUC, compare_encoders
from vitrina.comparison.compare_page import comparison_page, result_lines
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.errors import InputError
from vitrina.text.tokenizer import TitleTokenizer


@pytest.fixture
def folder(encoder: TitleEncoder, tokenizer: TitleTokenizer, tmp_path: Path) -> Path:
    """Two encoders, a catalogue then, one like it, one that has drifted, and labels."""
    encoder.save(tmp_path / "old")
    TitleEncoder(initial_weights(tokenizer, dim=32, filters=16, seed=5)).save(tmp_path / "new")
    return tmp_path


@pytest.fixture
def tables(folder: Path, grocery_titles: list[str]) -> dict[str, pl.DataFrame]:
    past, today = grocery_titles[1:601:2], grocery_titles[2:601:2]
    cables = [f"<b>cable</b> usb {number} m | negro" for number in range(300)]
    kinds = ["food", "other", None] * 100
    tables = {
        "past": pl.DataFrame({"title": past, "kind": kinds}),
        "today": pl.DataFrame({"title": today, "kind": kinds}),
        "drifted": pl.DataFrame({"title": [*today[:100], *cables], "kind": ["food"] * 400}),
        "labels": pl.DataFrame({"title": past[:90], "sold": ["yes", "no", "no"] * 30}),
    }
    for name, table in tables.items():
        table.write_csv(folder / f"{name}.csv")
    return tables


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vitrina", "compare", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def exit_code(*arguments: str) -> int | str | None:
    """The exit code of the command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        main(["compare", *arguments])
    return ended.value.code


def test_the_command(folder: Path, tables: dict[str, pl.DataFrame], parse: Any) -> None:
    past = ("--trained-on", "past.csv", "--category", "kind")
    labels = ("--labels", "labels.csv", "--label", "sold")
    done = run(
        folder, "old", "new", "--titles", "today.csv", *past, *labels, "--out", "o/page.html"
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "o" / "page.json").read_text("utf-8"))
    expected = compare_encoders(
        TitleEncoder.load(folder / "old"),
        TitleEncoder.load(folder / "new"),
        tables["today"],
        trained_on=tables["past"],
        labels=tables["labels"],
        label_column="sold",
        category_column="kind",
        quiet=True,
    )
    for name in ("titles", "trained_on"):
        assert record[name].pop("file") == ("today.csv" if name == "titles" else "past.csv")
        del expected[name]["file"]
    assert record == json.loads(json.dumps(expected))
    assert record["drifted"] is False
    assert 0 < record["neighbours"]["overlap"] < 1
    assert record["classifier"]["labels"] == 90
    page = parse((folder / "o" / "page.html").read_text("utf-8"))
    assert page.references == []
    assert done.stdout.splitlines() == result_lines(record)
    assert all(line in page.texts for line in result_lines(record))


def test_drift_alone(
    folder: Path,
    tables: dict[str, pl.DataFrame],
    parse: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    past = ("--trained-on", "past.csv", "--category", "kind")
    watch = ("old", "old", "--titles", "drifted.csv", *past, "--out", "o/page.html")
    done = run(folder, *watch)
    assert done.returncode == 1, done.stderr
    record = json.loads((folder / "o" / "page.json").read_text("utf-8"))
    assert record["drifted"] is True
    assert record["drift"]["domain"]["auc"] > MAX_AUC
    assert (record["neighbours"], record["classifier"]) == (None, None)
    assert "The catalogue has drifted" in done.stdout
    text = (folder / "o" / "page.html").read_text("utf-8")
    assert "&lt;b&gt;cable&lt;/b&gt;" in text  # a title is no markup
    parse(text)
    # an existing page stays
    monkeypatch.chdir(folder)
    assert exit_code(*watch, "--max-auc", "1") == 2
    assert "exists already" in capsys.readouterr().err
    assert json.loads((folder / "o" / "page.json").read_text("utf-8"))["drifted"] is True
    # the stated bound decides
    assert exit_code(*watch, "--max-auc", "1", "--force") == 0
    assert json.loads((folder / "o" / "page.json").read_text("utf-8"))["drifted"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--titles", "today.csv", "--out", "page.txt"], "give a name that ends in .html"),
        (["--titles", "none.csv", "--out", "p.html"], "none.csv: no such file"),
        (["--titles", "today.csv", "--out", "p.html", "--category", "x"], "--category"),
        (["--titles", "today.csv", "--out", "p.html", "--labels", "labels.csv"], "--label"),
        (["--titles", "today.csv", "--out", "p.html", "--title-column", "x"], "--title-column"),
        (["--titles", "today.csv", "--out", "p.html", "--max-auc", "2"], "--max-auc is 2"),
    ],
)
def test_wrong_input(
    folder: Path,
    tables: dict[str, pl.DataFrame],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    assert exit_code("old", "new", *arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(folder.glob("p*.html")) + list(folder.glob("p*.json"))


def test_without_the_titles_of_the_training(
    encoder: TitleEncoder, tables: dict[str, pl.DataFrame], parse: Any
) -> None:
    record = compare_encoders(encoder, encoder, tables["today"], quiet=True)
    assert record["drifted"] is None
    assert result_lines(record) == [
        "The encoders are the same: only the drift was measured.",
        "Drift was not measured: that needs the titles of the training.",
    ]
    parse(comparison_page(record, {"old": "a", "new": "b"}))
    few = tables["past"][:40]
    record = compare_encoders(encoder, encoder, tables["today"], trained_on=few, quiet=True)
    assert record["drifted"] is None
    assert result_lines(record)[-1] == (
        "Drift was not measured: a table has too few distinct titles."
    )
    parse(comparison_page(record, {"old": "a", "new": "b"}))
    with pytest.raises(InputError, match=r"`max_auc` is 0\.4"):
        compare_encoders(encoder, encoder, tables["today"], max_auc=0.4)


def test_the_example_of_the_page_runs(
    encoder: TitleEncoder,
    folder: Path,
    tables: dict[str, pl.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    encoder.save("encoder-1")
    encoder.save("encoder-2")
    tables["today"].write_parquet("today.parquet")
    tables["past"].write_parquet("2025.parquet")
    page = Path(__file__).parents[2] / "docs" / "compare.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.S)
    *lines, last = example.strip().splitlines()
    assert "overlap" in last
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    assert names["record"]["drifted"] is False
