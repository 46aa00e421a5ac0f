"""The label file: nothing that was labelled is ever lost, and `vitrina classify fit` reads it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from vitrina.classification.predict import fit_file
from vitrina.classification.saved import LONGEST_CLASS
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.labelling.label_file import LabelFile

SUFFIXES = ["csv", "parquet"]
# Labels titles until it is killed, and says which are done.
WRITER = """
import sys
from vitrina.labelling.label_file import LabelFile
file = LabelFile(sys.argv[1])
for i in range(int(sys.argv[3])):
    file.add(f"{sys.argv[2]} {i}", "yes" if i % 2 else "no", "audit")
    print(f"{sys.argv[2]} {i}", flush=True)
"""


def start_writer(path: Path, name: str, n: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(path), name, str(n)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_come_back_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    file = LabelFile(tmp_path / f"labels.{suffix}")
    assert file.read().is_empty()
    titles = ['a "quoted", title', "two\nlines", "كتاب", "<b>bold</b>", " spaces ", "'=1+1"]
    for title in titles:
        file.add(title, "yes", "diverse")
    file.add("skipped", None, "audit")
    table = file.read()
    assert table["title"].to_list() == [*titles, "skipped"]
    assert table["label"].to_list() == ["yes"] * len(titles) + [None]
    assert table["strategy"].to_list() == ["diverse"] * len(titles) + ["audit"]
    assert table["time"].str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ").is_sorted()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_new_label_replaces_the_old_one_and_removing_takes_it_away(
    tmp_path: Path, suffix: str
) -> None:
    file = LabelFile(tmp_path / f"labels.{suffix}")
    for title, label in (("a", "yes"), ("b", "no"), ("a", "no")):
        before = file.version()
        file.add(title, label, "top")
        assert file.version() != before
    assert file.read().select("title", "label").rows() == [("b", "no"), ("a", "no")]
    assert file.remove("b")
    assert not file.remove("b")
    assert file.read()["title"].to_list() == ["a"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_of_another_tool_are_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels.{suffix}"
    export = pl.DataFrame({"id": ["7"], "title": ["milk"], "label": ["food"]})
    export.write_csv(path) if suffix == "csv" else export.write_parquet(path)
    file = LabelFile(path)
    file.add("lamp", "home", "random")
    assert file.read().select("id", "title", "label", "strategy").rows() == [
        ("7", "milk", "food", ""),
        (None, "lamp", "home", "random"),
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_classifier_is_fitted_on_the_file_as_it_is(
    tmp_path: Path, suffix: str, encoder: TitleEncoder, grocery_titles: list[str]
) -> None:
    file = LabelFile(tmp_path / f"labels.{suffix}")
    labels = ["yes", "no", None] * 10
    file.extend(
        pl.DataFrame({"title": grocery_titles[100:130], "label": labels, "strategy": "random"})
    )
    model, _, counts = fit_file(encoder, file.path, label_column="label")
    assert counts == {"rows": 30, "null_label": 10, "null_title": 0, "used": 20}
    assert model.classes_.tolist() == ["no", "yes"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_killed_process_loses_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels.{suffix}"
    said: list[str] = []
    for run in range(2):
        writer = start_writer(path, f"run {run}", 100_000)
        assert writer.stdout is not None
        said += [writer.stdout.readline().strip() for _ in range(5)]
        time.sleep(0.005 * run)  # not always at the same step of the writing
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().split("\n")[:-1]
        writer.wait()
        found = LabelFile(path).read()["title"].to_list()
        # at most one more: written, but not yet said
        assert set(said) <= set(found)
        assert len(found) <= len(said) + run + 1
    LabelFile(path).add("afterwards", "yes", "top")
    # the next writer has removed what the killed ones left half-written
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, f".{path.name}.lock"}


def test_two_processes_label_at_once(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    writers = [start_writer(path, name, 20) for name in ("one", "two")]
    for writer in writers:
        assert writer.wait() == 0
    titles = LabelFile(path).read()["title"].to_list()
    assert sorted(titles) == sorted(f"{name} {i}" for name in ("one", "two") for i in range(20))
    for name in ("one", "two"):
        assert [t for t in titles if t.startswith(name)] == [f"{name} {i}" for i in range(20)]


def test_mistakes_are_refused_and_change_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.csv or \.parquet"):
        LabelFile(tmp_path / "labels.txt")
    file = LabelFile(tmp_path / "labels.csv")
    file.add("milk", "yes", "top")
    file.add("bread", "x" * LONGEST_CLASS, "top")
    before = file.path.read_bytes()
    for title, label in (
        ("", "yes"),
        ("milk", ""),
        ("a\0b", "yes"),
        ("milk", "x" * (LONGEST_CLASS + 1)),
    ):
        with pytest.raises(InputError, match="labels:"):
            file.add(title, label, "top")
    assert file.path.read_bytes() == before
    file.path.write_text("titel,label\nmilk,yes\n")
    with pytest.raises(InputError, match="title"):
        file.read()
    numbers = tmp_path / "numbers.parquet"
    pl.DataFrame({"title": ["a"], "label": [0.5]}).write_parquet(numbers)
    with pytest.raises(InputError, match="holds no labels"):
        LabelFile(numbers).read()
