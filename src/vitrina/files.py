"""Writing without half-written results: atomic files, sealed folders."""

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


def refuse_existing(path: Path, force: bool, kind: str | None = None) -> None:
    """Raise InputError if `path` may not be written.

    `force` replaces like with like: a file with a file, a sealed folder with a folder of the same
    kind. Never somebody else's folder; an empty one needs no force.

    Parameters
    ----------
    path
    force : bool
    kind : str, optional
        What the folder to be written holds; a file is to be written by default.
    """
    require_name(path)
    empty = path.is_dir() and kind is not None and not any(path.iterdir())
    if path.exists() and not empty and not force:
        raise InputError(f"{path}: exists already; choose another path or replace it with --force")
    if path.is_dir() and kind is None:
        raise InputError(f"{path}: is a folder, which a file can't replace; choose another path")
    if path.is_file() and kind is not None:
        raise InputError(f"{path}: is a file, which a {kind} can't replace; choose another path")
    if path.is_dir() and not empty:
        if not (path / MANIFEST).exists():
            raise InputError(f"{path}: is a folder that vitrina didn't write; choose another path")
        if (found := kind_of(path)) != kind:
            raise InputError(
                f"{path}: holds a {found}, which a {kind} can't replace; choose another path"
            )
    for parent in path.parents:
        if parent.exists():
            if not parent.is_dir():
                raise InputError(f"{path}: {parent} is a file, not a folder; choose another path")
            break


def require_name(path: Path) -> None:
    """Raise InputError if an output's path has no last name, as '.' hasn't."""
    if path.name in ("", ".."):
        raise InputError(f"{path}: is no name for an output; give one, such as {path / 'out'}")


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
        if message := _reason(error, path):
            raise InputError(f"{path}: {message}") from error
        raise
    finally:
        with suppress(OSError):  # what went wrong before is what the user should read
            _remove(temporary)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def seal(folder: Path, kind: str, format_version: int) -> None:
    """Write the folder's manifest: what it is, its format, and each file's size and SHA-256.

    Model cards (README.md) are for people, who may edit them: they are left out.
    """
    files_inside = (p for p in folder.rglob("*") if p.is_file() and p.name != "README.md")
    names = sorted(p.relative_to(folder).as_posix() for p in files_inside)
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": file_digest(folder / name)}
        for name in names
    }
    manifest = {"kind": kind, "format_version": format_version, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


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
        if {"bytes": path.stat().st_size, "sha256": file_digest(path)} != expected:
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
        whole = (
            isinstance(manifest, dict)
            and isinstance(manifest["kind"], str)
            and isinstance(manifest["format_version"], int)
            and isinstance(manifest["files"], dict)
        )
        if not whole:
            raise ValueError
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no {MANIFEST}, so this is no {kind} or an incomplete one; save it again"
        ) from None
    except (ValueError, KeyError):
        raise InputError(
            f"{folder / MANIFEST}: is damaged; copy or save the {kind} again"
        ) from None
    return dict(manifest)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_arrays(path: Path, *, mapped: bool) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a safetensors file, read at once, or each when it is first looked at (mapped).

    Raises
    ------
    ValueError, KeyError
        for a file of another kind, or with numbers of another kind than float32 and int8
    """
    data: mmap.mmap | bytes
    if mapped:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    else:
        data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    arrays = {}
    for name, about in json.loads(data[8:start]).items():
        if name != "__metadata__":
            dtype = {"F32": np.float32, "I8": np.int8}[about["dtype"]]
            count = math.prod(about["shape"])
            array = np.frombuffer(data, dtype, count, start + about["data_offsets"][0])
            arrays[name] = array.reshape(about["shape"])
    return arrays


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replace(path: Path, new: Path) -> None:
    """Rename `new` to `path`. A crash at any moment leaves the old content or the new, whole: at
    worst the old folder under its hidden name, between the two renames."""
    if not os.path.lexists(path) or not (path.is_dir() or new.is_dir()):
        new.replace(path)
        return
    # a folder can't be replaced by a rename: the old one steps aside first
    old = new.with_suffix(".old")
    path.rename(old)
    try:
        new.replace(path)
    except BaseException:
        old.rename(path)
        raise
    _remove(old)


def _flush(path: Path) -> None:
    """Have the disk hold the bytes before the rename makes them the truth."""
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _reason(error: Exception, path: Path) -> str | None:
    """Why `path` can't be written, and the mend; None for an error of another kind."""
    code = error.errno if isinstance(error, OSError) else None
    if found := re.search(r"\(os error (\d+)\)", str(error)):  # safetensors and polars say it so
        code = int(found[1])
    if re.search(r"\d requested and \d+ written", str(error)):  # numpy, which gives no code
        code = errno.ENOSPC
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full; free some space and run the command again"
    if code in (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EEXIST,
        errno.ENOTDIR,
        errno.ENAMETOOLONG,
    ):
        return f"can't be written ({os.strerror(code)}); choose another path"
    return None
