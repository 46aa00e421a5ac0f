"""Training from tables: the same encoder as the command's, and checks that come before reading."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vitrina.cli import main
from vitrina.data.catalogue import CatalogueColumns
from vitrina.data.sessions import EventColumns
from vitrina.data.sources import load_public_dataset
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.pretraining import settings as training
from vitrina.pretraining.from_tables import train_from_tables
from vitrina.pretraining.run_folder import Interrupted, RunFolder
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.trainer import Trainer


@pytest.fixture
def shop(grocery_titles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with visits and a catalogue under names of their own; the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    titles = grocery_titles[1:201]  # the first is blank
    pl.DataFrame(
        {"sku": range(200), "name": titles, "aisle": [f"c{i % 12}" for i in range(200)]}
    ).write_csv("products.csv")
    users = np.sort(rng.integers(0, 150, 500))
    events = pl.DataFrame(
        {"visitor": users, "when": 1_700_000_000 + np.arange(500), "sku": rng.integers(0, 200, 500)}
    )
    events.write_parquet("events.parquet")
    return tmp_path


@pytest.fixture
def settings(small_sizes: dict[str, Any]) -> Settings:
    return training.preset("default", **small_sizes)


OPTIONS: dict[str, Any] = {
    "gap": "1h",
    "max_products": 6,
    "event_columns": EventColumns("visitor", "when", "sku"),
    "catalogue_columns": CatalogueColumns("sku", "name", "aisle"),
    "threads": 1,
}


def weights(folder: str | Path) -> bytes:
    """The bytes of a saved encoder's weights."""
    return (Path(folder) / "model.safetensors").read_bytes()


