"""The graph: its neighbours, its changes, and the check of a file that anyone may have written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("usearch")

from vitrina.search.exact import Vectors
from vitrina.search.graph import Graph

WIDTH = 16


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    rng = np.random.default_rng(0)
    return Vectors.of(rng.random((3_000, WIDTH), np.float32))


@pytest.fixture(scope="module")
def file(vectors: Vectors) -> npt.NDArray[np.uint8]:
    graph = Graph(WIDTH)
    graph.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=1)
    return np.frombuffer(graph.to_bytes(), np.uint8)


def test_a_mapped_graph_finds_what_a_scan_finds(
    vectors: Vectors, file: npt.NDArray[np.uint8]
) -> None:
    graph = Graph.view(file, len(vectors), WIDTH)
    queries = vectors[:100]
    exact, _ = vectors.nearest(queries, 10)
    for count in (1, 100):  # usearch answers one query and many in different ways
        keys = graph.candidates(queries[:count], 30, 256)
        found, _ = vectors.ranked(queries[:count], keys.astype(np.int64), 10)
        hits = [len(set(a) & set(b)) for a, b in zip(found, exact[:count], strict=True)]
        assert np.mean(hits) > 9.5


def test_a_mapped_graph_can_change(vectors: Vectors, file: npt.NDArray[np.uint8]) -> None:
    graph = Graph.view(file, len(vectors), WIDTH)
    gone = np.arange(0, 3_000, 3, dtype=np.uint64)
    graph.remove(gone)
    assert len(graph) == 2_000
    graph.add(np.arange(5_000, 5_500, dtype=np.uint64), vectors[:500], threads=1)
    again = Graph.view(np.frombuffer(graph.to_bytes(), np.uint8), 2_500, WIDTH)
    keys = again.candidates(vectors[:300], 10, 128)
    assert not np.isin(keys, gone).any()
    assert (keys[:, 0] == 5_000 + np.arange(300)).mean() > 0.5  # the others are equal ones


def test_fewer_vectors_than_wanted(vectors: Vectors) -> None:
    graph = Graph(WIDTH)
    graph.add(np.array([7, 9], np.uint64), vectors[:2])
    for count in (1, 3):
        keys = graph.candidates(vectors[:count], 5, 64)
        assert keys.shape == (count, 5)
        assert set(keys[:, :2].ravel().tolist()) == {7, 9}
        assert (keys[:, 2:] == np.iinfo(np.uint64).max).all()


def test_a_damaged_file_is_refused(vectors: Vectors, file: npt.NDArray[np.uint8]) -> None:
    count = len(vectors)

    def refused(data: npt.NDArray[np.uint8], message: str, width: int = WIDTH) -> None:
        with pytest.raises(ValueError, match=message):
            Graph.view(data, count, width)

    head = 8 + count * WIDTH
    header, levels = head + 64, head + 64 + 40
    nodes = levels + 2 * count

    def changed(place: int, value: int, size: int = 4) -> npt.NDArray[np.uint8]:
        data = file.copy()
        data[place : place + size] = np.frombuffer(value.to_bytes(size, "little"), np.uint8)
        return data

    refused(file[:4], "cut short")
    refused(file[: nodes - 1], "cut short")
    refused(file[:-1], "don't fit its length")
    refused(np.append(file, file[:1]), "don't fit its length")
    refused(file, "rows of", width=17)
    refused(changed(0, 2**31), "cut short")
    refused(changed(head, ord("x"), 1), "no graph")
    refused(changed(head + 13, 0, 1), "no graph")  # the metric
    refused(changed(head + 33, 17, 8), "no graph")  # the width
    refused(changed(header, count + 1, 8), "other sizes")
    refused(changed(header + 8, 17, 8), "other sizes")
    refused(changed(header + 24, 50, 8), "starts at no node")
    refused(changed(header + 32, count, 8), "starts at no node")
    refused(changed(levels, 2**16 - 1, 2), "don't fit its length")
    first_links = nodes + 10
    refused(changed(first_links, 33), "link to no node")
    refused(changed(first_links + 4, count), "link to no node")
    refused(changed(first_links + 4, 2**32 - 1), "link to no node")


def test_a_link_to_a_node_without_that_level_is_refused(
    vectors: Vectors, file: npt.NDArray[np.uint8]
) -> None:
    """usearch would read behind that node's last level."""
    count = len(vectors)
    levels_start = 8 + count * WIDTH + 64 + 40
    levels = file[levels_start : levels_start + 2 * count].view("<i2")
    sizes = 10 + 4 + 4 * 32 + levels.astype(int) * (4 + 4 * 16)
    starts = levels_start + 2 * count + np.cumsum(sizes) - sizes
    high, low = int(np.argmax(levels)), int(np.argmin(levels))
    assert levels[high] > 0 == levels[low]
    data = file.copy()
    upper = int(starts[high]) + 10 + 4 + 4 * 32
    assert data[upper : upper + 4].view("<u4")[0] > 0
    data[upper + 4 : upper + 8] = np.array([low], "<u4").view(np.uint8)
    with pytest.raises(ValueError, match="link to no node"):
        Graph.view(data, count, WIDTH)
