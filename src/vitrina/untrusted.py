"""Single files that may come from a stranger: mapped, parsed and checked before they are used.

No file is reached through a link, and none is opened that could block or never end. JSON is bounded
in depth. Arrays have the names, dtypes, shapes and places that the reader asks for, and finite
numbers: compiled kernels, which do no bounds checks, may then use them.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitrina.errors import InputError, shown

_HEADER_BYTES = 1 << 20
_MAX_RANK = 4
_MAX_DEPTH = 32  # of lists and objects in JSON; deeper ones overflow the stack of later steps
_LARGEST_NUMBER = 1e6  # sums of products of such weights are finite in float32
_CHUNK = 1 << 22

_DTYPES = {"F32": np.float32, "F64": np.float64, "I8": np.int8, "U32": np.uint32}

Arrays = dict[str, npt.NDArray[Any]]


def check_regular_file(path: Path, limit: int, advice: str) -> int:
    """Return the size of a file in bytes, without opening it.

    Parameters
    ----------
    path : Path
    limit : int
        Bytes that the file may have.
    advice : str
        What a user should do if the file can't be used; it ends the messages.

    Raises
    ------
    InputError
        If the file is missing, a link, no regular file, or larger than `limit`.
    """
    try:
        about = os.lstat(path)
    except OSError as error:
        raise _unreadable(path, error, advice) from None
    return _checked_size(path, about, limit, advice)


def map_regular_file(path: Path, limit: int, advice: str) -> bytes | mmap.mmap:
    """Map a file into memory, which reads each part of it at its first use.

    A link could lead to another folder, to a device that never ends, or to a pipe that blocks.

    Parameters
    ----------
    path, limit, advice
        As in `check_regular_file`.

    Returns
    -------
    bytes or mmap
        The content of the file; bytes if it is empty.

    Raises
    ------
    InputError
        If the file is missing, a link, no regular file, larger than `limit`, or unreadable.
    """
    # checked before opening, which alone can have an effect on a device
    check_regular_file(path, limit, advice)
    # the file may have been replaced since; opening a pipe would wait for ever
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # not all systems have all of them
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise _unreadable(path, error, advice) from None
    try:
        size = _checked_size(path, os.fstat(descriptor), limit, advice)
        return _mapping(path, descriptor, size)
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: OSError, advice: str) -> InputError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return InputError(f"{path}: is missing; {advice}")
    return InputError(f"{path}: {system_reason(error)}; check the right to read it")


def _checked_size(path: Path, about: os.stat_result, limit: int, advice: str) -> int:
    if stat.S_ISLNK(about.st_mode):
        raise InputError(f"{path}: is a link, not the file itself; {advice}")
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"{path}: is not a regular file; {advice}")
    if about.st_size > limit:
        raise InputError(
            f"{path}: has {about.st_size:,} bytes, more than the {limit:,} that such a file may "
            f"have; {advice}"
        )
    return about.st_size


def _mapping(path: Path, descriptor: int, size: int) -> bytes | mmap.mmap:
    if size == 0:  # nothing can be mapped
        return b""
    try:
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: can't be mapped into memory ({system_reason(error)}); free some memory, or "
            "copy it to a local disk"
        ) from None


def system_reason(error: Exception) -> str:
    """Why the system refused something, in lower case."""
    text = getattr(error, "strerror", None) or str(error) or "can't be read"
    return str(text).lower()


def release_pages(content: bytes | mmap.mmap) -> None:
    """Give the memory of a mapped file back to the system.

    A check reads the whole file into memory, but a loaded encoder uses only parts of it. The system
    reads those again when they are used.
    """
    if isinstance(content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED)


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object.

    NaN and infinities are read, because records of training may hold them.

    Raises
    ------
    InputError
        If the bytes are not a JSON object or nest too deeply; it names `path`.
    """
    content = parse_object(data)
    if content is None:
        raise InputError(f"{path}: is damaged (no JSON object); save it again")
    return content


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; None if it is none or nests too deeply."""
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError, MemoryError):
        return None
    level = [content]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = below
    return content if isinstance(content, dict) and not level else None


@dataclass(frozen=True)
class ArraySpec:
    """What an array of a safetensors file must be.

    Attributes
    ----------
    dtype : numpy dtype
    shape : tuple of int
    smallest, largest : float
        The bounds of float values. NaN and infinities are never allowed.
    """

    dtype: npt.DTypeLike
    shape: tuple[int, ...]
    smallest: float = -_LARGEST_NUMBER
    largest: float = _LARGEST_NUMBER


class Header(NamedTuple):
    """The header of a safetensors file: what the file claims to hold.

    Attributes
    ----------
    entries : dict of str to dict
        dtype, shape and data_offsets of each array.
    metadata : object
        The text fields beside the arrays, unchecked; None if there are none.
    start : int
        Where the arrays start in the file, in bytes.
    """

    entries: dict[str, dict[str, Any]]
    metadata: Any
    start: int


def parse_header(data: bytes | mmap.mmap) -> Header:
    """Read the header of a safetensors file.

    Raises
    ------
    ValueError
        If the file is no safetensors file.
    """
    length = int.from_bytes(data[:8], "little")
    start = 8 + length
    if len(data) < 8 or length > _HEADER_BYTES or start > len(data):
        raise ValueError("is no safetensors file")
    entries = parse_object(data[8:start])
    if entries is None:
        raise ValueError("has no readable header")
    metadata = entries.pop("__metadata__", None)
    for name, entry in entries.items():
        if not _is_entry(entry):
            raise ValueError(f"has no readable header for the array '{shown(name)}'")
    return Header(entries, metadata, start)


def _is_entry(entry: Any) -> bool:
    """Whether an entry of a header has a known dtype, a shape and two offsets."""
    if not isinstance(entry, dict) or entry.get("dtype") not in list(_DTYPES):  # may be unhashable
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        return False
    if len(shape) > _MAX_RANK:
        return False
    return all(type(number) is int and 0 <= number < 2**63 for number in (*shape, *offsets))


def parse_arrays(data: bytes | mmap.mmap, specs: Mapping[str, ArraySpec]) -> Arrays:
    """Read and check the arrays of a safetensors file.

    Parameters
    ----------
    data : bytes or mmap
    specs : mapping of str to ArraySpec
        What the file must hold: exactly these arrays.

    Returns
    -------
    dict of str to ndarray
        Read-only views of `data`.

    Raises
    ------
    ValueError
        If the file is no safetensors file, or an array is missing, unknown, of another dtype or
        shape, not where its shape needs it, not finite, or has a value beyond its limit.
    """
    header = parse_header(data)
    entries = header.entries
    if entries.keys() != specs.keys():
        found, wanted = shown(", ".join(sorted(entries)) or "none"), ", ".join(sorted(specs))
        raise ValueError(f"holds the arrays {found}, not {wanted}")
    arrays = {}
    end = 0
    for name in sorted(entries, key=lambda name: tuple(entries[name]["data_offsets"])):
        entry, spec = entries[name], specs[name]
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        if dtype != spec.dtype or tuple(entry["shape"]) != spec.shape:
            shape = tuple(entry["shape"])
            raise ValueError(
                f"{name} is {dtype} of shape {shape}, not {np.dtype(spec.dtype)} of {spec.shape}"
            )
        first, last = entry["data_offsets"]
        # the arrays follow each other without gaps or overlaps, as every writer leaves them
        if first != end or last - first != math.prod(spec.shape) * dtype.itemsize:
            raise ValueError(f"{name} does not lie where its shape needs it")
        if (header.start + first) % dtype.itemsize:
            raise ValueError(f"{name} is not aligned to its numbers")
        if header.start + last > len(data):
            raise ValueError("is cut short")
        array = np.frombuffer(data, dtype, math.prod(spec.shape), header.start + first)
        _check_numbers(name, array, spec)
        arrays[name] = array.reshape(spec.shape)
        end = last
    if header.start + end != len(data):
        raise ValueError("has more bytes than its arrays")
    return arrays


def _check_numbers(name: str, array: npt.NDArray[Any], spec: ArraySpec) -> None:
    """Check that all floats are finite and within bounds; in parts, to need little memory."""
    if array.dtype.kind != "f":
        return
    for first in range(0, len(array), _CHUNK):
        part = array[first : first + _CHUNK]
        # NaN fails both comparisons, so it is caught too
        if not (part.max() <= spec.largest and part.min() >= spec.smallest):
            raise ValueError(
                f"{name} holds a number that is not from {spec.smallest:g} to {spec.largest:g}"
            )
