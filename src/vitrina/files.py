"""Writing without half-written results: atomic files, sealed folders."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitrina.errors import InputError

MANIFEST = "manifest.json"


def refuse_existing(path: Path, force: bool) -> None:
    """Raise InputError if `path` exists and may not be replaced, or if its parent is no folder."""
    if path.exists() and not force:
        raise InputError(f"{path}: exists already; choose another path or replace it with --force")
    for parent in path.parents:
        if parent.exists():
            if not parent.is_dir():
                raise InputError(f"{path}: {parent} is a file, not a folder; choose another path")
            break


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (not yet made) that replaces it only on success.

    The temporary may become a file or a folder. On any error it is removed and `path` stays as
    it was.

    Raises
    ------
    InputError
        if the disk is full or the place can't be written
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove(temporary)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        if path.is_dir() and not path.is_symlink():
            _remove(path)  # a folder can't be replaced by a rename
        temporary.replace(path)
    except OSError as error:
        raise _readable(error, path) from error
    finally:
        _remove(temporary)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def seal(folder: Path, kind: str, format_version: int) -> None:
    """Write the folder's manifest: what it is, its format, and each file's size and SHA-256."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": file_digest(folder / name)}
        for name in names
    }
    write_json(folder / MANIFEST, {"kind": kind, "format_version": format_version, "files": files})


def check_sealed(folder: Path, kind: str, format_version: int) -> None:
    """Raise InputError unless `folder` is a whole, undamaged folder of this kind and format."""
    manifest = _manifest(folder, kind)
    found, version, files = manifest["kind"], manifest["format_version"], manifest["files"]
    if found != kind:
        raise InputError(f"{folder}: holds a {found}, not a {kind}; give the folder of a {kind}")
    if version > format_version:
        raise InputError(
            f"{folder}: has format {version}, newer than {format_version}, the newest that this "
            "version of vitrina reads; upgrade it with: pip install -U vitrina"
        )
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: is missing; copy or save the {kind} again")
        if path.stat().st_size != expected["bytes"] or file_digest(path) != expected["sha256"]:
            raise InputError(
                f"{path}: is damaged (its checksum differs); copy or save the {kind} again"
            )


def kind_of(folder: Path) -> str:
    """What a sealed folder holds; InputError if it is none."""
    return str(_manifest(folder, "vitrina encoder or classifier")["kind"])


def _manifest(folder: Path, kind: str) -> dict[str, Any]:
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; give the path of a saved {kind}")
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; give the folder of a saved {kind}")
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        if not {"kind", "format_version", "files"} <= set(manifest):
            raise ValueError
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no {MANIFEST}, so this is no {kind} or an incomplete one; save it again"
        ) from None
    except (ValueError, TypeError):
        raise InputError(
            f"{folder / MANIFEST}: is damaged; copy or save the {kind} again"
        ) from None
    return dict(manifest)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have the disk hold the bytes before the rename makes them the truth."""
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _readable(error: OSError, path: Path) -> InputError | OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InputError(f"{path}: the disk is full; free some space and run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return InputError(f"{path}: can't be written ({error.strerror}); choose another path")
    return error
