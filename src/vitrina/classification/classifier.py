"""A classifier of titles: logistic regression on the frozen encoder's vectors (paper §4) and on
TF-IDF features of the titles."""

from __future__ import annotations

import math
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import expit, log_expit, softmax  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from vitrina.classification.linear import (
    DEFAULT_PARAMS,
    LinearParams,
    features_of,
    regression,
    stack_features,
    tune_hyperparameters,
)
from vitrina.classification.saved import (
    CLASSIFIER,
    LONGEST_CLASS,
    MAX_CLASSES,
    SavedClassifier,
    is_storable,
)
from vitrina.classification.tfidf import HashedTfidf
from vitrina.columns import as_list, is_missing
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import EncoderWeights
from vitrina.errors import InputError
from vitrina.files import atomic_path, refuse_existing
from vitrina.metrics import Kind
from vitrina.text.normalize import as_titles

KIND = CLASSIFIER.name

# Vectors remembered per encoder: at most 200 MB.
_MAX_CACHED_TITLES = 100_000

# Rows scored at once, so that memory use doesn't grow with the number of titles.
_CHUNK_ROWS = 16_384

# encoder -> its table ("int8", "float32") -> title -> vector. Clones of an encoder share its
# weights, and so the folds and candidates of a search share this cache.
_cache: WeakKeyDictionary[EncoderWeights, dict[str, dict[str, npt.NDArray[np.float32]]]] = (
    WeakKeyDictionary()
)

# Titles as strings, or vectors of shape (n, 512).
_Rows: TypeAlias = list[str] | npt.NDArray[np.floating[Any]]


class TitleClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression on title vectors of a frozen encoder (paper §4) and on TF-IDF features.

    The TF-IDF features are those of the titles' words and character n-grams. Vectors help most with
    few labels and words with many; both together did best on average at every number of labels.
    With 300 labelled titles or more, `fit` chooses the weight of the vectors and C by
    cross-validation (`vitrina.classification.linear.tune_hyperparameters`), which takes about ten
    times as long as the fit itself. ``use_words=False, C=1.0`` is the paper's classifier.

    The solver is liblinear with at most 1,000 iterations; all other settings are scikit-learn's
    defaults. More than two classes are fitted one against the rest. Unlike the paper, the
    classifier scales vectors to unit length: C then means the same for every encoder, and fewer
    labels are needed.

    Each title is embedded once. Its vector is kept in memory, for about 100,000 titles per encoder,
    and is shared by all classifiers, clones and cross-validation folds of the process that use the
    same weights.

    Every method that takes titles also takes their vectors: a 2-D float array of shape (n, 512), a
    table of 512 numeric columns or a polars Array column. A classifier that is fitted on vectors
    has no TF-IDF features, as with ``use_words=False``.

    Parameters
    ----------
    encoder : TitleEncoder
    C : float, optional
        Inverse strength of the regularisation, above 0. By default, `fit` chooses it and the weight
        of the vectors.
    use_words : bool, optional
        Whether to use TF-IDF features beside the vectors.

    Attributes
    ----------
    classes_ : ndarray of shape (k,), str, int64 or bool
        The classes, sorted.
    tfidf_ : HashedTfidf or None
        The d words and n-grams that have a coefficient.
    best_params_ : LinearParams
        Weight of the vectors relative to the TF-IDF features, and C, as given or chosen.
    coef_ : ndarray of shape (1, 512 + d) for two classes, else (k, 512 + d), float64
    intercept_ : ndarray of shape (1,) for two classes, else (k,), float64

    Examples
    --------
    >>> from vitrina import TitleClassifier, TitleEncoder
    >>> titles = ["APPLE SAUCE 24 OZ", "APPLE JUICE 64 OZ", "DOG FOOD 20 LB", "CAT FOOD 16 LB"]
    >>> labels = ["grocery", "grocery", "pets", "pets"]
    >>> classifier = TitleClassifier(TitleEncoder.load("encoder")).fit(titles, labels)
    >>> classifier.predict(["ORANGE JUICE 64 OZ", "DOG FOOD 5 LB"]).tolist()
    ['grocery', 'pets']
    >>> classifier.predict_proba(["ORANGE JUICE 64 OZ", "DOG FOOD 5 LB"]).shape
    (2, 2)
    """

    def __init__(
        self, encoder: TitleEncoder, C: float | None = None, use_words: bool = True
    ) -> None:
        self.encoder = encoder
        self.C = C
        self.use_words = use_words

    def fit(self, titles: Any, labels: Any) -> TitleClassifier:
        """Learn from n titles and their labels.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            Or their vectors, see the class.
        labels : list, or numpy, polars, pyarrow or pandas column, of n str, int or bool

        Returns
        -------
        TitleClassifier
            The classifier itself.

        Raises
        ------
        InputError
            If there are no rows, the numbers of titles and labels differ, a label is missing,
            labels are of different types or all the same, there are more than 10,000 classes,
            a label has more than 1,000 characters, vectors are not finite or of another width, or
            a parameter of the constructor is wrong.
        """
        encoder = self._checked_encoder()
        C = self._checked_C()
        rows = _as_rows(titles, encoder)
        self.classes_, codes = _encode_labels(_as_labels(labels), len(rows))

        vectors = features_of(_vectors_of(rows, encoder))
        forms = None
        if self.use_words and not isinstance(rows, np.ndarray):
            forms = encoder.weights.tokenizer.normalizer(rows)

        if C is None:
            kind: Kind = "binary" if len(self.classes_) == 2 else "multiclass"
            self.best_params_ = tune_hyperparameters(
                kind, codes, len(self.classes_), vectors, forms
            )
        else:
            self.best_params_ = LinearParams(DEFAULT_PARAMS.weight, C)

        self.tfidf_ = None
        features = vectors
        if forms is not None:
            self.tfidf_ = HashedTfidf.fit(forms)
            features = stack_features(vectors, self.tfidf_(forms), self.best_params_.weight)
        self._fit_coefficients(features, codes)
        return self

    def decision_function(self, titles: Any) -> npt.NDArray[np.float64]:
        """Compute the log-odds of the classes.

        A title gets the same value, to the last bit, alone and in any batch.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            Or their vectors, see the class.

        Returns
        -------
        ndarray of shape (n,) for two classes, else (n, k), float64
            Log-odds of the second of two classes, or of each class against the rest.

        Raises
        ------
        InputError
            If the titles are not text, or are vectors while the classifier has TF-IDF features.
        """
        check_is_fitted(self, "coef_")
        encoder = self._checked_encoder()
        rows = _as_rows(titles, encoder)
        if self.tfidf_ is not None and isinstance(rows, np.ndarray):
            raise InputError(
                "titles: this classifier needs the titles' words, which vectors don't have; give "
                "titles, or set `use_words` to False and fit again"
            )
        scores = np.empty((len(rows), len(self.coef_)))
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            features = self._features(rows[chunk], encoder)
            # A sparse product and einsum add in one order, however many rows there are; a dense
            # product by BLAS doesn't.
            if self.tfidf_ is None:
                scores[chunk] = np.einsum("nd,kd->nk", features, self.coef_)
            else:
                scores[chunk] = features @ self.coef_.T
        scores += self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, titles: Any) -> npt.NDArray[np.float64]:
        """Compute the probability of each class.

        With more than two classes, the probabilities of the one-against-the-rest models are divided
        by their sum.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            Or their vectors, see the class.

        Returns
        -------
        ndarray of shape (n, k), float64
            In the order of `classes_`; each row adds up to 1.
        """
        scores = self.decision_function(titles)
        if scores.ndim == 1:
            return np.column_stack([expit(-scores), expit(scores)])
        # Sigmoids divided by their sum, computed from logarithms: if all sigmoids of a row
        # underflow, their quotient would be 0 / 0.
        probabilities: npt.NDArray[np.float64] = softmax(log_expit(scores), axis=1)
        return probabilities

    def predict(self, titles: Any) -> npt.NDArray[Any]:
        """Return the most probable class of each of n titles.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            Or their vectors, see the class.

        Returns
        -------
        ndarray of shape (n,), str, int64 or bool
        """
        scores = self.decision_function(titles)
        best = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[best]
        return labels

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the classifier and its encoder to a folder, atomically and without pickle.

        Parameters
        ----------
        path : str or Path
        force : bool, optional
            Replace a classifier that exists at `path`.

        Raises
        ------
        InputError
            If `path` exists (unless `force`) or can't be written.
        """
        check_is_fitted(self, "coef_")
        encoder = self._checked_encoder()
        path = Path(path)
        refuse_existing(path, force, KIND)
        saved = SavedClassifier(
            encoder.weights,
            self.C,
            self.use_words,
            self.classes_,
            self.best_params_,
            self.coef_,
            self.intercept_,
            self.tfidf_,
        )
        with atomic_path(path, force=force, kind=KIND) as folder:
            saved.write_into(folder)

    @classmethod
    def load(cls, path: str | Path) -> TitleClassifier:
        """Load the classifier that was saved in a folder.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        TitleClassifier
            Its predictions are those of the saved classifier, to the last bit.

        Raises
        ------
        InputError
            If the folder is missing, incomplete, damaged or of a newer format.
        """
        saved = SavedClassifier.read(Path(path))
        classifier = cls(TitleEncoder(saved.weights), saved.C, saved.use_words)
        classifier.classes_ = saved.classes
        classifier.best_params_ = saved.params
        classifier.coef_ = saved.coef
        classifier.intercept_ = saved.intercept
        classifier.tfidf_ = saved.tfidf
        return classifier

    def _fit_coefficients(self, features: Any, codes: npt.NDArray[np.int64]) -> None:
        """Fit one regression for two classes, or one per class against the rest."""
        positives = [1] if len(self.classes_) == 2 else list(range(len(self.classes_)))
        models = [regression(self.best_params_.C).fit(features, codes == k) for k in positives]
        self.coef_ = np.concatenate([model.coef_ for model in models])
        self.intercept_ = np.concatenate([model.intercept_ for model in models])

    def _features(self, rows: _Rows, encoder: TitleEncoder) -> Any:
        """Return the features of the model, an array (n, 512) or sparse matrix (n, 512 + d)."""
        vectors = features_of(_vectors_of(rows, encoder))
        if self.tfidf_ is None:
            return vectors
        forms = encoder.weights.tokenizer.normalizer(rows)
        return stack_features(vectors, self.tfidf_(forms), self.best_params_.weight)

    def _checked_encoder(self) -> TitleEncoder:
        if not isinstance(self.encoder, TitleEncoder):
            raise InputError(
                f"`encoder` is of type {type(self.encoder).__name__}; open a saved encoder with "
                "TitleEncoder.load(path)"
            )
        return self.encoder

    def _checked_C(self) -> float | None:
        if self.C is None:
            return None
        strength = float(self.C) if isinstance(self.C, Real) else math.nan
        if not 0 < strength < math.inf:
            raise InputError(
                f"`C` is {self.C!r}; it must be a number above 0, or None to choose it by "
                "cross-validation"
            )
        return strength

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        return tags


