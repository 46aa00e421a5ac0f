"""Bounds on the memory and the time that a table from anyone can take."""

from __future__ import annotations

import gzip
import re
import secrets
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitrina.compiled import compiled
from vitrina.errors import InputError
from vitrina.hashing import fnv1a

MAX_RECORD = 16 * 2**20
"""Bytes that one row of a text file may have; up to 1 MiB more is not noticed."""

MAX_COLUMNS = 10_000
"""Columns that a table may have, and distinct keys that JSON lines may have at any depth."""

READING_MEMORY = 512 * 2**20
"""Bytes of memory that reading a file in parts takes at most, besides what is kept of it."""

# A block of records is parsed at once. Its cells are limited, too, because a missing cell takes
# memory but no bytes of the file.
_BLOCK_BYTES = 4 * 2**20
_BLOCK_CELLS = 2**21

_CHUNK_BYTES = 2**20
_GZIP = b"\x1f\x8b"
# polars decompresses these by itself, without any bound
_UNSUPPORTED = {
    "zstd": (b"\x28\xb5\x2f\xfd",),
    "zlib": (b"\x78\x01", b"\x78\x9c", b"\x78\xda"),
}

# places in the state of a scan
_IN_QUOTES, _AFTER_BACKSLASH, _AFTER_TEXT, _BYTES, _FIELDS, _ROWS, _END, _COLUMNS = range(8)
_QUOTE = ord('"')
_NEWLINE = ord("\n")
_BACKSLASH = ord("\\")
_COLON = ord(":")
_SPACES = (ord(" "), ord("\t"), ord("\r"))
_SLOTS = 2**15  # of the table of hashes of keys: more than twice MAX_COLUMNS


def text_blocks(path: Path, separator: str | None) -> Iterator[bytes]:
    """Read a text file, also compressed by gzip, in blocks of whole records.

    Parameters
    ----------
    path : Path
    separator : str or None
        The separator of the columns of a CSV file; None for JSON lines.

    Yields
    ------
    bytes
        The first record that is not blank (see `is_blank`), perhaps after blank ones, then blocks
        of about 4 MiB, or of fewer bytes if they have many cells. A record of a CSV file ends at a
        line end with an even number of quotes before it.

    Raises
    ------
    InputError
        If a record has more than `MAX_RECORD` bytes, the table has more than `MAX_COLUMNS` columns
        or keys, or the file is compressed by another method.
    """
    scan = _Scan(path, separator)
    block = bytearray()
    complete = 0  # bytes of the block that are whole records
    for chunk in _chunks(path):
        start = 0
        while start < len(chunk):
            stop, end = scan(chunk, start)
            if end >= 0:
                complete = len(block) + end - start
            block += memoryview(chunk)[start:stop]
            start = stop
            if complete and (scan.is_full or complete >= _BLOCK_BYTES):
                records = bytes(memoryview(block)[:complete])
                yield records
                del block[:complete]
                complete = 0
                scan.start_block(is_blank(records))
    if block:
        yield bytes(block)


def is_blank(records: bytes) -> bool:
    """Return whether records hold nothing, so that the header of a CSV file still follows."""
    return not records.strip(b"\r\n\xef\xbb\xbf")


