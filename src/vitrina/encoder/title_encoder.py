"""The encoder as users meet it: titles in, vectors out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from vitrina.compiled import default_threads, in_threads
from vitrina.encoder.weights import EncoderWeights
from vitrina.errors import InputError
from vitrina.text.normalize import as_utf8

_TITLES = 4_096  # at a time: their pieces stay in the cache until they are encoded


class TitleEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Frozen title encoder f(t(title)): a scikit-learn transformer (paper §3.2.1, §4).

    A title's vector is bit-identical alone, in any batch, in any order and with any number of
    threads. No training library is imported.

    Parameters
    ----------
    weights : EncoderWeights
        From `TitleEncoder.load(path).weights` or training.
    threads : int, optional
        Threads of `transform`; all processors that the process may use by default.
    table : {"float32", "int8"}
        How exactly the encoder's table is kept. "int8" is faster and takes a quarter of the
        memory; its vectors differ by about a thousandth.

    Examples
    --------
    >>> encoder = TitleEncoder.load("demo/encoder")  # doctest: +SKIP
    >>> encoder.transform(["APPLE SAUCE 24 OZ", None]).shape  # doctest: +SKIP
    (2, 512)
    """

    def __init__(
        self,
        weights: EncoderWeights,
        threads: int | None = None,
        table: Literal["float32", "int8"] = "float32",
    ) -> None:
        self.weights = weights
        self.threads = threads
        self.table = table

    @classmethod
    def load(cls, path: str | Path) -> TitleEncoder:
        """The encoder saved in the folder `path`.

        Raises
        ------
        InputError
            if the folder is missing, incomplete, damaged or of a newer format
        """
        return cls(EncoderWeights.load(path))

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the encoder to the folder `path`, atomically; no pickle.

        Raises
        ------
        InputError
            if the path exists (unless `force`) or can't be written
        """
        self.weights.save(path, force=force)

    def fit(self, titles: Any = None, y: Any = None) -> TitleEncoder:
        """Nothing to learn: the encoder is frozen. For scikit-learn's pipelines."""
        return self

    def transform(self, titles: Any) -> npt.NDArray[np.float32]:
        """Vectors of n titles, shape (n, 512), float32, all finite and ≥ 0.

        Parameters
        ----------
        titles : list, numpy, polars, pyarrow or pandas column of n titles
            None (and nan) is the empty title.

        Raises
        ------
        InputError
            for a single string, a table of several columns or entries that are no text
        """
        weights, text = self._weights(), as_utf8(titles)
        table = weights.table(self.table)
        out = np.empty((len(text), len(weights.bias)), np.float32)

        def encode(start: int, stop: int) -> None:
            pieces = weights.tokenizer.pieces_of(text.part(start, stop))
            table.encode_into(pieces, out[start:stop])

        in_threads(encode, len(text), self.threads or default_threads(), _TITLES)
        return out

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Column names vitrina0 ... vitrina511, for pandas and polars output."""
        return np.array([f"vitrina{i}" for i in range(len(self._weights().bias))], dtype=object)

    def _weights(self) -> EncoderWeights:
        # checked here: scikit-learn's constructors only keep what they are given
        if not isinstance(self.weights, EncoderWeights):
            raise InputError("TitleEncoder: open a saved encoder with TitleEncoder.load(path)")
        return self.weights

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def unit_length(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Vectors (n, dim) at length 1; a vector of zeros stays as it is.

    How long a title's vector is says how long and how common its words are, and how long the
    encoder was trained: nothing that a cosine or a linear model should depend on.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: npt.NDArray[np.floating[Any]] = np.zeros_like(vectors)
    np.divide(vectors, norms, out=out, where=norms > 0)
    return out
