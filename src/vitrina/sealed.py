"""Sealed folders: what vitrina saves, and how it is checked before anything in it is used.

A folder may come from a stranger, who can also write its manifest. Checksums therefore show damage,
not good intent. Each kind of folder declares which files it may have and how large they may be, and
each array has a declared name, dtype and shape. Nothing else is opened, and no array reaches a
compiled kernel, which does no bounds checks, before it has passed.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import reprlib
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.errors import InputError, shown

MANIFEST = "manifest.json"
"""Name of the file that makes a folder a sealed one."""

NOT_SEALED = "README.md"
"""The model card. People may edit it, so no manifest lists it, and no program reads it."""

MIB = 1 << 20

_MANIFEST_BYTES = 1 * MIB
_HEADER_BYTES = 1 * MIB
_LONGEST_KIND = 80
_MAX_RANK = 4
_LARGEST_VERSION = 1_000_000
_MAX_DEPTH = 32  # of lists and objects in JSON; deeper ones overflow the stack of later steps
_LARGEST_NUMBER = 1e6  # sums of products of such weights are finite in float32
_CHUNK = 1 << 22

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class FolderKind:
    """What a kind of sealed folder may hold.

    Attributes
    ----------
    name : str
        The kind, as manifests and messages name it.
    format_version : int
        The newest format that this version of vitrina reads.
    files : mapping of str to int
        The files that a folder may have, as relative POSIX paths, with the most bytes of each.
    required : frozenset of str
        The files that it must have.
    """

    name: str
    format_version: int
    files: Mapping[str, int]
    required: frozenset[str]


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


_DTYPES = {"F32": np.float32, "F64": np.float64, "I8": np.int8, "U32": np.uint32}


def seal(folder: Path, kind: FolderKind) -> None:
    """Write the manifest of a folder: its kind, its format, and each file's size and SHA-256.

    Parameters
    ----------
    folder : Path
        It holds nothing but files that `kind` knows, and model cards.
    kind : FolderKind

    Raises
    ------
    InputError
        If a file is larger than `kind` allows.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.name != NOT_SEALED and name != MANIFEST:
            assert name in kind.files, name
            size = path.stat().st_size
            if size > kind.files[name]:  # it could not be loaded
                raise InputError(
                    f"{name}: has {size:,} bytes, more than the {kind.files[name]:,} that this "
                    f"file of a {kind.name} may have"
                )
            files[name] = {"bytes": size, "sha256": _digest(path)}
    manifest = {"kind": kind.name, "format_version": kind.format_version, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SealedFolder:
    """A folder whose files are known, regular, within their limits and equal to their checksums.

    Files are checked when the object is made and kept mapped: what is read later is what was
    checked, even if another file takes the place of one of them.

    Parameters
    ----------
    folder : Path
    kind : FolderKind
        The kind that the folder must have.

    Raises
    ------
    InputError
        If the folder is missing, not sealed, of another kind or of a newer format; if a file is
        missing, unknown, a link, not a regular file, too large, or differs from its checksum.
    """

    def __init__(self, folder: Path, kind: FolderKind) -> None:
        self.folder = folder
        self.kind = kind
        manifest = _read_manifest(folder, kind.name)
        _check_kind(folder, manifest, kind)
        listed = manifest["files"]
        for name in sorted(kind.required - listed.keys()):
            raise InputError(
                f"{folder / name}: is not in the manifest; copy or save the {kind.name} again"
            )
        self._content: dict[str, bytes | mmap.mmap] = {}
        for name, expected in listed.items():
            if name not in kind.files:
                raise InputError(
                    f"{folder}: the manifest lists '{shown(name)}', which no {kind.name} has; "
                    "save it again"
                )
            self._content[name] = self._mapped(name, expected)
        # all sizes are right before the first file is read
        for name, expected in listed.items():
            content = self._content[name]
            if hashlib.sha256(content).hexdigest() != expected.get("sha256"):
                raise self._damaged(name)
            _release_pages(content)

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return bytes(self._content[name])

    def json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a file.

        Raises
        ------
        InputError
            If the file holds no JSON object, nests too deeply, or holds a number that JSON lacks.
        """
        return parse_json(self.read(name), self.folder / name)

    def arrays(self, name: str, specs: Mapping[str, ArraySpec]) -> Arrays:
        """Return the arrays of a safetensors file, as read-only views of the mapped file.

        Parameters
        ----------
        name : str
        specs : mapping of str to ArraySpec
            What the file must hold: exactly these arrays.

        Raises
        ------
        InputError
            If an array is missing, unknown, of another dtype or shape, not where its shape needs
            it, not finite, or has a value beyond its limit.
        """
        content = self._content[name]
        try:
            arrays = _parse_arrays(content, specs)
        except ValueError as error:
            raise InputError(
                f"{self.folder / name}: {error}; copy or save the {self.kind.name} again"
            ) from None
        _release_pages(content)
        return arrays

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """Return the shapes that the header of a safetensors file claims, by array.

        They are claims until `arrays` has checked them.
        """
        try:
            header, _ = _parse_header(self._content[name])
        except ValueError as error:
            raise InputError(
                f"{self.folder / name}: {error}; copy or save the {self.kind.name} again"
            ) from None
        return {array: tuple(entry["shape"]) for array, entry in header.items()}

    def _mapped(self, name: str, expected: Any) -> bytes | mmap.mmap:
        """Map a file and compare its size with its entry in the manifest."""
        if not isinstance(expected, dict) or type(expected.get("bytes")) is not int:
            raise InputError(
                f"{self.folder / MANIFEST}: is damaged; save the {self.kind.name} again"
            )
        content = _map_regular_file(self.folder, name, self.kind.files[name], self.kind.name)
        if len(content) != expected["bytes"]:
            raise self._damaged(name)
        return content

    def _damaged(self, name: str) -> InputError:
        return InputError(
            f"{self.folder / name}: is damaged (its checksum differs); "
            f"copy or save the {self.kind.name} again"
        )


def kind_of(folder: Path) -> str:
    """Return the kind that the manifest of a folder names.

    Raises
    ------
    InputError
        If the folder is missing, not sealed, or its manifest is damaged.
    """
    return str(_read_manifest(folder, "vitrina encoder or classifier")["kind"])


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object from a file that may come from a stranger.

    NaN and infinities are read, because records of training may hold them.

    Raises
    ------
    InputError
        If the bytes are not a JSON object or nest too deeply.
    """
    content = _parse_object(data)
    if content is None:
        raise InputError(f"{path}: is damaged (no JSON object); save it again")
    return content


def _parse_object(data: bytes) -> dict[str, Any] | None:
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


def _read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """Read and check the manifest of a sealed folder; `kind` serves the messages only."""
    try:
        about = folder.stat()
    except (FileNotFoundError, ValueError):
        raise InputError(f"{folder}: no such folder; give the path of a saved {kind}") from None
    except OSError as error:
        raise InputError(f"{folder}: {_reason(error)}; give the path of a saved {kind}") from None
    if not stat.S_ISDIR(about.st_mode):
        raise InputError(f"{folder}: is a file; give the folder of a saved {kind}")
    if not os.path.lexists(folder / MANIFEST):
        raise InputError(
            f"{folder}: has no {MANIFEST}, so it is not a {kind}, or not a complete one; "
            "save it again"
        )
    content = _map_regular_file(folder, MANIFEST, _MANIFEST_BYTES, kind)
    manifest = _parse_object(bytes(content))
    if manifest is None or not _is_manifest(manifest):
        raise InputError(f"{folder / MANIFEST}: is damaged; copy or save the {kind} again")
    return manifest


def _is_manifest(content: Mapping[str, Any]) -> bool:
    """Whether a manifest has a kind that can be printed, a format and files."""
    kind, version = content.get("kind"), content.get("format_version")
    if not isinstance(kind, str) or not kind.isprintable() or len(kind) > _LONGEST_KIND:
        return False
    return (
        type(version) is int
        and 0 <= version <= _LARGEST_VERSION
        and isinstance(content.get("files"), dict)
    )


def _check_kind(folder: Path, manifest: Mapping[str, Any], kind: FolderKind) -> None:
    found, version = manifest["kind"], manifest["format_version"]
    if found != kind.name:
        raise InputError(
            f"{folder}: holds a {found}, not a {kind.name}; give the folder of a {kind.name}"
        )
    if version > kind.format_version:
        raise InputError(
            f"{folder}: has format {version}, newer than {kind.format_version}, the newest that "
            "this version of vitrina reads; upgrade it with: pip install -U vitrina"
        )


def _map_regular_file(folder: Path, name: str, limit: int, kind: str) -> bytes | mmap.mmap:
    """Map a file inside a folder, reached without following links.

    Links could lead outside the folder, to a device that never ends, or to a pipe that blocks.
    """
    path = folder / name
    place = folder
    for part in name.split("/")[:-1]:
        place = place / part
        if place.is_symlink():
            raise InputError(f"{place}: is a link; copy the folder itself there")
    try:
        # checked before opening, which alone can have an effect on a device
        _check_regular(path, os.lstat(path), limit, kind)
        # the file may have been replaced since; opening a pipe would wait for ever
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: is missing; copy or save the {kind} again") from None
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}; check the right to read it") from None
    try:
        about = os.fstat(descriptor)
        _check_regular(path, about, limit, kind)
        return _mapping(path, descriptor, about.st_size)
    finally:
        os.close(descriptor)