class _Scan:
    """Finds the ends of records, and counts columns and keys, over consecutive chunks of a file."""

    def __init__(self, path: Path, separator: str | None) -> None:
        self.path = path
        self.separator = separator
        self.rows_before = 0
        self.max_rows = 1
        self.state = np.zeros(8, np.int64)
        self.keys = np.zeros(_SLOTS, np.uint64)
        # The hash of the current text starts from a secret number, so that nobody can choose keys
        # of equal hashes to hide how many there are.
        self.start_hash = np.uint64(secrets.randbits(64))
        self.text_hash = np.zeros(1, np.uint64)

    def __call__(self, chunk: bytes, start: int) -> tuple[int, int]:
        """Return where the scan stopped, and the end of the last record before that (or -1).

        The scan stops where the chunk ends or the block is full.
        """
        data = np.frombuffer(chunk, np.uint8)
        state = self.state
        if self.separator is None:
            hashes = (self.keys, self.text_hash, self.start_hash)
            stop = _scan_json(data, start, self.max_rows, state, *hashes)
        else:
            stop = _scan_csv(data, start, self.max_rows, ord(self.separator), state)
        self._check()
        return int(stop), int(state[_END])

    def _check(self) -> None:
        if self.state[_COLUMNS] > MAX_COLUMNS:
            what = "keys" if self.separator is None else "columns"
            raise InputError(
                f"{self.path}: has more than {MAX_COLUMNS:,} {what}: keep those that are needed"
            )
        if self.state[_BYTES] > MAX_RECORD:
            row = self.rows_before + int(self.state[_ROWS]) + 1
            advice = "shorten it" if self.separator is None else "is a quote left open?"
            raise InputError(
                f"{self.path}: row {row:,} has more than {MAX_RECORD // 2**20} MiB: {advice}"
            )

    @property
    def is_full(self) -> bool:
        """Whether the block has as many rows as it may have."""
        return bool(self.state[_ROWS] >= self.max_rows)

    def start_block(self, is_blank: bool) -> None:
        self.rows_before += int(self.state[_ROWS])
        self.state[_ROWS] = 0
        if is_blank:
            return  # the next block is still to hold the first record
        self.max_rows = max(1, _BLOCK_CELLS // max(1, int(self.state[_COLUMNS])))


@compiled
def _scan_csv(data: Any, start: int, max_rows: int, separator: int, state: Any) -> int:
    in_quotes = state[_IN_QUOTES]
    size = state[_BYTES]
    fields = state[_FIELDS]
    state[_END] = -1
    place = start
    while place < len(data):
        byte = data[place]
        place += 1
        size += 1
        if byte == _QUOTE:
            in_quotes ^= 1
        elif byte == separator and in_quotes == 0:
            fields += 1
        elif byte == _NEWLINE and in_quotes == 0:
            # blank lines before the header are no rows
            if size > 1 or state[_COLUMNS] > 0:
                state[_COLUMNS] = max(state[_COLUMNS], fields + 1)
                state[_ROWS] += 1
            state[_END] = place
            size = 0
            fields = 0
            if state[_ROWS] >= max_rows:
                break
    # the record that goes on in the next chunk counts, too
    if size > 0:
        state[_COLUMNS] = max(state[_COLUMNS], fields + 1)
    state[_IN_QUOTES] = in_quotes
    state[_BYTES] = size
    state[_FIELDS] = fields
    return place


@compiled
def _scan_json(
    data: Any, start: int, max_rows: int, state: Any, keys: Any, text_hash: Any, start_hash: Any
) -> int:
    in_quotes = state[_IN_QUOTES]
    after_backslash = state[_AFTER_BACKSLASH]
    after_text = state[_AFTER_TEXT]
    size = state[_BYTES]
    value = text_hash[0]
    state[_END] = -1
    place = start
    while place < len(data):
        byte = data[place]
        place += 1
        size += 1
        if byte == _NEWLINE:  # within a text it would have been escaped
            in_quotes = after_backslash = after_text = size = 0
            state[_ROWS] += 1
            state[_END] = place
            if state[_ROWS] >= max_rows:
                break
        elif in_quotes == 1:
            if after_backslash == 0 and byte == _QUOTE:
                in_quotes = 0
                after_text = 1
            else:
                after_backslash = 1 if byte == _BACKSLASH and after_backslash == 0 else 0
                value = fnv1a(value, byte)
        elif byte == _QUOTE:
            in_quotes = 1
            value = start_hash
        elif after_text == 1 and byte not in _SPACES:
            # a text before a colon is a key
            if byte == _COLON and state[_COLUMNS] <= MAX_COLUMNS:
                state[_COLUMNS] += _insert(keys, value)
            after_text = 0
    state[_IN_QUOTES] = in_quotes
    state[_AFTER_BACKSLASH] = after_backslash
    state[_AFTER_TEXT] = after_text
    state[_BYTES] = size
    text_hash[0] = value
    return place


@compiled
def _insert(keys: Any, value: Any) -> int:
    """Add a hash to a table with free slots; return 1 if it is new, else 0."""
    value = value | np.uint64(1)  # zero marks a free slot
    slot = (value >> np.uint64(32)) % np.uint64(len(keys))
    while keys[slot] != 0:
        if keys[slot] == value:
            return 0
        slot = (slot + np.uint64(1)) % np.uint64(len(keys))
    keys[slot] = value
    return 1


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed if it is compressed by gzip."""
    with path.open("rb") as file:
        beginning = file.read(4)
        file.seek(0)
        for method, marks in _UNSUPPORTED.items():
            if beginning.startswith(marks):
                raise InputError(f"{path}: is compressed by {method}: compress it by gzip instead")
        # the content decides, not the name, because polars does the same
        is_gzip = beginning.startswith(_GZIP)
        stream: BinaryIO = gzip.GzipFile(fileobj=file) if is_gzip else file  # type: ignore[assignment]
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def text_size(path: Path, separator: str | None) -> int:
    """Check a text file as `text_blocks` does, and return its number of bytes, decompressed."""
    status = path.stat()
    return _text_size(path, separator, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _text_size(path: Path, separator: str | None, size: int, changed: int) -> int:
    """The size and the time of the last change tell whether a known result still holds."""
    return sum(len(block) for block in text_blocks(path, separator))


def available_memory(reserve: int = 1) -> int:
    """Return how many more bytes of memory this process can take, as far as it is known.

    The least of what the machine has, what the process's limit of addresses leaves, and what its
    control group leaves.

    Parameters
    ----------
    reserve : int, default 1
        How many addresses a byte needs. Small allocations in many threads reserve several times
        the addresses that they use.
    """
    return min(_of_machine(), _of_process() // reserve, _of_control_group())


def _of_machine() -> int:
    found = re.search(r"MemAvailable:\s+(\d+) kB", _content("/proc/meminfo"))
    return int(found[1]) * 1024 if found else sys.maxsize


def _of_process() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    found = re.match(r"\d+", _content("/proc/self/statm"))
    if limit == resource.RLIM_INFINITY or not found:
        return sys.maxsize
    return max(0, limit - int(found[0]) * resource.getpagesize())


def _of_control_group() -> int:
    folder = Path("/sys/fs/cgroup")
    limit = _content(folder / "memory.max").strip()
    used = _content(folder / "memory.current").strip()
    if not limit.isdecimal() or not used.isdecimal():
        return sys.maxsize
    return max(0, int(limit) - int(used))


def _content(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
