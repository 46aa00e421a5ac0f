"""The graph of usearch (HNSW) for a million vectors or more, and the check of a stored one.

HNSW: Malkov and Yashunin, Efficient and Robust Approximate Nearest Neighbor Search Using
Hierarchical Navigable Small World Graphs (2018).
"""

# numba's functions have no types
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.compiled import compiled, fork_safe_lock, number_of_threads
from vitrina.errors import MissingExtraError
from vitrina.progress import Progress
from vitrina.search.exact import Vectors

_CONNECTIVITY = 16
_ADDED_AT_ONCE = 16_384

# usearch's file: the numbers of rows and of bytes of a row, the rows, a head, a header, the levels
# of the nodes, and the nodes: key, level, and for each level a number of neighbours and their slots
_HEAD_BYTES = 64
_KINDS = slice(13, 17)  # of the head: metric, numbers, keys, slots
_NODE_HEAD = 10
_HEADER = np.dtype(
    [
        ("size", "<u8"),
        ("connectivity", "<u8"),
        ("connectivity_base", "<u8"),
        ("max_level", "<u8"),
        ("entry_slot", "<u8"),
    ]
)


class Graph:
    """A graph over the high bytes of vectors, which are found by keys.

    Parameters
    ----------
    width : int
        Number of components of a vector.

    Raises
    ------
    MissingExtraError
        If usearch is not installed.
    """

    def __init__(self, width: int) -> None:
        self._index = _usearch_index(width)
        # usearch's threads of two searches at once would share their memory
        self._lock = fork_safe_lock()
        self._mapped: npt.NDArray[np.uint8] | None = None

    @classmethod
    def view(cls, data: npt.NDArray[np.uint8], vectors: int, width: int) -> Graph:
        """Return the graph in the bytes of a file, after a check of every link.

        Parameters
        ----------
        data : ndarray of uint8
            usearch's file. It stays mapped.
        vectors : int
            Number of vectors that it must hold at least.
        width : int

        Raises
        ------
        ValueError
            If the bytes are no such graph; the message says why.
        """
        graph = cls(width)
        _check(data, bytes(graph.to_bytes()), vectors, width)
        graph._index.view(data)
        graph._mapped = data
        return graph

    def __len__(self) -> int:
        return len(self._index)

    def add(
        self,
        keys: npt.NDArray[np.uint64],
        vectors: Vectors,
        *,
        threads: int | None = None,
        quiet: bool = True,
    ) -> None:
        """Add vectors under new keys."""
        self._own()
        threads = number_of_threads(threads)
        with Progress("graph", len(keys), quiet=quiet) as progress:
            for start in range(0, len(keys), _ADDED_AT_ONCE):
                part = slice(start, start + _ADDED_AT_ONCE)
                high = np.ascontiguousarray(vectors.high[part])
                self._index.add(keys[part], high, threads=threads)
                progress.update(min(start + _ADDED_AT_ONCE, len(keys)))

    def remove(self, keys: npt.NDArray[np.uint64]) -> None:
        """Remove the vectors of some keys."""
        self._own()
        if len(keys):
            self._index.remove(keys)

    def candidates(
        self, queries: Vectors, count: int, expansion: int, threads: int | None = None
    ) -> npt.NDArray[np.uint64]:
        """Return the keys of about the `count` nearest vectors of each query.

        Returns
        -------
        ndarray of shape (queries, count), uint64
            Where fewer were found, the rest is filled with the largest uint64.
        """
        threads = number_of_threads(threads)
        with self._lock:
            self._index.expansion_search = max(expansion, count)
            found = self._index.search(np.ascontiguousarray(queries.high), count, threads=threads)
        keys = np.array(found.keys, np.uint64).reshape(len(queries), -1)
        counts = np.reshape(getattr(found, "counts", keys.shape[1]), (-1, 1))
        filled = np.full((len(queries), count), np.iinfo(np.uint64).max)
        filled[:, : keys.shape[1]] = np.where(
            np.arange(keys.shape[1]) < counts, keys, np.iinfo(np.uint64).max
        )
        return filled

    def to_bytes(self) -> bytearray:
        """Return the graph as usearch's file."""
        return self._index.save()  # type: ignore[no-any-return]

    def _own(self) -> None:
        """Copy a mapped graph, which can't change, into memory."""
        if self._mapped is not None:
            self._index = _usearch_index(self._index.ndim)
            self._index.load(self._mapped)
            self._mapped = None


