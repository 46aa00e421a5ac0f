"""Reading the files of a training folder, which may be damaged or come from a stranger.

What is read is checked before it is used: compiled kernels do no bounds checks.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.errors import InputError
from vitrina.ragged import Ragged
from vitrina.sealed import MIB
from vitrina.untrusted import check_regular_file, map_regular_file, parse_json

ARRAY_BYTES = 1 << 36
"""Limit of an array: 16 billion visits."""
JSON_BYTES = 64 * MIB

_ADVICE = "set `force` to start over"

_CHUNK = 1 << 20  # numbers checked at once, so that memory stays bounded
_LONGEST_ROW = 2**31  # the pairs of such a row are fewer than 2^63


def damaged(path: Path, reason: str) -> InputError:
    """Return the error for a file of a training folder that can't be used."""
    return InputError(f"{path}: is damaged ({reason}); {_ADVICE}")


def require_regular(path: Path, limit: int) -> int:
    """Return the size of a file in bytes; see `vitrina.untrusted.check_regular_file`."""
    return check_regular_file(path, limit, _ADVICE)


def map_file(path: Path, limit: int) -> bytes | mmap.mmap:
    """Map a file into memory; see `vitrina.untrusted.map_regular_file`."""
    return map_regular_file(path, limit, _ADVICE)


def load_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises
    ------
    InputError
        If the file is not a regular one within its limit, or holds no JSON object.
    """
    content = bytes(map_file(path, JSON_BYTES))
    try:
        return parse_json(content, path)
    except InputError:
        raise damaged(path, "no JSON object") from None


def load_array(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the array of one dimension in a .npy file, as a read-only view of the mapped file.

    Raises
    ------
    InputError
        If the file is not a regular one within its limit, or holds no such array.
    """
    content = map_file(path, ARRAY_BYTES)
    expected = np.dtype(dtype)
    # a header of this version has at most 64 KiB, and numpy refuses one of more than 10,000 bytes
    start = io.BytesIO(content[: 1 << 16])
    try:
        if np.lib.format.read_magic(start) != (1, 0):
            raise ValueError
        shape, _, found = np.lib.format.read_array_header_1_0(start)
    except Exception:  # of any kind: numpy evaluates the header as Python literals
        raise damaged(path, "no array") from None
    if found != expected or len(shape) != 1:
        raise damaged(path, f"not a list of {expected} numbers")
    first = start.tell()
    if len(content) - first != shape[0] * expected.itemsize or shape[0] < 0:
        raise damaged(path, "it has not the size of its array")
    return np.frombuffer(content, expected, shape[0], first)


def check_range(path: Path, values: npt.NDArray[Any], smallest: int, end: int) -> None:
    """Check that integers are from `smallest` to `end` - 1.

    Raises
    ------
    InputError
        If one is not; it names `path`.
    """
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        if part.min() < smallest or part.max() >= end:
            raise damaged(path, f"a number is not from {smallest} to {end - 1:,}")


def check_rows(path: Path, rows: Ragged, shortest: int) -> None:
    """Check the offsets of rows: from 0, each row long enough, to the number of values.

    Parameters
    ----------
    path : Path
        File of the offsets.
    rows : Ragged
    shortest : int
        Least length of a row.

    Raises
    ------
    InputError
        If they are not, or there is no row.
    """
    offsets = rows.offsets
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(rows.values):
        raise damaged(path, "it does not fit its values")
    # differences of numbers in this range can't overflow
    check_range(path, offsets, 0, len(rows.values) + 1)
    for part in _overlapping(offsets):
        lengths = np.diff(part)
        if lengths.min() < shortest or lengths.max() > _LONGEST_ROW:
            raise damaged(path, f"a row is shorter than {shortest}")


def check_pair_ends(path: Path, ends: npt.NDArray[np.int64], rows: Ragged) -> None:
    """Check that `ends` are the running sums of the rows' pairs, from 0 to more than 0.

    Raises
    ------
    InputError
        If they are not; it names `path`.
    """
    if len(ends) != len(rows.offsets) or ends[0] != 0 or ends[-1] < 1:
        raise damaged(path, "it does not fit the sessions")
    check_range(path, ends, 0, 2**63)
    for part, offsets in zip(_overlapping(ends), _overlapping(rows.offsets), strict=True):
        lengths = np.diff(offsets)
        if (np.diff(part) != lengths * (lengths - 1) // 2).any():
            raise damaged(path, "it does not fit the sessions")


def _overlapping(numbers: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Parts of an array; each begins with the last number of the one before."""
    for start in range(0, len(numbers) - 1, _CHUNK):
        yield numbers[start : start + _CHUNK + 1]
