"""Ragged arrays compared with plain Python lists."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.ragged import Ragged, offsets_of

LISTS = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6), max_size=8)


def lists_of(ragged: Ragged) -> list[list[int]]:
    return [row.tolist() for row in ragged]


@settings(max_examples=100, deadline=None)
@given(LISTS)
def test_lists_come_back_as_they_went_in(lists: list[list[int]]) -> None:
    ragged = Ragged.from_lists(lists)
    assert lists_of(ragged) == lists
    assert len(ragged) == len(lists)
    assert ragged.lengths.tolist() == [len(row) for row in lists]
    assert ragged.pairs.tolist() == [len(list(combinations(row, 2))) for row in lists]
    assert ragged.pairs.dtype == np.int64
    assert ragged.values.dtype == np.int32
    assert ragged.offsets.dtype == np.int64
    assert [ragged[i].tolist() for i in range(len(lists))] == lists


@settings(max_examples=100, deadline=None)
@given(LISTS.filter(bool), st.data())
def test_rows_taken_in_any_order_and_twice(lists: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=12))
    taken = Ragged.from_lists(lists).take(np.array(rows, np.int64))
    assert lists_of(taken) == [lists[row] for row in rows]
    assert taken.offsets[0] == 0
    assert taken.offsets[-1] == len(taken.values)


def test_rows_from_arrays_and_generators() -> None:
    arrays: Any = (np.arange(n, dtype=np.int32) for n in (2, 0, 3))
    assert lists_of(Ragged.from_lists(arrays)) == [[0, 1], [], [0, 1, 2]]


def test_offsets() -> None:
    assert offsets_of(np.array([2, 0, 3])).tolist() == [0, 2, 2, 5]
    assert offsets_of(np.array([], np.int64)).tolist() == [0]