def _mapping(path: Path, descriptor: int, size: int) -> bytes | mmap.mmap:
    if size == 0:  # nothing can be mapped
        return b""
    try:
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: can't be mapped into memory ({_reason(error)}); free some memory, or copy "
            "it to a local disk"
        ) from None


def _release_pages(content: bytes | mmap.mmap) -> None:
    """Give the memory of a mapped file back to the system.

    A check reads the whole file into memory, but a loaded encoder uses only parts of it. The system
    reads those again when they are used.
    """
    if isinstance(content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED)


def _check_regular(path: Path, about: os.stat_result, limit: int, kind: str) -> None:
    """Raise an error unless a file is a regular one within its limit."""
    if stat.S_ISLNK(about.st_mode):
        raise InputError(f"{path}: is a link; copy the file itself there")
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"{path}: is not a regular file; copy or save the {kind} again")
    if about.st_size > limit:
        raise InputError(
            f"{path}: has {about.st_size:,} bytes, more than the {limit:,} that such a file "
            f"may have; save the {kind} again"
        )


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or "can't be read"
    return str(text).lower()


def _parse_header(data: bytes | mmap.mmap) -> tuple[dict[str, dict[str, Any]], int]:
    """Read the header of a safetensors file: entries by array, and where the arrays start.

    Raises
    ------
    ValueError
        If the file is no safetensors file.
    """
    length = int.from_bytes(data[:8], "little")
    start = 8 + length
    if len(data) < 8 or length > _HEADER_BYTES or start > len(data):
        raise ValueError("is no safetensors file")
    header = _parse_object(data[8:start])
    if header is None:
        raise ValueError("has no readable header")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if not _is_entry(entry):
            raise ValueError(f"has no readable header for the array '{shown(name)}'")
    return header, start


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


