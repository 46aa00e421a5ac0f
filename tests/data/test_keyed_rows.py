"""Comparing two tables by key, against dictionaries."""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.data import keyed_rows
from vitrina.data.keyed_rows import (
    ROW,
    ROW_BEFORE,
    TITLE,
    TITLE_BEFORE,
    KeyedRows,
    compared,
    fingerprint,
    keyed,
    keys_of,
)
from vitrina.errors import InputError

SEED = 5
TABLE = st.dictionaries(
    st.text("ab0é", max_size=3), st.none() | st.text("xy", max_size=2), max_size=40
)


def few_parts() -> AbstractContextManager[Any]:
    return patch.object(keyed_rows, "_PARTS", 4)


def added(folder: Path, table: dict[str, str | None], batch: int = 7) -> KeyedRows:
    rows = KeyedRows(folder, "table.csv", "id", SEED)
    keys, titles = list(table), list(table.values())
    for start in range(0, len(keys), batch):
        part = slice(start, start + batch)
        rows.add(pl.Series(keys[part], dtype=pl.String), pl.Series(titles[part], dtype=pl.String))
    return rows


@settings(max_examples=50, deadline=None)
@given(before=TABLE, after=TABLE, batch=st.integers(1, 50))
def test_a_comparison_is_that_of_dictionaries(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[str, str | None],
    after: dict[str, str | None],
    batch: int,
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    found = {}
    deleted = []
    with few_parts(), added(folder, before, batch) as old, added(folder, after) as new:
        for part in compared(old, new):
            for row in part.rows.rows(named=True):
                found[row[ROW]] = (row["key"], row[TITLE], row[TITLE_BEFORE], row[ROW_BEFORE])
            deleted += part.deleted.tolist()
    row_before = {key: row for row, key in enumerate(before)}
    assert found == {
        row: (key, title, before.get(key), row_before.get(key))
        for row, (key, title) in enumerate(after.items())
    }
    assert sorted(deleted) == [row for row, key in enumerate(before) if key not in after]
    assert not list(folder.iterdir())


def test_many_rows_are_written_in_several_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed_rows, "_HELD_ROWS", 1_000)
    table: dict[str, str | None] = {str(number): f"title {number % 7}" for number in range(10_000)}
    with added(tmp_path, table, 300) as rows:
        parts = list(rows.parts())
    assert len(parts) == 64
    together = pl.concat(parts).sort(ROW)
    assert dict(together.select("key", TITLE).rows()) == table
    assert together[ROW].to_list() == list(range(10_000))


def test_a_key_that_occurs_twice_is_named(tmp_path: Path) -> None:
    rows = KeyedRows(tmp_path, "table.csv", "id", SEED)
    rows.add(pl.Series(["a", "b"]), pl.Series(["x", "y"]))
    rows.add(pl.Series(["c", "b\n"]), pl.Series(["x", "y"]))
    rows.add(pl.Series(["d", "b\n"]), pl.Series(["x", "y"]))
    with pytest.raises(InputError) as error, rows:
        rows.require_unique()
    assert str(error.value).startswith(
        r"table.csv: column 'id' has 'b\n' in row 3 and in row 5; a key must be unique"
    )


def test_keys_are_ids() -> None:
    batch = pl.DataFrame(
        {"whole": [7, 8], "float": [7.0, 8.0], "text": ["07", ""], "part": [0.5, 1]}
    )
    assert keys_of(batch, "whole", "t", 0).cast(pl.String).to_list() == ["7", "8"]
    assert keys_of(batch, "float", "t", 0).cast(pl.String).to_list() == ["7", "8"]
    with pytest.raises(InputError, match="t: column 'text' has no value in row 101; give each"):
        keys_of(batch, "text", "t", 100)
    with pytest.raises(InputError, match=r"column 'part' \(Float64\) can't hold ids"):
        keys_of(batch, "part", "t", 0)


def test_a_fingerprint_depends_on_rows_and_order_but_not_on_batches(tmp_path: Path) -> None:
    table: dict[str, str | None] = {"a": "x", "b": None, "c": "x"}
    with added(tmp_path, table) as rows, added(tmp_path, table, 1) as one_by_one:
        assert rows.fingerprint == one_by_one.fingerprint
    whole = keyed(pl.Series(list(table)), pl.Series(list(table.values())), 0)
    assert fingerprint(whole, SEED) == rows.fingerprint
    for other in ({"b": None, "a": "x", "c": "x"}, {**table, "b": ""}, {"a": "x", "b": None}):
        with added(tmp_path, other) as others:
            assert others.fingerprint != rows.fingerprint


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(keyed_rows, "TemporaryFile", full)
    with pytest.raises(InputError, match=r"no space left on device\); free some space"):
        KeyedRows(tmp_path, "table.csv", "id", SEED)
