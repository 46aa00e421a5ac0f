"""Atomic writes: an output appears under its name only when it is complete."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import Any

from vitrina.errors import InputError
from vitrina.sealed import MANIFEST, kind_of

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


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
