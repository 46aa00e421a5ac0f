"""Models on a vector per title from a frozen encoder: each distinct title is encoded once, ever."""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from vitrina.classification.linear import Rows, features_of, fit_linear
from vitrina.encoder.title_encoder import unit_length
from vitrina.errors import InputError
from vitrina.evaluation.model import Fitted, Model, VectorModel
from vitrina.evaluation.task import Task
from vitrina.files import atomic_path
from vitrina.progress import Progress

Vectors: TypeAlias = npt.NDArray[np.float32]
Encode: TypeAlias = Callable[[list[str]], Vectors]  # n titles -> (n, d)

CHUNK = 1_024
"""Titles encoded between two writes: what a stopped run loses at most."""


@dataclass(frozen=True, kw_only=True)
class StoredVectorsModel(VectorModel):
    """The paper's linear model (§4) on the titles' vectors, at unit length, from an encoder that
    isn't trained further.

    `prepare` keeps under `folder`, for each encoder, chunks of titles' vectors, found by the
    title's hash, and for each task a matrix with a row for each of its own, which `fit` opens
    without reading it. New tasks cost their new titles only.
    """

    def digest(self) -> str:
        """What identifies the encoder, in hexadecimal: under equal digests, vectors of equal titles
        are interchangeable. By default all of `settings`, which then must tell the weights."""
        return sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()

    @abstractmethod
    def open(self) -> tuple[Encode, int]:
        """n titles -> their vectors, (n, d) float32; and the bytes of what makes them."""

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        """Encode the tasks' titles that aren't there yet.

        Returns
        -------
        titles_per_second, measured over all that was ever encoded here; bytes of the encoder
        """
        keys = {task: _keys(task) for task in tasks if not self._matrix(task).exists()}
        store = _Store(self._folder())
        missing = {
            key: task.titles[row]
            for task, rows in keys.items()
            for row, key in rows.items()
            if key not in store.place
        }
        if missing:
            encode, size = self.open()
            with Progress(f"{self.name}: titles", len(missing), quiet=quiet) as progress:
                items = list(missing.items())
                for start in range(0, len(items), CHUNK):
                    part = items[start : start + CHUNK]
                    began = time.perf_counter()
                    vectors = encode([title for _, title in part])
                    seconds = time.perf_counter() - began
                    store.add([key for key, _ in part], vectors, seconds, size)
                    progress.update(start + len(part), f"{len(part) / seconds:,.0f} titles/s")
        for task, rows in keys.items():
            with atomic_path(self._matrix(task)) as temporary:
                store.write_matrix(temporary, len(task.titles), rows)
        return store.cost()

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        return LinearOnVectors(name=self.name, vectors=self._kept(task)).fit(task, rows, seed)

    def vectors(self, task: Task) -> Vectors:
        return unit_length(self._kept(task))

    def _kept(self, task: Task) -> Vectors:
        path = self._matrix(task)
        try:
            return self.pooled(np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)))
        except FileNotFoundError:
            raise InputError(
                f"{path}: no vectors of {task.name}; prepare {self.name} with this task first"
            ) from None

    def pooled(self, vectors: Vectors) -> Vectors:
        """What the linear model gets of the encoder's vectors: all of them."""
        return vectors

    def _folder(self) -> Path:
        return self.folder / self.digest()[:16]

    def _matrix(self, task: Task) -> Path:
        return self._folder() / "tasks" / f"{task.digest[:16]}.npy"


class _Store:
    """Chunks of vectors in a folder: files with keys, (n, 2) uint64, and vectors, (n, d) float32.

    Their names come from their keys, so that two runs at once don't overwrite each other's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place: dict[bytes, tuple[Path, int]] = {}  # a title's key -> its file and row
        self.titles, self.seconds, self.bytes = 0, 0.0, 0
        for path in sorted(folder.glob("chunk-*.safetensors")):
            try:
                with safetensors.safe_open(path, "numpy") as file:
                    keys, cost = file.get_tensor("keys"), file.metadata()
            except safetensors.SafetensorError as error:
                raise InputError(f"{path}: is damaged ({error}); delete it") from None
            self._know(path, [key.tobytes() for key in keys], cost)

    def add(self, keys: list[bytes], vectors: Vectors, seconds: float, size: int) -> None:
        """Write a chunk, and what it cost: seconds of encoding, bytes of the encoder."""
        joined = b"".join(keys)
        path = self.folder / f"chunk-{blake2b(joined, digest_size=8).hexdigest()}.safetensors"
        arrays: dict[str, npt.NDArray[Any]] = {
            "keys": np.frombuffer(joined, np.uint64).reshape(-1, 2),
            "vectors": np.ascontiguousarray(vectors, np.float32),
        }
        cost = {"seconds": str(seconds), "bytes": str(size)}
        with atomic_path(path) as temporary:
            temporary.write_bytes(safetensors.numpy.save(arrays, cost))
        self._know(path, keys, cost)

    def write_matrix(self, path: Path, n: int, keys: dict[int, bytes]) -> None:
        """Write the vectors of some rows as an (n, d) float32 .npy; the other rows are NaN."""
        found: dict[Path, tuple[list[int], list[int]]] = {}
        for row, key in keys.items():
            chunk, position = self.place[key]
            rows, positions = found.setdefault(chunk, ([], []))
            rows.append(row)
            positions.append(position)
        matrix = None
        for chunk, (rows, positions) in found.items():
            vectors = safetensors.numpy.load_file(chunk)["vectors"]
            if matrix is None:
                shape = (n, vectors.shape[1])
                matrix = np.lib.format.open_memmap(path, "w+", np.float32, shape)
                matrix[:] = np.nan
            matrix[rows] = vectors[positions]
        if matrix is not None:
            matrix.flush()

    def cost(self) -> dict[str, float]:
        if not self.titles:
            return {}
        return {"titles_per_second": self.titles / self.seconds, "bytes": self.bytes}

    def _know(self, path: Path, keys: list[bytes], cost: dict[str, str]) -> None:
        self.place.update((key, (path, position)) for position, key in enumerate(keys))
        self.titles += len(keys)
        self.seconds += float(cost["seconds"])
        self.bytes = int(cost["bytes"])


def _keys(task: Task) -> dict[int, bytes]:
    """Row of the task's parts -> its title's key: 128 bits, enough for any number of titles."""
    rows = np.concatenate([task.train, task.validation, task.test]).tolist()
    return {
        row: blake2b(title.encode(), digest_size=16).digest()
        for row, title in zip(rows, task.titles_of(rows), strict=True)
    }


@dataclass(frozen=True, kw_only=True)
class LinearOnVectors(Model):
    """A linear model on vectors given ready, (n, d), one for each row of the task, at unit length
    (see `vitrina.classification.classifier.TitleClassifier`)."""

    vectors: npt.NDArray[np.floating[Any]] = field(repr=False)

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        features = features_of(self.vectors[rows])
        score, size = fit_linear(task.kind, features, task.labels[rows], len(task.classes))
        return Fitted(lambda rows: score(features_of(self.vectors[rows])), size)
