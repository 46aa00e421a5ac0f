"""The exact scan against brute force and faiss, and its bits in any batch and with any threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vitrina.errors import InputError
from vitrina.search.exact import Vectors

Floats = npt.NDArray[np.float32]


def mixture(count: int, width: int, seed: int, *, signed: bool = False) -> Floats:
    """Vectors around some centres: like titles, some are near each other."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, width))
    vectors = centres[rng.integers(0, 20, count)] + 0.5 * rng.standard_normal((count, width))
    return (vectors if signed else np.maximum(vectors, 0)).astype(np.float32)


def cosines(queries: Floats, vectors: Floats) -> npt.NDArray[np.float64]:
    a, b = queries.astype(float), vectors.astype(float)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    return a @ b.T


@pytest.mark.parametrize("width", [1, 3, 64, 512, 2_000])
@pytest.mark.parametrize("signed", [False, True])
def test_equals_brute_force(width: int, signed: bool) -> None:
    vectors, queries = mixture(700, width, 0, signed=signed), mixture(9, width, 1, signed=signed)
    vectors[:, 0] += 0.01  # none is zero
    queries[:, 0] += 0.01
    expected = cosines(queries, vectors)
    rows, similarity = Vectors.of(vectors).nearest(Vectors.of(queries), 10)
    found = np.take_along_axis(expected, rows, 1)
    np.testing.assert_allclose(similarity, found, atol=2e-5)
    # nearly equal cosines may change places, others may not
    tenth = np.sort(expected, axis=1)[:, -10]
    assert (found >= tenth[:, None] - 4e-5).all()
    assert (np.diff(similarity, axis=1) <= 0).all()
    assert all(len(set(some)) == 10 for some in rows.tolist())


def test_equals_faiss() -> None:
    faiss: Any = pytest.importorskip("faiss")
    vectors, queries = mixture(5_000, 512, 2), mixture(40, 512, 3)
    for array in (vectors, queries):
        faiss.normalize_L2(array)
    index = faiss.IndexFlatIP(512)
    index.add(vectors)
    expected, expected_rows = index.search(queries, 11)
    rows, similarity = Vectors.of(vectors).nearest(Vectors.of(queries), 10)
    np.testing.assert_allclose(similarity, expected[:, :10], atol=1e-5)
    # where neighbours are clearly apart, they are the same
    is_clear = np.diff(expected, axis=1).max(axis=1) < -2e-5
    assert is_clear.any()
    np.testing.assert_array_equal(rows[is_clear], expected_rows[is_clear, :10])


def test_the_same_bits_in_any_batch_and_with_any_threads() -> None:
    vectors, queries = Vectors.of(mixture(999, 64, 4)), Vectors.of(mixture(300, 64, 5))
    rows, similarity = vectors.nearest(queries, 7, threads=1)
    for threads in (2, 3, 8):
        again = vectors.nearest(queries, 7, threads=threads)
        np.testing.assert_array_equal(again[0], rows)
        assert again[1].tobytes() == similarity.tobytes()
    for query in (0, 1, 150, 299):
        alone = vectors.nearest(queries[query : query + 1], 7, threads=2)
        np.testing.assert_array_equal(alone[0][0], rows[query])
        assert alone[1][0].tobytes() == similarity[query].tobytes()


@pytest.mark.parametrize("threads", [1, 3])
def test_equal_vectors_keep_the_order_of_the_rows(threads: int) -> None:
    vectors = mixture(500, 32, 6)
    vectors[[400, 17, 333, 90, 499]] = vectors[3] * np.float32(0.3)
    rows, similarity = Vectors.of(vectors).nearest(Vectors.of(vectors[3:4]), 5, threads=threads)
    assert rows[0].tolist() == [3, 17, 90, 333, 400]
    np.testing.assert_allclose(similarity, 1, atol=1e-6)
    # more equal vectors than are ranked at all
    same = Vectors.of(np.ones((1_000, 32), np.float32))
    rows, _ = same.nearest(same[:2], 10, threads=threads)
    assert rows.tolist() == [list(range(10))] * 2


def test_only_the_allowed_rows() -> None:
    vectors = mixture(300, 32, 7)
    allowed = np.random.default_rng(8).random(300) < 0.1
    rows, _ = Vectors.of(vectors).nearest(Vectors.of(vectors[:5]), 50, allowed=allowed)
    for query, found in enumerate(rows):
        count = int(allowed.sum())
        assert (found[count:] == -1).all()
        assert set(found[:count]) == set(np.flatnonzero(allowed))
        order = np.argsort(-cosines(vectors[query : query + 1], vectors[allowed])[0])
        assert found[0] == np.flatnonzero(allowed)[order[0]]


def test_what_has_no_direction_and_what_is_no_vector() -> None:
    vectors = Vectors.of(np.array([[0, 0], [1, 0], [0, 3e-38]], np.float32))
    rows, similarity = vectors.nearest(vectors, 3)
    assert similarity[0].tolist() == [0, 0, 0]
    assert rows[1].tolist() == [1, 0, 2]
    assert rows[2, 0] == 2
    for wrong in (np.nan, np.inf):
        with pytest.raises(InputError, match="not a number"):
            Vectors.of(np.array([[1, wrong]], np.float32))
    nothing = Vectors.of(np.empty((0, 2), np.float32))
    assert nothing.nearest(vectors, 2)[0].tolist() == [[-1, -1]] * 3
    assert vectors.nearest(nothing, 2)[0].shape == (0, 2)
