"""The title encoder as a scikit-learn transformer: titles in, vectors out."""

from __future__ import annotations

import sys
from copy import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vitrina.compiled import in_threads, number_of_threads
from vitrina.encoder.weights import EncoderWeights
from vitrina.errors import InputError
from vitrina.text.normalize import as_utf8

# Titles per block of work: small enough that their pieces are still in the processor's cache when
# they are encoded.
_BLOCK_TITLES = 4_096


class TitleEncoder:
    """Frozen title encoder f(t(title)), a scikit-learn transformer (paper §3.2.1, §4).

    A title gets the same vector, to the last bit, alone, in any batch, in any order and with any
    number of threads.

    The class implements scikit-learn's transformer protocol without importing scikit-learn, whose
    import takes longer than loading and using an encoder. It imports no training library either.

    Parameters
    ----------
    weights : EncoderWeights
        The trained parameters and the tokenizer. `TitleEncoder.load(path)` reads them from a
        folder.
    threads : int, optional
        Number of threads that `transform` uses; by default, all processors available to the
        process.
    table : {"int8", "float32"}, optional
        Precision of the encoder's table. "int8" is twice as fast, takes a quarter of the memory, is
        stored on disk ready to use and gives the same bits on every machine. Its vectors differ
        from those of "float32" by about 0.1 %; no task showed a difference in its results.

    Examples
    --------
    >>> from vitrina import TitleEncoder
    >>> encoder = TitleEncoder.load("encoder")
    >>> encoder.transform(["APPLE SAUCE 24 OZ", None]).shape
    (2, 1024)
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
        """Load the encoder that was saved in a folder.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        TitleEncoder

        Raises
        ------
        InputError
            If the folder is missing, incomplete, damaged or of a newer format.
        """
        return cls(EncoderWeights.load(path))

    @classmethod
    def from_pretrained(
        cls, path_or_repo: str | Path, *, revision: str | None = None
    ) -> TitleEncoder:
        """Load an encoder from a folder, or from a repository of the Hugging Face hub.

        A repository is downloaded once into the hub's cache. Its files are checked like those of
        any other folder, and no code in it is run.

        Parameters
        ----------
        path_or_repo : str or Path
            A folder, or the name of a repository such as "shop/titles". If a folder has the same
            name, the folder is loaded.
        revision : str, optional
            Branch, tag or commit of the repository; by default, its main branch. Only a commit
            always gives the same encoder.

        Returns
        -------
        TitleEncoder

        Raises
        ------
        InputError
            If there is no such folder, repository or revision, or as `load`.
        MissingExtraError
            If a repository is wanted and huggingface-hub is not installed.
        """
        from vitrina.encoder.hub import encoder_folder

        return cls.load(encoder_folder(path_or_repo, revision=revision))

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool | None = None,
        license: str | None = None,
        message: str = "Upload a vitrina encoder",
    ) -> str:
        """Upload the encoder to a repository of the Hugging Face hub.

        The repository is created if it doesn't exist. The encoder's files replace those of an
        earlier encoder, and other files stay. The user must have logged in with `hf auth login`, or
        have set the environment variable HF_TOKEN.

        Parameters
        ----------
        repo : str
            Name of the repository, such as "shop/titles".
        private : bool, optional
            Whether a new repository is private; by default, as the owner's settings say.
        license : str, optional
            The hub's name of a licence for the model card, such as "apache-2.0".
        message : str, optional
            Message of the commit.

        Returns
        -------
        str
            The commit, for the parameter `revision` of `from_pretrained`.

        Raises
        ------
        InputError
            If `repo` or `license` is no such name, or if the hub refuses the upload or can't be
            reached.
        MissingExtraError
            If huggingface-hub is not installed.
        """
        from vitrina.encoder.hub import push_encoder

        return push_encoder(
            self._checked_weights(), repo, private=private, license=license, message=message
        )

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the encoder to a folder, atomically and without pickle.

        Parameters
        ----------
        path : str or Path
        force : bool, optional
            Replace an encoder that exists at `path`.

        Raises
        ------
        InputError
            If `path` exists (unless `force`) or can't be written.
        """
        self.weights.save(path, force=force)

    def encode(self, titles: Any) -> npt.NDArray[np.float32]:
        """Compute the vectors of n titles.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            None and NaN stand for the empty title.

        Returns
        -------
        ndarray of shape (n, width), float32
            All values are finite. With a lexical part, each vector has length 1; see
            `EncoderWeights`.

        Raises
        ------
        InputError
            If `titles` is a single string or a table of several columns, or if an entry is not
            text.
        """
        weights = self._checked_weights()
        text = as_utf8(titles)
        table = weights.table(self.table)
        out = np.empty((len(text), weights.width), np.float32)

        def encode_block(start: int, stop: int) -> None:
            titles, block = text.part(start, stop), out[start:stop]
            if weights.lexical_dim:
                pieces = weights.tokenizer.pieces_and_vectors(titles, weights.lexical_length, block)
            else:
                pieces = weights.tokenizer.pieces_of(titles)
            table.encode_into(pieces, block)

        threads = number_of_threads(self.threads)
        in_threads(encode_block, len(text), threads, _BLOCK_TITLES)
        return out

    def fit(self, titles: Any = None, y: Any = None) -> TitleEncoder:
        """Do nothing and return the encoder: it is frozen. scikit-learn's pipelines call this."""
        return self

    def transform(self, titles: Any) -> Any:
        """Compute the vectors of n titles, as an array or a data frame.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            See `encode`.

        Returns
        -------
        ndarray of shape (n, width), float32, or data frame of as many columns
            A data frame if `set_output` or scikit-learn's `transform_output` asks for one.
        """
        vectors = self.encode(titles)
        output = self._output
        # scikit-learn's global setting can only have been changed where scikit-learn is imported
        if output is None and "sklearn" in sys.modules:
            output = sys.modules["sklearn"].get_config()["transform_output"]
        if output == "pandas":
            import pandas as pd

            index = titles.index if hasattr(titles, "iloc") else None
            return pd.DataFrame(vectors, index, self.get_feature_names_out(), copy=False)
        if output == "polars":
            import polars as pl

            return pl.DataFrame(vectors, schema=self.get_feature_names_out().tolist())
        return vectors

    def fit_transform(self, titles: Any, y: Any = None) -> Any:
        """Return `transform(titles)`: there is nothing to fit."""
        return self.transform(titles)

    def set_output(
        self, *, transform: Literal["default", "pandas", "polars"] | None = None
    ) -> TitleEncoder:
        """Choose what `transform` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            An array ("default") or a data frame; None keeps the present choice.

        Returns
        -------
        TitleEncoder
            The encoder itself.

        Raises
        ------
        InputError
            If `transform` has another value.
        """
        if transform not in ("default", "pandas", "polars", None):
            raise InputError(f"`transform` is '{transform}'; it must be default, pandas or polars")
        if transform is not None:
            self._output = transform
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name; scikit-learn's `clone` uses them."""
        return {"weights": self.weights, "threads": self.threads, "table": self.table}

    def set_params(self, **params: Any) -> TitleEncoder:
        """Change some of the constructor's arguments and return the encoder.

        Raises
        ------
        InputError
            If the constructor has no argument of a given name.
        """
        known = list(self.get_params())
        for name, value in params.items():
            if name not in known:
                raise InputError(
                    f"TitleEncoder has no parameter '{name}'; its parameters are {', '.join(known)}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"TitleEncoder(threads={self.threads}, table={self.table!r}, weights={self.weights})"

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return the column names vitrina0, vitrina1, ... of pandas and polars output."""
        width = self._checked_weights().width
        return np.array([f"vitrina{i}" for i in range(width)], dtype=object)

    def _checked_weights(self) -> EncoderWeights:
        # Checked at use: scikit-learn requires that a constructor only stores its arguments.
        if not isinstance(self.weights, EncoderWeights):
            raise InputError(
                "TitleEncoder needs `weights` of type EncoderWeights, not "
                f"{type(self.weights).__name__}; open a saved encoder with TitleEncoder.load(path)"
            )
        return self.weights

    def __sklearn_clone__(self) -> TitleEncoder:
        # The weights never change, so a clone shares them instead of copying hundreds of megabytes.
        return copy(self)

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
    """Scale vectors to length 1 (Euclidean norm).

    The length of a title's vector depends on how long and how common its words are and on how long
    the encoder was trained. Cosines and linear models should not depend on any of these.

    Parameters
    ----------
    vectors : ndarray of shape (n, dim), float

    Returns
    -------
    ndarray of shape (n, dim), float
        A vector of zeros is returned unchanged.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: npt.NDArray[np.floating[Any]] = np.zeros_like(vectors)
    np.divide(vectors, norms, out=out, where=norms > 0)
    return out
