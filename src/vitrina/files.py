"""Atomic writes, and folders sealed with checksums.

Nobody ever sees a half-written result: an output appears under its name only when it is complete.
A sealed folder carries a manifest with its kind, its format and the checksum of each file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import mmap
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.errors import InputError

MANIFEST = "manifest.json"
"""Name of the file that makes a folder a sealed one."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
)


def refuse_existing(path: Path, force: bool, kind: str | None = None) -> None:
    """Raise an error if an output may not be written to `path`.

    With `force`, a file may replace a file, and a sealed folder may replace a sealed folder of the
    same kind. A folder that vitrina did not write is never replaced. An empty folder may always be
    replaced by a sealed one.

    Parameters
    ----------
    path : Path
    force : bool
        Whether an existing output may be replaced.
    kind : str, optional
        Kind of the folder to be written. By default a file is to be written.

    Raises
    ------
    InputError
        If `path` has no name, exists and may not be replaced, or has a file as a parent.
    """
    require_name(path)
    is_free = not path.exists() or (kind is not None and _is_empty_folder(path))
    if not is_free and not force:
        raise InputError(
            f"{path}: exists already; choose another path, or set `force` to replace it"
        )
    if kind is not None:
        _require_replaceable_folder(path, kind)
    elif path.is_dir():
        raise InputError(f"{path}: is a folder, which a file can't replace; choose another path")
    _require_folder_above(path)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _require_replaceable_folder(path: Path, kind: str) -> None:
    """Raise an error unless `path` is free, an empty folder, or a sealed folder of this kind."""
    if path.is_file():
        raise InputError(f"{path}: is a file, which a {kind} can't replace; choose another path")
    if not path.is_dir() or _is_empty_folder(path):
        return
    if not (path / MANIFEST).exists():
        raise InputError(f"{path}: is a folder that vitrina didn't write; choose another path")
    existing_kind = kind_of(path)
    if existing_kind != kind:
        raise InputError(
            f"{path}: holds a {existing_kind}, which a {kind} can't replace; choose another path"
        )


def _require_folder_above(path: Path) -> None:
    """Raise an error if the nearest existing parent of `path` is not a folder."""
    for parent in path.parents:
        if parent.is_dir():
            return
        if parent.exists():
            raise InputError(f"{path}: {parent} is a file, not a folder; choose another path")