def _parse_arrays(data: bytes | mmap.mmap, specs: Mapping[str, ArraySpec]) -> Arrays:
    """Read and check the arrays of a safetensors file; ValueError says what is wrong."""
    header, start = _parse_header(data)
    if header.keys() != specs.keys():
        found, wanted = shown(", ".join(sorted(header)) or "none"), ", ".join(sorted(specs))
        raise ValueError(f"holds the arrays {found}, not {wanted}")
    arrays = {}
    end = 0
    for name in sorted(header, key=lambda name: tuple(header[name]["data_offsets"])):
        entry, spec = header[name], specs[name]
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
        if (start + first) % dtype.itemsize:
            raise ValueError(f"{name} is not aligned to its numbers")
        if start + last > len(data):
            raise ValueError("is cut short")
        array = np.frombuffer(data, dtype, math.prod(spec.shape), start + first)
        _check_numbers(name, array, spec)
        arrays[name] = array.reshape(spec.shape)
        end = last
    if start + end != len(data):
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


def require(
    content: Mapping[str, Any], name: str, check: Callable[[Any], bool], expected: str, path: Path
) -> Any:
    """Return a field of a JSON object.

    Raises
    ------
    InputError
        If the field is missing or `check` does not hold for it.
    """
    value = content.get(name)
    if name not in content or not check(value):
        found = _short_repr.repr(value) if name in content else "missing"
        raise InputError(f"{path}: {name} is {found}; it should be {expected}; save it again")
    return value


_short_repr = reprlib.Repr()
_short_repr.maxstring = _short_repr.maxother = _short_repr.maxlong = 80