def _as_rows(titles: Any, encoder: TitleEncoder) -> _Rows:
    """Return titles as strings, or vectors as a 2-D array after checking them."""
    vectors: Any = titles
    is_table = len(getattr(vectors, "shape", ())) == 2 and hasattr(vectors, "to_numpy")
    is_array_column = isinstance(vectors, pl.Series) and isinstance(vectors.dtype, pl.Array)
    if is_table or is_array_column:
        vectors = vectors.to_numpy()
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind not in "fiu" or vectors.ndim != 2:
        return [title or "" for title in as_titles(titles)]
    width = len(encoder.weights.bias)
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


def _vectors_of(rows: _Rows, encoder: TitleEncoder) -> npt.NDArray[np.floating[Any]]:
    """Return the vectors of titles, shape (n, 512), encoding only titles not in the cache."""
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


def _encode_labels(
    labels: npt.NDArray[Any], titles: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return the sorted classes and the number of each label's class.

    Raises
    ------
    InputError
        If there are no titles, their number is not that of the labels, there is one class only, or
        there are too many.
    """
    if titles == 0:
        raise InputError("titles: there are no rows; give at least one title of each class")
    if titles != len(labels):
        raise InputError(
            f"labels: there are {len(labels):,} labels for {titles:,} titles; give one label for "
            "each title"
        )
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"labels: all {len(labels):,} are {labels[0].item()!r}; give titles of at least two "
            "classes"
        )
    if len(classes) > MAX_CLASSES:
        raise InputError(
            f"labels: there are {len(classes):,} classes, more than the {MAX_CLASSES:,} that a "
            "classifier may have; is this the right column?"
        )
    return classes, codes


def _as_labels(column: Any) -> npt.NDArray[Any]:
    """Return labels as a 1-D array of str, int64 or bool without missing values."""
    labels = [_as_label(row, label) for row, label in enumerate(as_list(column, "labels"))]
    for row, label in enumerate(labels):
        if type(label) is not type(labels[0]):
            raise InputError(
                f"labels: row {row} is {label!r} ({type(label).__name__}), row 0 is "
                f"{labels[0]!r} ({type(labels[0]).__name__}); convert the column to one type"
            )
    return np.array(labels)


def _as_label(row: int, label: Any) -> str | int | bool:
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, str):
        text = str(label)  # a plain str, also from a subclass
        if not is_storable(text):
            raise InputError(
                f"labels: row {row} has a label of {len(text):,} letters that can't be saved; a "
                f"label is Unicode text of at most {LONGEST_CLASS:,} letters that does not end "
                "with a null character"
            )
        return text
    if isinstance(label, int):  # or bool, which is a subclass of int
        return label
    if is_missing(label):
        raise InputError(f"labels: row {row} has no label; drop the rows without one")
    if isinstance(label, float) and label.is_integer():
        # tables with missing values store integers as floats
        return int(label)
    raise InputError(
        f"labels: row {row} is {label!r} ({type(label).__name__}); labels are strings, integers "
        "or booleans"
    )
