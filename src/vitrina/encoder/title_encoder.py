"""The encoder as users meet it: titles in, vectors out."""

from __future__ import annotations

import sys
from copy import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vitrina.compiled import default_threads, in_threads
from vitrina.encoder.weights import EncoderWeights
from vitrina.errors import InputError
from vitrina.text.normalize import as_utf8

_TITLES = 4_096  # at a time: their pieces stay in the cache until they are encoded


class TitleEncoder:
    """Frozen title encoder f(t(title)): a scikit-learn transformer (paper §3.2.1, §4).

    A title's vector is bit-identical alone, in any batch, in any order and with any number of
    threads. No training library is imported, nor scikit-learn, whose import takes longer than
    loading an encoder and using it: the transformer's protocol is written out below.

    Parameters
    ----------
    weights : EncoderWeights
        From `TitleEncoder.load(path).weights` or training.
    threads : int, optional
        Threads of `transform`; all processors that the process may use by default.
    table : {"int8", "float32"}
        How exactly the encoder's table is kept. "int8" is twice as fast, takes a quarter of the
        memory, lies ready on disk and gives the same bits on every machine; its vectors differ
        from those of "float32" by about a thousandth, which no task was seen to feel.

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
        table: Literal["int8", "float32"] = "int8",
    ) -> None:
        self.weights = weights
        self.threads = threads
        self.table = table
        self._output: str | None = None

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

    def encode(self, titles: Any) -> npt.NDArray[np.float32]:
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

    def fit(self, titles: Any = None, y: Any = None) -> TitleEncoder:
        """Nothing to learn: the encoder is frozen. For scikit-learn's pipelines."""
        return self

    def transform(self, titles: Any) -> Any:
        """What `encode` returns, or a data frame of it where `set_output` asked for one."""
        vectors, kind = self.encode(titles), self._output
        if kind is None and "sklearn" in sys.modules:
            kind = sys.modules["sklearn"].get_config()["transform_output"]
        if kind == "pandas":
            import pandas as pd

            index = titles.index if hasattr(titles, "iloc") else None
            return pd.DataFrame(vectors, index, self.get_feature_names_out(), copy=False)
        if kind == "polars":
            import polars as pl

            return pl.DataFrame(vectors, schema=self.get_feature_names_out().tolist())
        return vectors

    def fit_transform(self, titles: Any, y: Any = None) -> Any:
        """`transform`: there is nothing to fit."""
        return self.transform(titles)

    def set_output(
        self, *, transform: Literal["default", "pandas", "polars"] | None = None
    ) -> TitleEncoder:
        """What `transform` returns: arrays ("default") or data frames; None changes nothing.

        Raises
        ------
        InputError
            for another name
        """
        if transform not in ("default", "pandas", "polars", None):
            raise InputError(f"transform: '{transform}' is not one of default, pandas, polars")
        self._output = transform or self._output
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments, for scikit-learn."""
        return {"weights": self.weights, "threads": self.threads, "table": self.table}

    def set_params(self, **params: Any) -> TitleEncoder:
        """Change some of the constructor's arguments; InputError for a name that is none."""
        for name, value in params.items():
            if name not in self.get_params():
                known = ", ".join(self.get_params())
                raise InputError(f"TitleEncoder: has no parameter '{name}'; it has {known}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"TitleEncoder(threads={self.threads}, table={self.table!r}, weights={self.weights})"

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Column names vitrina0 ... vitrina511, for pandas and polars output."""
        return np.array([f"vitrina{i}" for i in range(len(self._weights().bias))], dtype=object)

    def _weights(self) -> EncoderWeights:
        # checked here: scikit-learn's constructors only keep what they are given
        if not isinstance(self.weights, EncoderWeights):
            raise InputError("TitleEncoder: open a saved encoder with TitleEncoder.load(path)")
        return self.weights

    def __sklearn_clone__(self) -> TitleEncoder:
        return copy(self)  # frozen: a clone need not copy hundreds of megabytes

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(),
            input_tags=InputTags(string=True, one_d_array=True, two_d_array=False),
            requires_fit=False,
        )


def unit_length(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Vectors (n, dim) at length 1; a vector of zeros stays as it is.

    How long a title's vector is says how long and how common its words are, and how long the
    encoder was trained: nothing that a cosine or a linear model should depend on.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: npt.NDArray[np.floating[Any]] = np.zeros_like(vectors)
    np.divide(vectors, norms, out=out, where=norms > 0)
    return out