def _usearch_index(width: int) -> Any:
    try:
        from usearch.compiled import MetricKind, ScalarKind
        from usearch.index import Index
    except ModuleNotFoundError:
        raise MissingExtraError("usearch", "index") from None
    return Index(ndim=width, metric=MetricKind.Cos, dtype=ScalarKind.I8, connectivity=_CONNECTIVITY)


def _check(data: npt.NDArray[np.uint8], empty: bytes, vectors: int, width: int) -> None:
    """Raise ValueError unless usearch can search the graph without leaving the file.

    usearch follows the links of a file unchecked. `empty` is the file of an empty graph, as the
    installed version writes it.
    """
    if len(data) < 8:
        raise ValueError("is cut short")
    size, row_bytes = data[:8].view("<u4").tolist()
    head_start = 8 + size * row_bytes
    levels_start = head_start + _HEAD_BYTES + _HEADER.itemsize
    if row_bytes != width or size < vectors:
        raise ValueError(f"has {size:,} rows of {row_bytes:,} bytes, not {vectors:,} of {width:,}")
    if len(data) < levels_start + 2 * size:
        raise ValueError("is cut short")

    head = bytes(data[head_start : head_start + _HEAD_BYTES])
    own_head = empty[8 : 8 + _HEAD_BYTES]
    dimensions, is_multiple = int.from_bytes(head[33:41], "little"), head[41]
    is_same_kind = head[:7] == own_head[:7] and head[_KINDS] == own_head[_KINDS]
    if not is_same_kind or dimensions != width or is_multiple:
        raise ValueError("is no graph that the installed version of usearch reads")
    header = data[head_start + _HEAD_BYTES : levels_start].view(_HEADER)[0]
    sizes = (header["size"], header["connectivity"], header["connectivity_base"])
    if sizes != (size, _CONNECTIVITY, 2 * _CONNECTIVITY):
        raise ValueError("is a graph of other sizes")

    nodes_start = levels_start + 2 * size
    levels = data[levels_start:nodes_start].view("<i2").astype(np.int64)
    node_bytes = _NODE_HEAD + 4 + 8 * _CONNECTIVITY + levels * (4 + 4 * _CONNECTIVITY)
    ends = nodes_start + np.cumsum(node_bytes)
    if size and (levels.min() < 0 or ends[-1] != len(data)):
        raise ValueError("has nodes that don't fit its length")
    entry = int(header["entry_slot"])
    if size and (entry >= size or levels[entry] != header["max_level"]):
        raise ValueError("starts at no node")
    if not _are_links_inside(data, ends - node_bytes, levels):
        raise ValueError("has a link to no node")


@compiled
def _are_links_inside(data: Any, starts: Any, levels: Any) -> bool:
    """Whether each link leads to a node that exists on the level of the link."""
    for node in range(len(starts)):
        place = starts[node] + 8
        if data[place] + 256 * np.int64(data[place + 1]) != levels[node]:
            return False
        place += 2
        for level in range(levels[node] + 1):
            most = 2 * _CONNECTIVITY if level == 0 else _CONNECTIVITY
            count = _number(data, place)
            if count > most:
                return False
            for link in range(count):
                slot = _number(data, place + 4 + 4 * link)
                if slot >= len(starts) or levels[slot] < level:
                    return False
            place += 4 + 4 * most
    return True


@compiled
def _number(data: Any, place: int) -> Any:
    """The unsigned number of four bytes at a place."""
    total = np.int64(0)
    for i in range(4):
        total += np.int64(data[place + i]) << (8 * i)
    return total
