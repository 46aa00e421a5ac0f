"""The compiled kernels against a convolution written out, window by window."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import vitrina
from vitrina.compiled import default_threads
from vitrina.encoder.kernels import BLOCKS, WIDTHS, Table, encode, scatter_gradient
from vitrina.ragged import Ragged

PIECES, DIM, FILTERS = 23, 7, 6
Array = npt.NDArray[Any]


def network(dtype: str, seed: int = 0) -> tuple[Array, Array, Array]:
    """Embeddings, weights in block order, and a bias with which ReLU silences some filters."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((PIECES, DIM)).astype(dtype)
    weights = rng.standard_normal((DIM, BLOCKS * FILTERS)).astype(dtype)
    bias = rng.standard_normal(len(WIDTHS) * FILTERS).astype(dtype)
    bias[::FILTERS] = -100  # ReLU never passes these
    return embeddings, weights, bias


def titles(seed: int = 1) -> Ragged:
    """Two titles of every length from 5 to 40, and one of a single repeated piece."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, PIECES, length) for length in [*range(5, 41)] * 2]
    return Ragged.from_lists([*rows, [3] * 9])


def convolved(
    embeddings: Array, weights: Array, bias: Array, pieces: Ragged
) -> tuple[Array, Array]:
    """Representations, and where each largest window starts (-1: ReLU gives 0), in plain loops."""
    out = np.zeros((len(pieces), len(bias)), embeddings.dtype)
    winner = np.full(out.shape, -1)
    for title, ids in enumerate(pieces):
        block = 0
        for which, width in enumerate(WIDTHS):
            for f in range(FILTERS):
                responses = []
                for start in range(len(ids) - width + 1):
                    total = bias[which * FILTERS + f]
                    for position in range(width):
                        column = weights[:, (block + position) * FILTERS + f]
                        total = total + embeddings[ids[start + position]] @ column
                    responses.append(total)
                largest = max(responses)
                if largest > 0:
                    out[title, which * FILTERS + f] = largest
                    place = pieces.offsets[title] + responses.index(largest)
                    winner[title, which * FILTERS + f] = place
            block += width
    return out, winner


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 2e-5)])
def test_a_convolution_over_embeddings(dtype: str, close: float) -> None:
    embeddings, weights, bias = network(dtype)
    pieces = titles()
    expected, expected_winner = convolved(embeddings, weights, bias, pieces)
    winner = np.empty(expected.shape, np.int32)
    table = embeddings @ weights
    y = encode(table, pieces.values, pieces.offsets, bias, 2, winner)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=close, atol=close)
    np.testing.assert_array_equal(y, encode(table, pieces.values, pieces.offsets, bias, 2))
    assert (y[:, ::FILTERS] == 0).all()
    assert (y > 0).any(axis=0).sum() > FILTERS
    np.testing.assert_array_equal(winner == -1, expected_winner == -1)
    if dtype == "float64":  # where windows tie (the repeated piece), the first may differ by a bit
        np.testing.assert_array_equal(winner[:-1], expected_winner[:-1])
        assert set(winner[-1]) <= {-1, *range(pieces.offsets[-2], pieces.offsets[-1])}


def test_the_gradient_by_finite_differences() -> None:
    embeddings, weights, bias = network("float64", 2)
    pieces = titles(3)
    table = embeddings @ weights
    winner = np.empty((len(pieces), len(bias)), np.int32)
    y = encode(table, pieces.values, pieces.offsets, bias, 1, winner)
    upstream = np.random.default_rng(4).standard_normal(y.shape)
    gradient = scatter_gradient(upstream, winner, pieces.values, PIECES, 2)
    rng = np.random.default_rng(5)
    step = 1e-7
    for _ in range(5):
        direction = rng.standard_normal(table.shape)
        ahead = encode(table + step * direction, pieces.values, pieces.offsets, bias, 1)
        behind = encode(table - step * direction, pieces.values, pieces.offsets, bias, 1)
        slope = ((ahead - behind) * upstream).sum() / (2 * step)
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 1e-5)])
def test_the_gradient_scattered_number_by_number(dtype: str, close: float) -> None:
    pieces = titles(6)
    rng = np.random.default_rng(7)
    upstream = rng.standard_normal((len(pieces), len(WIDTHS) * FILTERS)).astype(dtype)
    _, winner = convolved(*network("float64", 8), pieces)
    expected = np.zeros((PIECES, BLOCKS * FILTERS))
    for title in range(len(pieces)):
        block = 0
        for which, width in enumerate(WIDTHS):
            for f in range(FILTERS):
                window = winner[title, which * FILTERS + f]
                for position in range(width if window >= 0 else 0):
                    row = pieces.values[window + position]
                    expected[row, (block + position) * FILTERS + f] += upstream[
                        title, which * FILTERS + f
                    ]
            block += width
    for threads in (1, 2, 3, 5):
        found = scatter_gradient(upstream, winner.astype(np.int32), pieces.values, PIECES, threads)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=close, atol=close)
        if threads == 1:
            alone = found
        np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_depend_on_neither_threads_nor_batch_nor_order(dtype: str) -> None:
    embeddings, weights, bias = network(dtype, 9)
    table, pieces = embeddings @ weights, titles(10)

    def encoded(rows: Array, threads: int) -> Array:
        part = pieces.take(rows)
        return encode(table, part.values, part.offsets, bias, threads)

    everything = encoded(np.arange(len(pieces)), 1)
    rng = np.random.default_rng(11)
    for threads in (1, 2, 3, 5, 200):
        rows = rng.permutation(len(pieces))
        np.testing.assert_array_equal(encoded(rows, threads), everything[rows])
        for part in np.array_split(rows, 6):
            np.testing.assert_array_equal(encoded(part, threads), everything[part])
    for row in range(len(pieces)):
        np.testing.assert_array_equal(encoded(np.array([row]), 3)[0], everything[row])


def test_no_titles() -> None:
    embeddings, weights, bias = network("float32")
    none = Ragged.from_lists([])
    for threads in (1, 4):
        y = encode(embeddings @ weights, none.values, none.offsets, bias, threads)
        assert y.shape == (0, len(bias))
        winner = np.empty(y.shape, np.int32)
        assert not scatter_gradient(y, winner, none.values, PIECES, threads).any()


def test_a_table_of_whole_numbers() -> None:
    embeddings, weights, bias = network("float32", 12)
    weights[:, BLOCKS - 1 :: FILTERS] = 0  # filters that see nothing
    exact, pieces = Table(embeddings @ weights, np.ones(len(bias), np.float32), bias), titles(13)
    small = exact.quantized()
    assert small.values.dtype == np.int8
    out, near = np.empty((2, len(pieces), len(bias)), np.float32)
    small.encode_into(pieces, out)
    exact.encode_into(pieces, near)
    y = encode(exact.values, pieces.values, pieces.offsets, bias, 1)
    np.testing.assert_array_equal(near, y)
    block = 0
    for which, width in enumerate(WIDTHS):
        for f in range(FILTERS):
            of_all = which * FILTERS + f
            columns = [(block + position) * FILTERS + f for position in range(width)]
            step, values = small.scale[of_all], small.values[:, columns].astype(int)
            np.testing.assert_allclose(values * step, exact.values[:, columns], atol=0.51 * step)
            assert abs(values).max() in (0, 127)
            for title, ids in enumerate(pieces):
                sums = [
                    sum(values[ids[start + p], p] for p in range(width))
                    for start in range(len(ids) - width + 1)
                ]
                expected = np.float32(max(sums)) * step + bias[of_all]
                assert out[title, of_all] == max(expected, 0)
                assert abs(out[title, of_all] - near[title, of_all]) <= 0.51 * width * step
        block += width


def test_default_threads() -> None:
    assert 1 <= default_threads() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX's")
def test_a_forked_process_has_threads_of_its_own() -> None:
    program = (
        "import os, numpy as np\n"
        "from vitrina.encoder.kernels import encode\n"
        "def work():\n"
        "    table, bias = np.ones((9, 14), np.float32), np.zeros(4, np.float32)\n"
        "    return encode(table, np.zeros(50, np.int32), np.arange(0, 51, 5), bias, 3)\n"
        "before = work()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if np.array_equal(work(), before) else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


def test_a_place_that_can_keep_no_compiled_code(tmp_path: Path) -> None:
    package = tmp_path / "vitrina"
    here = Path(vitrina.__file__).parent
    for name in (
        "__init__.py",
        "_version.py",
        "compiled.py",
        "errors.py",
        "lengths.py",
        "ragged.py",
        "encoder/__init__.py",
        "encoder/kernels.py",
    ):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text((here / name).read_text("utf-8"), "utf-8")
    (package / "encoder" / "__pycache__").touch()  # a file: nothing can be written below it
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("NUMBA")},
        "PYTHONPATH": str(tmp_path),
        "HOME": str(package / "__init__.py"),
        "XDG_CACHE_HOME": str(package / "__init__.py"),
    }
    program = "import vitrina.encoder.kernels as kernels; print(kernels.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == str(package / "encoder" / "kernels.py")
