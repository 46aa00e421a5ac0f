"""Atomic writes: an output appears under its name only when it is complete."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vitrina.errors import InputError
from vitrina.sealed import MANIFEST, kind_of

if sys.platform != "win32":
    import fcntl

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_EXISTS = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NOT_WRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
)

# an output NAME is written in a folder .NAME.XXXXXXXX.partial, next to what it replaces
_SUFFIX = ".partial"

_LONGEST_WAIT = 10.0  # for a lock, in seconds; processes hold one for milliseconds
_PAUSE = 0.002  # between two tries to get a lock, in seconds


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
    is_free = not os.path.lexists(path) or (kind is not None and _is_empty_folder(path))
    if not is_free and not force:
        raise InputError(_exists_already(path))
    if kind is not None:
        _require_replaceable_folder(path, kind)
    elif path.is_dir():
        raise InputError(f"{path}: is a folder, which a file can't replace; choose another path")
    _require_folder_above(path)


def _exists_already(path: Path) -> str:
    return f"{path}: exists already; choose another path, or set `force` to replace it"


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
def atomic_path(
    path: Path, *, force: bool | None = None, kind: str | None = None
) -> Iterator[Path]:
    """Yield a temporary path, and rename it to `path` on success.

    The caller creates a file or a folder at the temporary path. It lies in a hidden folder next to
    `path`. On any error it is removed, and `path` stays as it was. Hidden folders of processes that
    were killed while they wrote to the same `path` are removed too.

    Parameters
    ----------
    path : Path
        The file or folder to write; missing parents are created.
    force : bool, optional
        Whether an existing output may be replaced, by the rules of `refuse_existing`. They are
        checked just before the rename, because something may have been put there since the caller
        checked them: of several processes that write to one new path, one succeeds. By default
        anything at `path` is replaced.
    kind : str, optional
        Kind of the folder to be written, if `force` is given. By default a file is to be written.

    Yields
    ------
    Path
        The temporary path. Nothing exists there yet.

    Raises
    ------
    InputError
        If the disk is full, or `path` can't be written or may not be replaced.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        with _work_folder(path) as work:
            temporary = work / path.name
            yield temporary
            _flush(temporary)
            with _moving_alone(path.parent):
                if force is False:
                    _move_or_refuse(path, temporary)
                else:
                    if force:
                        refuse_existing(path, force, kind)
                    _replace(path, temporary, _old_content(work, path))
    except InputError:
        raise
    except Exception as error:
        message = _write_failure(error)
        if message is None:
            raise
        raise InputError(f"{path}: {message}") from error


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


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _work_folder(path: Path) -> Iterator[Path]:
    """Create a hidden folder next to `path`, locked while the context is open, and remove it.

    The lock tells other processes that the folder is in use. The system releases it when the
    process ends, however that happens.
    """
    while True:
        work = Path(tempfile.mkdtemp(_SUFFIX, f".{path.name}.", path.parent))
        lock = _lock(work, _LONGEST_WAIT)
        if work.exists():
            break
        # another process took the new folder for a leftover, before it was locked
        _unlock(lock)
    try:
        yield work
    finally:
        # a failed clean-up must not hide the error that came first
        with suppress(OSError):
            _remove_work_folder(work, path)
        _unlock(lock)


def _remove_leftovers(path: Path) -> None:
    """Remove the hidden folders of processes that were killed while they wrote to `path`."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(_SUFFIX)}")
    with suppress(OSError):  # leftovers do no harm
        for entry in os.scandir(path.parent):
            if name.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                _remove_leftover(Path(entry.path), path)


def _remove_leftover(work: Path, path: Path) -> None:
    # somebody else's folder may have such a name, but not such a content
    if not {part.name for part in work.iterdir()} <= {path.name, _old_content(work, path).name}:
        return
    lock = _lock(work, 0)
    if lock is None:
        return
    try:
        _remove_work_folder(work, path)
    finally:
        _unlock(lock)


def _remove_work_folder(work: Path, path: Path) -> None:
    """Remove a hidden folder, and move the old content back if nothing has replaced it."""
    old = _old_content(work, path)
    if os.path.lexists(old) and not os.path.lexists(path):
        _move_to_free(path, old)
    remove(work)


def _old_content(work: Path, path: Path) -> Path:
    """Where the old content of `path` is moved to, while it is replaced."""
    return work / f"{path.name}.old"


@contextmanager
def _moving_alone(folder: Path) -> Iterator[None]:
    """Let no other process move an output into or out of a folder while the context is open.

    Replacing a folder takes two renames. Moving a file to a free path takes a check and a rename,
    where the file system has no hard links. If another program holds the folder's lock for long,
    nobody waits for it.
    """
    lock = _lock(folder, _LONGEST_WAIT)
    try:
        yield
    finally:
        _unlock(lock)


def _lock(folder: Path, seconds: float) -> int | None:
    """Lock a folder against other processes, and return the descriptor that holds the lock.

    None if another process holds it for longer than `seconds`, or if the system or the file system
    has no such locks. Then nobody can tell whether a folder is in use, and leftovers stay.
    """
    if sys.platform == "win32":
        return None
    end = time.monotonic() + seconds
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise
                time.sleep(_PAUSE)
            else:
                return descriptor
    except OSError:
        _unlock(descriptor)
        return None


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _move_or_refuse(path: Path, new: Path) -> None:
    """Rename `new` to `path`. If something was put there meanwhile, leave it and raise InputError.

    Of several processes that do this at once, one succeeds.
    """
    try:
        _move_to_free(path, new)
    except OSError as error:
        if error.errno not in _EXISTS:
            raise
        raise InputError(_exists_already(path)) from None


def _move_to_free(path: Path, new: Path) -> None:
    """Rename `new` to `path`; an OSError says that `path` is not free."""
    if new.is_dir():
        new.rename(path)  # a folder replaces nothing but an empty folder
        return
    try:
        os.link(new, path)  # unlike a rename, a link never replaces
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        new.rename(path)
    else:
        new.unlink()


def _replace(path: Path, new: Path, old: Path) -> None:
    """Rename `new` to `path`, replacing what is there.

    A rename can't replace a folder: the old one is moved to `old` first. After a crash at any
    moment, either the old or the new content is still complete.
    """
    if os.path.lexists(path) and (path.is_dir() or new.is_dir()):
        path.rename(old)
    new.replace(path)


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