def require_name(path: Path) -> None:
    """Raise an error if the path of an output has no last part that names it.

    Raises
    ------
    InputError
        For paths such as '.' and '..'.
    """
    if path.name in ("", ".."):
        raise InputError(f"{path}: has no name for the output; give one, such as {path / 'out'}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and rename it to `path` on success.

    The caller creates a file or a folder at the temporary path. On any error it is removed, and
    `path` stays as it was.

    Parameters
    ----------
    path : Path
        The file or folder to write. It is replaced if it exists; missing parents are created.

    Yields
    ------
    Path
        The temporary path. Nothing exists there yet.

    Raises
    ------
    InputError
        If the disk is full or `path` can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        yield temporary
        _flush(temporary)
        _replace(path, temporary)
    except InputError:
        raise
    except Exception as error:
        message = _write_failure(error)
        if message is None:
            raise
        raise InputError(f"{path}: {message}") from error
    finally:
        # a failed clean-up must not hide the error that came first
        with suppress(OSError):
            _remove(temporary)


def write_json(path: Path, content: Any) -> None:
    """Write a value as indented JSON, atomically.

    Parameters
    ----------
    path : Path
    content : dict, list, str, float, int, bool or None

    Raises
    ------
    InputError
        If the disk is full or `path` can't be written.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")


def seal(folder: Path, kind: str, format_version: int) -> None:
    """Write the manifest of a folder: its kind, its format, and each file's size and SHA-256.

    The manifest leaves out model cards (README.md), because people may edit them.

    Parameters
    ----------
    folder : Path
    kind : str
        What the folder holds, such as 'vitrina encoder'.
    format_version : int
    """
    names = []
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "README.md":
            names.append(path.relative_to(folder).as_posix())
    files = {name: _fingerprint(folder / name) for name in sorted(names)}
    manifest = {"kind": kind, "format_version": format_version, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def check_sealed(folder: Path, kind: str, format_version: int) -> None:
    """Check that a sealed folder is complete and undamaged.

    Parameters
    ----------
    folder : Path
    kind : str
        The kind that the folder must have.
    format_version : int
        The newest format that the caller can read.

    Raises
    ------
    InputError
        If the folder is missing, not sealed, of another kind or of a newer format, or if one of
        its files is missing or differs from its checksum.
    """
    manifest = _read_manifest(folder, kind)
    existing_kind = manifest["kind"]
    version = manifest["format_version"]
    if existing_kind != kind:
        raise InputError(
            f"{folder}: holds a {existing_kind}, not a {kind}; give the folder of a {kind}"
        )
    if version > format_version:
        raise InputError(
            f"{folder}: has format {version}, newer than {format_version}, the newest that this "
            "version of vitrina reads; upgrade it with: pip install -U vitrina"
        )
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: is missing; copy or save the {kind} again")
        if _fingerprint(path) != expected:
            raise InputError(
                f"{path}: is damaged (its checksum differs); copy or save the {kind} again"
            )


def kind_of(folder: Path) -> str:
    """Return the kind of a sealed folder.

    Raises
    ------
    InputError
        If the folder is missing, not sealed, or its manifest is damaged.
    """
    return str(_read_manifest(folder, "vitrina encoder or classifier")["kind"])


def _read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """Read and check the manifest of a sealed folder; `kind` serves the messages only."""
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; give the path of a saved {kind}")
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; give the folder of a saved {kind}")
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: has no {MANIFEST}, so it is not a {kind}, or not a complete one; "
            "save it again"
        ) from None
    except ValueError:  # not JSON, or not UTF-8
        manifest = None
    if not _is_manifest(manifest):
        raise InputError(f"{folder / MANIFEST}: is damaged; copy or save the {kind} again")
    return dict(manifest)


def _is_manifest(content: Any) -> bool:
    """Whether the content of a JSON file has the fields of a manifest, with the right types."""
    if not isinstance(content, dict):
        return False
    types = {"kind": str, "format_version": int, "files": dict}
    return all(isinstance(content.get(field), type_) for field, type_ in types.items())


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_arrays(path: Path, *, mapped: bool) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of a safetensors file.

    Parameters
    ----------
    path : Path
    mapped : bool
        Whether to map the file into memory, so that each part is read at its first use. Otherwise
        the file is read at once.

    Returns
    -------
    dict of str to ndarray, float32 or int8
        The arrays by name. They are read-only views of the file's content.

    Raises
    ------
    ValueError, KeyError
        If the file is not a safetensors file, or an array has another dtype.
    """
    data: mmap.mmap | bytes
    if mapped:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    else:
        data = path.read_bytes()
    # the file holds the header's length (8 bytes), the header (JSON), then the arrays
    arrays_start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:arrays_start])
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype = {"F32": np.float32, "I8": np.int8}[entry["dtype"]]
        shape = entry["shape"]
        start = arrays_start + entry["data_offsets"][0]
        arrays[name] = np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)
    return arrays


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replace(path: Path, new: Path) -> None:
    """Rename `new` to `path`, replacing what is there.

    After a crash at any moment, either the old or the new content is still complete. If the crash
    comes between the two renames of a folder, the old folder remains under its hidden name.
    """
    replaces_folder = os.path.lexists(path) and (path.is_dir() or new.is_dir())
    if not replaces_folder:
        new.replace(path)
        return
    # a rename can't replace a folder, so the old one is moved out of the way first
    old = new.with_suffix(".old")
    path.rename(old)
    try:
        new.replace(path)
    except BaseException:
        old.rename(path)
        raise
    _remove(old)


def _flush(path: Path) -> None:
    """Write a file, or all files of a folder, to the disk.

    Without this, the rename could reach the disk before the content does, and a power cut would
    leave an empty file under the final name.
    """
    files = path.rglob("*") if path.is_dir() else [path]
    for file in files:
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _write_failure(error: Exception) -> str | None:
    """Why writing failed and how to fix it; None if the error is not about writing."""
    code = error.errno if isinstance(error, OSError) else None
    message = str(error)
    # safetensors and polars give the system's error code only in their message
    if found := re.search(r"\(os error (\d+)\)", message):
        code = int(found[1])
    # numpy gives no code when the disk is full
    if re.search(r"\d requested and \d+ written", message):
        code = errno.ENOSPC

    if code in _DISK_FULL:
        return "the disk is full; free some space and run the command again"
    if code in _NOT_WRITABLE:
        return f"can't be written ({os.strerror(code)}); choose another path"
    return None
