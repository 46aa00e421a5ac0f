"""The files that a path or a glob names, and their formats by their extensions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrina.errors import InputError

_FORMATS = {
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".jl": "JSON lines",
    ".json-lines": "JSON lines",
}


def files_of(source: str | Path | Sequence[str | Path], what: str = "files") -> list[Path]:
    """Return the files that a source names, after a check that all exist and none is empty.

    Parameters
    ----------
    source : path or list of paths
    what : str
        What the rows are, for messages.

    Returns
    -------
    list of Path
        The files that match a glob are sorted.

    Raises
    ------
    InputError
        If a file is missing, empty, a folder or unreadable, or a glob matches nothing.
    """
    given = [source] if isinstance(source, str | Path) else list(source)
    if not given:
        raise InputError(f"{what}: no file given: name at least one")
    files: list[Path] = []
    try:
        for path in given:
            files.extend(_expand(Path(path).expanduser(), what))
        for file in files:
            _check(file, what)
    except OSError as error:  # for example a folder without permission, or a name too long
        raise InputError(
            f"{what}: {error.filename or given[0]}: can't be read ({error.strerror}): check the "
            "path and the right to read it"
        ) from error
    return files


def _check(file: Path, what: str) -> None:
    if file.is_dir():
        # suggest a glob for the first table in the folder
        table = next((inner for inner in sorted(file.iterdir()) if known_format(inner)), None)
        pattern = "*.parquet" if table is None else "*" + "".join(table.suffixes[-2:])
        raise InputError(f"{what}: {file} is a folder: name its files, as in {file / pattern}")
    if not file.exists():
        raise InputError(f"{what}: {file}: no such file: check the path")
    if file.stat().st_size == 0:
        raise InputError(f"{what}: {file} is empty (0 bytes): write or download it again")


def _expand(path: Path, what: str) -> list[Path]:
    """The files that match a glob, sorted; any other path is returned as it is."""
    wild = [i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")]
    # a file whose name looks like a glob is that file
    if not wild or path.exists():
        return [path]
    base = Path(*path.parts[: wild[0]])
    pattern = "/".join(path.parts[wild[0] :])
    files = sorted(file for file in base.glob(pattern) if file.is_file())
    if not files:
        raise InputError(f"{what}: no file matches {path}: check the pattern")
    return files


def known_format(file: Path) -> str | None:
    """Return the format that a file's extension stands for; None if unknown."""
    name = file.name.lower()
    is_gzip = name.endswith(".gz")
    found = _FORMATS.get(Path(name.removesuffix(".gz")).suffix)
    if is_gzip and found == "Parquet":
        return None
    return found


def format_of(file: Path, what: str = "files") -> str:
    """Return 'Parquet', 'CSV', 'TSV' or 'JSON lines', as a file's extension says.

    Parameters
    ----------
    file : Path
    what : str
        What the rows are, for messages.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If the extension is unknown.
    """
    found = known_format(file)
    if found is None:
        raise InputError(
            f"{what}: {file}: unknown extension: use {', '.join(_FORMATS)} "
            "(all but Parquet also with .gz)"
        )
    return found
