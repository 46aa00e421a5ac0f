"""Linear models on the vectors of a frozen encoder, which encodes each distinct title only once."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.preprocessing import normalize

from vitrina.classification.linear import (
    DEFAULT_PARAMS,
    Rows,
    Scores,
    features_of,
    fit_linear,
    stack_features,
    tune_hyperparameters,
)
from vitrina.classification.tfidf import HashedTfidf
from vitrina.encoder.title_encoder import unit_length
from vitrina.errors import InputError
from vitrina.evaluation.model import Fitted, Model, VectorModel
from vitrina.evaluation.task import Task
from vitrina.files import atomic_path
from vitrina.hashing import content_key
from vitrina.progress import Progress
from vitrina.text.normalize import Normalizer

Vectors: TypeAlias = npt.NDArray[np.float32]
Encode: TypeAlias = Callable[[list[str]], Vectors]  # n titles -> (n, d)

CHUNK = 1_024
"""Number of titles that are encoded between two writes; a stopped run loses one chunk at most."""


@dataclass(frozen=True, kw_only=True)
class StoredVectorsModel(VectorModel):
    """The paper's linear model (§4) on title vectors of unit length from a frozen encoder.

    For each encoder, `prepare` stores chunks of title vectors under `folder`, indexed by hashes of
    the titles, and for each task a matrix with one row for each row of the task. `fit` maps that
    matrix into memory without reading all of it. A new task costs the encoding of its new titles
    only.

    Attributes
    ----------
    use_words : bool, default False
        Add TF-IDF features of words and character n-grams to the vectors, as `FrozenEncoder` does.
    """

    use_words: bool = False

    @property
    def vectors_alone(self) -> bool:  # type: ignore[override]
        return not self.use_words

    def digest(self) -> str:
        """Return a hexadecimal key of the encoder.

        Vectors of equal titles under equal keys are interchangeable. By default the key covers all
        of `settings` but `use_words`; they must then identify the encoder's weights.
        """
        settings = self.settings()
        # with words or without, the stored vectors are the same
        del settings["use_words"]
        return content_key(settings)

    @abstractmethod
    def open(self) -> tuple[Encode, int]:
        """Load the encoder.

        Returns
        -------
        encode : callable
            Takes a list of n titles and returns their vectors, ndarray of shape (n, d), float32.
        size : int
            Bytes of the encoder's weights.
        """

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        """Encode and store the titles of the tasks that aren't stored yet.

        Parameters
        ----------
        tasks : sequence of Task
        quiet : bool, default False
            Show no progress.

        Returns
        -------
        dict of str to float
            "titles_per_second", measured over all titles ever encoded in this folder, and "bytes"
            of the encoder.
        """
        keys = {task: _title_keys(task) for task in tasks if not self._matrix(task).exists()}
        store = _Store(self._folder())
        # by key, so that a title of several rows or tasks is encoded once
        missing: dict[bytes, str] = {}
        for task, key_of_row in keys.items():
            for row, key in key_of_row.items():
                if key not in store.place:
                    missing[key] = task.titles[row]
        if missing:
            self._encode_into(store, missing, quiet)

        for task, key_of_row in keys.items():
            with atomic_path(self._matrix(task)) as temporary:
                store.write_matrix(temporary, len(task.titles), key_of_row)
        return store.cost()

    def _encode_into(self, store: _Store, titles: dict[bytes, str], quiet: bool) -> None:
        """Encode titles, given by their keys, and write them to the store chunk by chunk."""
        encode, size = self.open()
        items = list(titles.items())
        with Progress(f"{self.name}: titles", len(items), quiet=quiet) as progress:
            for start in range(0, len(items), CHUNK):
                part = items[start : start + CHUNK]
                began = time.perf_counter()
                vectors = encode([title for _, title in part])
                seconds = time.perf_counter() - began
                store.add([key for key, _ in part], vectors, seconds, size)
                progress.update(start + len(part), f"{len(part) / seconds:,.0f} titles/s")

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        model = LinearOnVectors(
            name=self.name,
            vectors=self._stored(task),
            forms=_normalized_titles(task) if self.use_words else None,
        )
        return model.fit(task, rows, seed)

    def vectors(self, task: Task) -> Any:
        """Return the encoder's vectors, with TF-IDF features if the model uses words."""
        if not self.use_words:
            return unit_length(self._stored(task))
        return with_words(self._stored(task), _normalized_titles(task))

    def _stored(self, task: Task) -> Vectors:
        """The vectors of a prepared task, mapped into memory; NaN for rows of no part."""
        path = self._matrix(task)
        try:
            matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise InputError(
                f"{path}: no vectors of {task.name}; prepare {self.name} with this task first"
            ) from None
        return self.pooled(np.asarray(matrix))

    def pooled(self, vectors: Vectors) -> Vectors:
        """Select the columns of the encoder's vectors that the linear model uses: here all."""
        return vectors

    def _folder(self) -> Path:
        return self.folder / self.digest()[:16]

    def _matrix(self, task: Task) -> Path:
        return self._folder() / "tasks" / f"{task.digest[:16]}.npy"