@pytest.mark.usefixtures("shop")
def test_the_command_trains_the_same_encoder(
    settings: Settings,
    small_sizes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder = train_from_tables("events.parquet", "products.csv", "python", settings, **OPTIONS)
    notes = capsys.readouterr().err
    assert "catalogue: rows 200" in notes
    assert "sessions: events 500" in notes

    full = training.preset
    monkeypatch.setattr(
        training, "preset", lambda name, **changes: full(name, **{**small_sizes, **changes})
    )
    command = "train --events events.parquet --products products.csv --out command --gap 1h"
    command += " --max-session-products 6 --threads 1 --user-column visitor --time-column when"
    command += " --product-column sku --title-column name --category-column aisle"
    with pytest.raises(SystemExit, match="0"):
        main(command.split())
    shown = capsys.readouterr().err
    for line in notes.splitlines():
        if line.startswith(("catalogue: ", "sessions: ", "warning: ")):
            assert line in shown

    assert weights("python") == weights("command")
    record = encoder.weights.training
    of_command = TitleEncoder.load("command").weights.training
    assert record["data_digest"] == of_command["data_digest"]
    assert record["settings"] == of_command["settings"]
    assert record["inputs"] == {
        "events": ["events.parquet"],
        "products": ["products.csv"],
        "group_column": None,
        "gap": "1h",
        "max_products": 6,
        "time_unit": None,
        "event_columns": ["visitor", "when", "sku"],
        "catalogue_columns": ["sku", "name", "aisle"],
    }


@pytest.mark.usefixtures("shop")
def test_a_column_of_the_catalogue_stands_in_for_visits(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if each six rows of an aisle were a visit of their own."""
    brief = replace(settings, max_steps=2)
    products = pl.read_csv("products.csv")
    place = dict.fromkeys(products["aisle"].unique(), 0)
    rows = []
    for sku, _, aisle in products.iter_rows():
        rows.append((f"{aisle} {place[aisle] // 6}", 1_700_000_000, sku))
        place[aisle] += 1
    visits = pl.DataFrame(rows, ["visitor", "when", "sku"], orient="row")
    of_visits = train_from_tables(visits, "products.csv", "visits", brief, **OPTIONS)
    assert "times: when" in capsys.readouterr().err
    options = {**OPTIONS, "event_columns": None}
    of_column = train_from_tables(
        None, "products.csv", "column", brief, group_column="aisle", **options
    )
    assert of_column.weights.digest == of_visits.weights.digest
    shown = capsys.readouterr().err
    assert "sessions: events 200" in shown
    assert "times:" not in shown  # a catalogue has none

    for events, column in ((None, None), (visits, "aisle")):
        with pytest.raises(InputError, match="either `events` or a `group_column`"):
            train_from_tables(events, "products.csv", "no", group_column=column, **options)
    with pytest.raises(InputError, match=r"products.csv.*column 'isle'"):
        train_from_tables(None, "products.csv", "no", group_column="isle", **options)


@pytest.mark.usefixtures("shop")
def test_sessions_that_lose_most_visits_are_a_warning_that_names_the_option(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    # three visitors with more than a hundred visits each
    events = pl.read_parquet("events.parquet").with_columns(pl.col("visitor") // 50)
    events.write_parquet("events.parquet")

    def warnings_of(out: str, max_products: int) -> list[str]:
        options = {**OPTIONS, "max_products": max_products, "quiet": True}
        brief = replace(settings, max_steps=1)
        train_from_tables("events.parquet", "products.csv", out, brief, **options)
        lines = capsys.readouterr().err.splitlines()
        return [line for line in lines if "dropped" in line]

    (line,) = warnings_of("short", 10)
    assert line.startswith("warning: sessions keep only their first 10 products, so ")
    assert "`max_products` (max_session_products on the command line)" in line
    assert warnings_of("long", 100) == []


@pytest.mark.usefixtures("shop")
def test_frames_and_globs_train_the_same_encoder(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    events = pl.read_parquet("events.parquet")
    events.head(250).write_parquet("part-1.parquet")
    events.tail(250).write_parquet("part-2.parquet")
    products = pl.scan_csv("products.csv")
    train_from_tables(["part-*.parquet"], Path("products.csv"), "files", settings, **OPTIONS)
    capsys.readouterr()
    encoder = train_from_tables(events, products, "frames", settings, quiet=True, **OPTIONS)
    assert capsys.readouterr().err == ""
    assert weights("files") == weights("frames")
    assert encoder.weights.training["inputs"]["events"] == "a polars frame"


def test_a_public_data_set(small_sizes: dict[str, Any], tmp_path: Path) -> None:
    """The five lines of the docstring, with few visits, small networks and two steps."""
    data = load_public_dataset("completejourney")
    encoder = train_from_tables(
        data.events.head(20_000),
        data.products,
        tmp_path / "encoder",
        training.preset("default", language=data.language, max_steps=2, **small_sizes),
        gap=data.gap,
        event_columns=data.columns,
        quiet=True,
    )
    record = encoder.weights.training
    assert record["sessions"]["sessions"] > 1_000
    assert record["settings"]["language"] == "en"
    assert record["inputs"]["gap"] == data.gap


@pytest.mark.usefixtures("shop")
def test_a_prepared_run_is_resumed_without_reading(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, epochs=3)
    train_from_tables("events.parquet", "products.csv", "whole", settings, **OPTIONS)
    step = Trainer.step

    def stop(self, batch, number):
        loss = step(self, batch, number)
        signal.raise_signal(signal.SIGINT)  # Ctrl-C during the first step
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stop)
        with pytest.raises(Interrupted):
            train_from_tables("events.parquet", "products.csv", "encoder", settings, **OPTIONS)
    assert RunFolder.of("encoder").prepared
    Path("events.parquet").unlink()
    Path("products.csv").unlink()
    tables = ("events.parquet", "products.csv", "encoder", settings)
    with pytest.raises(InputError, match="`gap`"):
        train_from_tables(*tables, resume=True, **{**OPTIONS, "gap": "2h"})
    train_from_tables(*tables, resume=True, **OPTIONS)
    assert weights("encoder") == weights("whole")


def test_unusable_events_are_reported_even_when_quiet(
    shop: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    events = pl.read_parquet("events.parquet")
    events = events.with_columns(when=pl.when(pl.col("when") >= 1_700_000_050).then("when"))
    train_from_tables(events, "products.csv", "encoder", settings, quiet=True, **OPTIONS)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "warning: events that can't be used: null time 50"


@pytest.mark.usefixtures("shop")
def test_the_paper_preset_without_a_language_is_noted(
    small_sizes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="nowhere"):
        train_from_tables("nowhere.csv", "nowhere.csv", "x", training.preset("paper"))
    assert "no stop words are removed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "other"}, "other: exists already"),
        ({"out": "other", "force": True}, "other: is a folder that vitrina didn't write"),
        ({"out": "encoder", "resume": True}, "nothing to resume"),
        ({"out": "encoder", "resume": True, "force": True}, "`force`"),
        ({"out": "encoder", "gap": "soon"}, "'soon'"),
    ],
)
def test_mistakes_are_found_without_torch_or_reading(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """In a new process: neither file exists, and torch is not loaded."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    code = (
        "import json, sys, vitrina\n"
        "try: vitrina.train_from_tables('no-events', 'no-products', **json.loads(sys.argv[1]))\n"
        "except vitrina.InputError as error: print(error)\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, json.dumps(options)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert message in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]
