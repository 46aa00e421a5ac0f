"""Features of titles for linear models: their vectors, and TF-IDF of their words beside them."""

from __future__ import annotations

from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from vitrina.classification.linear import (
    DEFAULT_PARAMS,
    features_of,
    stack_features,
)
from vitrina.classification.saved import LARGEST_WEIGHT, is_positive
from vitrina.classification.tfidf import HashedTfidf
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import EncoderWeights
from vitrina.errors import InputError, shown
from vitrina.text.normalize import as_titles

Rows: TypeAlias = list[str] | npt.NDArray[np.floating[Any]]
"""Titles as strings, or their vectors of shape (n, width)."""

# Vectors remembered per encoder: 200 MB for vectors of 1,024 dimensions.
_MAX_CACHED_TITLES = 50_000

# encoder -> its table ("int8", "float32") -> title -> vector. Clones of an encoder share its
# weights, and so the folds and candidates of a search share this cache.
_cache: WeakKeyDictionary[EncoderWeights, dict[str, dict[str, npt.NDArray[np.float32]]]] = (
    WeakKeyDictionary()
)


class TitleFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Vectors of titles and TF-IDF features of their words, as one scikit-learn transformer.

    These are the features of `vitrina.TitleClassifier` and `vitrina.TitleRegressor`. Use the
    transformer where a model has other features beside the title, such as a price or a category:
    see the example. For vectors alone, `vitrina.TitleEncoder` is the transformer.

    A row of the features has two parts. The first is the contextual part of the title's vector at
    unit length, times `weight`. The second has a column for each word and each character n-gram of
    the fitted titles, see `vitrina.classification.tfidf.HashedTfidf`. The lexical part of the
    vector is left out: it says what the second part says.

    Parameters
    ----------
    encoder : TitleEncoder
    weight : float, optional
        Factor of the vectors, above 0. It says how much they count relative to the words. A grid
        search can choose it; 0.7, 1.5 and 4 are the candidates of `vitrina.TitleClassifier`.

    Attributes
    ----------
    tfidf_ : HashedTfidf
        The d words and n-grams of the fitted titles.
    words_ : list of str
        The distinct words of the fitted titles, sorted, for `get_feature_names_out`.

    Examples
    --------
    >>> import polars as pl
    >>> from sklearn.compose import ColumnTransformer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from vitrina import TitleEncoder, TitleFeatures
    >>> table = pl.DataFrame(
    ...     {
    ...         "title": ["APPLE JUICE 64 OZ", "APPLE SAUCE 24 OZ", "DOG FOOD 20 LB"],
    ...         "price": [3.5, 2.0, 19.0],
    ...     }
    ... )
    >>> features = ColumnTransformer(
    ...     [
    ...         ("title", TitleFeatures(TitleEncoder.load("encoder")), "title"),
    ...         ("price", StandardScaler(), ["price"]),
    ...     ]
    ... )
    >>> model = make_pipeline(features, LogisticRegression(C=2.0))
    >>> model.fit(table, ["grocery", "grocery", "pets"]).predict(table).tolist()
    ['grocery', 'grocery', 'pets']
    """

    def __init__(self, encoder: TitleEncoder, weight: float = DEFAULT_PARAMS.weight) -> None:
        self.encoder = encoder
        self.weight = weight

    def fit(self, titles: Any, y: Any = None) -> TitleFeatures:
        """Learn the words and n-grams of n titles, and how rare they are.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            None and NaN stand for the empty title.
        y : ignored

        Returns
        -------
        TitleFeatures
            The transformer itself.

        Raises
        ------
        InputError
            If there are no titles, an entry is not text, or a parameter of the constructor is
            wrong.
        """
        encoder = checked_encoder(self.encoder)
        self._require_weight()
        rows = [title or "" for title in as_titles(titles)]
        if not rows:
            raise InputError("titles: there are no rows; give at least one title")
        forms = encoder.weights.tokenizer.normalizer(rows)
        self.tfidf_ = HashedTfidf.fit(forms)
        self.words_ = sorted(set(" ".join(forms).split()))
        return self

    def transform(self, titles: Any) -> csr_matrix:
        """Compute the features of n titles.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            None and NaN stand for the empty title.

        Returns
        -------
        csr_matrix of shape (n, contextual_dim + d), float64
            A title gets the same features, to the last bit, alone and in any batch.

        Raises
        ------
        InputError
            If an entry is not text.
        """
        check_is_fitted(self, "tfidf_")
        encoder = checked_encoder(self.encoder)
        self._require_weight()
        rows = [title or "" for title in as_titles(titles)]
        return joined_features(rows, encoder, self.tfidf_, self.weight)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return the names of the columns.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of shape (contextual_dim + d,), object
            "vitrina0", ..., then "word:milk" for a word and "ngram:_mil" for an n-gram. "_" stands
            for the space before or after a word.
        """
        check_is_fitted(self, "tfidf_")
        encoder = checked_encoder(self.encoder)
        of_vector = encoder.get_feature_names_out()[: encoder.weights.contextual_dim]
        return np.array([*of_vector, *self.tfidf_.names(self.words_)], dtype=object)

    def _require_weight(self) -> None:
        if not is_positive(self.weight, LARGEST_WEIGHT):
            raise InputError(
                f"`weight` is {shown(repr(self.weight))}; it must be a number above 0 and up to "
                f"{LARGEST_WEIGHT:,.0f}"
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def checked_encoder(encoder: Any) -> TitleEncoder:
    """Return the encoder, or raise an error if it is something else."""
    if not isinstance(encoder, TitleEncoder):
        raise InputError(
            f"`encoder` is of type {type(encoder).__name__}; open a saved encoder with "
            "TitleEncoder.load(path)"
        )
    return encoder


def as_rows(titles: Any, encoder: TitleEncoder) -> Rows:
    """Return titles as strings, or vectors as a 2-D array after checking them.

    Raises
    ------
    InputError
        If an entry is not text, or if vectors are not finite or have another width than the
        encoder's.
    """
    vectors: Any = titles
    is_table = len(getattr(vectors, "shape", ())) == 2 and hasattr(vectors, "to_numpy")
    is_array_column = isinstance(vectors, pl.Series) and isinstance(vectors.dtype, pl.Array)
    if is_table or is_array_column:
        vectors = vectors.to_numpy()
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind not in "fiu" or vectors.ndim != 2:
        return [title or "" for title in as_titles(titles)]
    width = encoder.weights.width
    if vectors.shape[1] != width:
        raise InputError(
            f"vectors: have {vectors.shape[1]} dimensions, but this encoder's have {width}; give "
            "titles, or vectors of this encoder"
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise InputError(f"vectors: row {bad[0]} is not finite; remove it or embed its title again")
    # numpy adds in the order of memory, so the same layout gives the same bits
    return np.ascontiguousarray(vectors)


def vectors_of(rows: Rows, encoder: TitleEncoder) -> npt.NDArray[np.floating[Any]]:
    """Return the vectors of titles, shape (n, width), encoding only titles not in the cache."""
    if isinstance(rows, np.ndarray):
        return rows
    cached = _cache.setdefault(encoder.weights, {}).setdefault(encoder.table, {})
    new = list(dict.fromkeys(title for title in rows if title not in cached))
    encoded = encoder.encode(new)
    fresh = dict(zip(new, encoded, strict=True))
    found = [fresh[title] if title in fresh else cached[title] for title in rows]
    room = max(_MAX_CACHED_TITLES - len(cached), 0)
    # A copy: views would keep all of `encoded` in memory.
    cached.update(zip(new[:room], encoded[:room].copy(), strict=True))
    return np.stack(found) if found else encoded


def vector_features(rows: Rows, encoder: TitleEncoder, *, beside_words: bool) -> Any:
    """Compute the features of a linear model that come from the vectors of titles.

    Parameters
    ----------
    rows : list of n str, or ndarray of shape (n, width)
    encoder : TitleEncoder
    beside_words : bool
        Whether the model has TF-IDF features too. It then uses the contextual part of the vectors
        only: the lexical part repeats what the TF-IDF features say, and costs accuracy with few
        labels (docs/results/ablation.md).

    Returns
    -------
    ndarray of shape (n, contextual_dim) if `beside_words`, else (n, width), float64
        At unit length.
    """
    vectors = vectors_of(rows, encoder)
    return features_of(vectors[:, : encoder.weights.contextual_dim] if beside_words else vectors)


def joined_features(
    rows: Rows, encoder: TitleEncoder, tfidf: HashedTfidf | None, weight: float
) -> Any:
    """Compute the features of titles.

    Parameters
    ----------
    rows : list of n str, or ndarray of shape (n, width)
        Titles, or vectors if `tfidf` is None.
    encoder : TitleEncoder
    tfidf : HashedTfidf or None
    weight : float
        Factor of the vectors, if there are TF-IDF features beside them.

    Returns
    -------
    csr_matrix of shape (n, contextual_dim + d), or ndarray of shape (n, width) if `tfidf` is None,
        float64
    """
    vectors = vector_features(rows, encoder, beside_words=tfidf is not None)
    if tfidf is None:
        return vectors
    forms = encoder.weights.tokenizer.normalizer(rows)
    return stack_features(vectors, tfidf(forms), weight)