class _Store:
    """Chunks of title vectors in a folder.

    A chunk is a file with keys, ndarray of shape (n, 2), uint64, and vectors, ndarray of shape
    (n, d), float32. It is named by a hash of its keys, so that two runs at the same time don't
    overwrite each other's chunks.

    Attributes
    ----------
    place : dict of bytes to (Path, int)
        The file and the row of each title, by the title's key.
    titles : int
        Number of titles encoded so far.
    seconds : float
        Time that their encoding took.
    bytes : int
        Size of the encoder's weights.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place: dict[bytes, tuple[Path, int]] = {}
        self.titles = 0
        self.seconds = 0.0
        self.bytes = 0
        for path in sorted(folder.glob("chunk-*.safetensors")):
            try:
                with safetensors.safe_open(path, "numpy") as file:
                    keys = file.get_tensor("keys")
                    cost = file.metadata()
            except safetensors.SafetensorError as error:
                raise InputError(f"{path}: is damaged ({error}); delete it") from None
            self._register(path, [key.tobytes() for key in keys], cost)

    def add(self, keys: list[bytes], vectors: Vectors, seconds: float, size: int) -> None:
        """Write a chunk of vectors.

        Parameters
        ----------
        keys : list of bytes
            The key of each title.
        vectors : ndarray of shape (n, d), float32
        seconds : float
            Time that the encoding took.
        size : int
            Bytes of the encoder's weights.
        """
        joined = b"".join(keys)
        path = self.folder / f"chunk-{blake2b(joined, digest_size=8).hexdigest()}.safetensors"
        arrays: dict[str, npt.NDArray[Any]] = {
            "keys": np.frombuffer(joined, np.uint64).reshape(-1, 2),
            "vectors": np.ascontiguousarray(vectors, np.float32),
        }
        cost = {"seconds": str(seconds), "bytes": str(size)}
        with atomic_path(path) as temporary:
            temporary.write_bytes(safetensors.numpy.save(arrays, cost))
        self._register(path, keys, cost)

    def write_matrix(self, path: Path, n: int, keys: dict[int, bytes]) -> None:
        """Write the vectors of a task as a .npy file of shape (n, d), float32.

        Parameters
        ----------
        path : Path
        n : int
            Number of rows.
        keys : dict of int to bytes
            The key of each row's title; the other rows become NaN.
        """
        # group the rows by chunk, so that each chunk is read once and one at a time
        chunks: dict[Path, tuple[list[int], list[int]]] = {}
        for row, key in keys.items():
            chunk, position = self.place[key]
            rows, positions = chunks.setdefault(chunk, ([], []))
            rows.append(row)
            positions.append(position)

        matrix = None
        for chunk, (rows, positions) in chunks.items():
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

    def _register(self, path: Path, keys: list[bytes], cost: dict[str, str]) -> None:
        for position, key in enumerate(keys):
            self.place[key] = (path, position)
        self.titles += len(keys)
        self.seconds += float(cost["seconds"])
        self.bytes = int(cost["bytes"])


def _title_keys(task: Task) -> dict[int, bytes]:
    """Hash the titles of all rows that are in some part of the split.

    A hash has 128 bits: enough that no two titles are expected to share one.
    """
    rows = np.concatenate([task.train, task.validation, task.test]).tolist()
    keys = {}
    for row, title in zip(rows, task.titles_of(rows), strict=True):
        keys[row] = blake2b(title.encode(), digest_size=16).digest()
    return keys


# The cells of one task run one after the other, so few entries are enough.
@lru_cache(maxsize=2)
def _normalized_titles(task: Task) -> list[str]:
    """All titles of a task, normalised as an encoder of ours would normalise them."""
    # the default style doesn't depend on the language
    return Normalizer()(task.titles)


@dataclass(frozen=True, kw_only=True)
class LinearOnVectors(Model):
    """A linear model on given vectors, which are scaled to unit length.

    It makes the predictions of `vitrina.classification.classifier.TitleClassifier`, for tasks of
    all kinds: without words those of ``use_words=False, C=1.0``, with words those of its defaults.

    Attributes
    ----------
    vectors : ndarray of shape (n, d), floating
        One vector for each row of the task.
    forms : sequence of n str, optional
        Normal forms of the titles, for TF-IDF features beside the vectors. The weight of the
        vectors and C are then chosen by `vitrina.classification.linear.tune_hyperparameters`.
    """

    vectors: npt.NDArray[np.floating[Any]] = field(repr=False)
    forms: Sequence[str] | None = field(default=None, repr=False)

    @property
    def vectors_alone(self) -> bool:  # type: ignore[override]
        return self.forms is None

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        if self.forms is not None:
            return self._fit_with_words(self.forms, task, rows)
        features = features_of(self.vectors[rows])
        score, size = fit_linear(task.kind, features, task.labels[rows], len(task.classes))

        def predict_scores(rows: Rows) -> Scores:
            return score(features_of(self.vectors[rows]))

        return Fitted(predict_scores, size)

    def _fit_with_words(self, forms: Sequence[str], task: Task, rows: Rows) -> Fitted:
        train_forms = [forms[row] for row in rows]
        labels = task.labels[rows]
        n_classes = len(task.classes)
        vectors = features_of(self.vectors[rows])
        params = tune_hyperparameters(task.kind, labels, n_classes, vectors, train_forms)
        tfidf = HashedTfidf.fit(train_forms)

        def features(rows: Rows) -> csr_matrix:
            words = tfidf([forms[row] for row in rows])
            return stack_features(features_of(self.vectors[rows]), words, params.weight)

        score, size = fit_linear(task.kind, features(rows), labels, n_classes, params.C)

        def predict_scores(rows: Rows) -> Scores:
            return score(features(rows))

        size += sum(array.nbytes for array in tfidf)
        return Fitted(predict_scores, size, params._asdict())


def with_words(vectors: npt.NDArray[np.floating[Any]], forms: Sequence[str]) -> csr_matrix:
    """Join vectors and TF-IDF features, for comparisons without labels.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), floating
    forms : sequence of n str
        Normal forms of the titles. The vocabulary and its weights come from all of them.

    Returns
    -------
    csr_matrix of shape (n, d + words), float64
        Rows of unit length. The vectors have the weight that the linear model gives them with few
        labels.
    """
    words = HashedTfidf.fit(forms)(forms)
    return normalize(stack_features(features_of(vectors), words, DEFAULT_PARAMS.weight))
