"""Sealed folders: what vitrina saves, and how it is checked before anything in it is used.

A folder may come from a stranger, who can also write its manifest. Checksums therefore show damage,
not good intent. Each kind of folder declares which files it may have and how large they may be, and
each array has a declared name, dtype and shape. Nothing else is opened, and no array reaches a
compiled kernel, which does no bounds checks, before it has passed.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import reprlib
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrina.errors import InputError, shown
from vitrina.hub_links import without_hub_link
from vitrina.untrusted import (
    Arrays,
    ArraySpec,
    map_regular_file,
    parse_arrays,
    parse_header,
    parse_json,
    parse_object,
    release_pages,
    system_reason,
)

MANIFEST = "manifest.json"
"""Name of the file that makes a folder a sealed one."""

NOT_SEALED = "README.md"
"""The model card. People may edit it, so no manifest lists it, and no program reads it."""

MIB = 1 << 20

_MANIFEST_BYTES = 1 * MIB
_LONGEST_KIND = 80
_LARGEST_VERSION = 1_000_000


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
            release_pages(content)

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
            arrays = parse_arrays(content, specs)
        except ValueError as error:
            raise InputError(
                f"{self.folder / name}: {error}; copy or save the {self.kind.name} again"
            ) from None
        release_pages(content)
        return arrays

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """Return the shapes that the header of a safetensors file claims, by array.

        They are claims until `arrays` has checked them.
        """
        try:
            header = parse_header(self._content[name])
        except ValueError as error:
            raise InputError(
                f"{self.folder / name}: {error}; copy or save the {self.kind.name} again"
            ) from None
        return {array: tuple(entry["shape"]) for array, entry in header.entries.items()}

    def _mapped(self, name: str, expected: Any) -> bytes | mmap.mmap:
        """Map a file and compare its size with its entry in the manifest."""
        if not isinstance(expected, dict) or type(expected.get("bytes")) is not int:
            raise InputError(
                f"{self.folder / MANIFEST}: is damaged; save the {self.kind.name} again"
            )
        content = _map_inside(self.folder, name, self.kind.files[name], self.kind.name)
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


def _read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """Read and check the manifest of a sealed folder; `kind` serves the messages only."""
    try:
        about = folder.stat()
    except (FileNotFoundError, ValueError):
        raise InputError(f"{folder}: no such folder; give the path of a saved {kind}") from None
    except OSError as error:
        raise InputError(
            f"{folder}: {system_reason(error)}; give the path of a saved {kind}"
        ) from None
    if not stat.S_ISDIR(about.st_mode):
        raise InputError(f"{folder}: is a file; give the folder of a saved {kind}")
    if not os.path.lexists(folder / MANIFEST):
        raise InputError(
            f"{folder}: has no {MANIFEST}, so it is not a {kind}, or not a complete one; "
            "save it again"
        )
    content = _map_inside(folder, MANIFEST, _MANIFEST_BYTES, kind)
    manifest = parse_object(bytes(content))
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


def _map_inside(folder: Path, name: str, limit: int, kind: str) -> bytes | mmap.mmap:
    """Map a file inside a folder, reached without following links but those of the hub's cache."""
    path = without_hub_link(folder, name)
    place = folder
    for part in name.split("/")[:-1]:
        place = place / part
        if place.is_symlink():
            raise InputError(f"{place}: is a link; copy the folder itself there")
    return map_regular_file(path, limit, f"copy or save the {kind} again")


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
