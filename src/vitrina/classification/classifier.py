"""A classifier of titles: logistic regression on the frozen encoder's vectors (paper §4) and on the
titles' words."""

from __future__ import annotations

import json
import math
from numbers import Real
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import polars as pl
import safetensors.numpy
import sklearn
from scipy.special import expit, log_expit, softmax  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from vitrina._version import __version__
from vitrina.classification.linear import (
    DEFAULT_PARAMS,
    LinearParams,
    features_of,
    regression,
    stack_features,
    tune_hyperparameters,
)
from vitrina.classification.tfidf import HashedTfidf
from vitrina.columns import as_list, is_missing
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import EncoderWeights
from vitrina.errors import InputError
from vitrina.files import atomic_path, check_sealed, refuse_existing, seal
from vitrina.metrics import Kind
from vitrina.text.normalize import as_titles

FORMAT_VERSION = 3  # 1: without words; 2: the vectors' weight was always 1.5
KIND = "vitrina classifier"

_REMEMBERED = 100_000  # titles an encoder: 200 MB of vectors at most
_CHUNK = 16_384  # rows scored at once, so that memory doesn't grow with the number of titles

# Clones of an encoder share its weights, so the folds and candidates of a search share this too.
_vectors: WeakKeyDictionary[EncoderWeights, dict[str, dict[str, npt.NDArray[np.float32]]]] = (
    WeakKeyDictionary()
)


class TitleClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression on the vectors of a frozen title encoder (paper §4) and, beside them,
    on the TF-IDF of the titles' words and character n-grams.

    The vectors carry far with few labels, the words with many; together they were best of these on
    average at every number of labels. With 300 labelled titles or more, cross-validation chooses
    how much the vectors weigh and C (see `vitrina.classification.linear.tune_hyperparameters`), which takes about
    ten times as long as the fit. ``use_words=False, C=1.0`` is the paper's classifier.

    liblinear with at most 1,000 iterations, all else as scikit-learn has it; more than two
    classes are fitted one against the rest. Vectors are brought to unit length first, which the
    paper doesn't do: C then means the same for every encoder, and few labels go further.
    A title is embedded once: its vector is remembered (for about 100,000 titles an encoder) and
    shared by all classifiers, clones and cross-validation folds in this process that use the same
    weights.

    Wherever titles are asked for, their ready vectors serve as well: a 2-D float array (n, 512),
    a table of as many numeric columns or a polars Array column. Vectors have no words: who fits on
    them gets a classifier of vectors alone, as with ``use_words=False``.

    Parameters
    ----------
    encoder : TitleEncoder
    C : float or None
        Inverse strength of the regularisation, more than 0; None to choose it, and the weight of
        the vectors beside the words.
    use_words : bool
        Whether words and n-grams count beside the vectors.

    Attributes
    ----------
    classes_ : array of shape (k,), str, int64 or bool, sorted
    tfidf_ : HashedTfidf or None
        The d words and n-grams that have a coefficient.
    best_params_ : LinearParams
        Weight of the vectors beside the words, and C, as given or chosen.
    coef_ : (1, 512 + d) float64 for two classes, else (k, 512 + d)
    intercept_ : (1,) or (k,) float64

    Examples
    --------
    >>> classifier = TitleClassifier(TitleEncoder.load("demo/encoder"))  # doctest: +SKIP
    >>> classifier.fit(titles, is_new).predict_proba(["APPLE SAUCE 24 OZ"])  # doctest: +SKIP
    array([[0.86, 0.14]])
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
        titles : column of n titles, or their vectors
        labels : list, numpy, polars, pyarrow or pandas column of n strings, integers or booleans

        Raises
        ------
        InputError
            no rows, a missing label, labels of mixed kinds or of one class, another number of
            labels than of titles, vectors that are not finite or of another width
        """
        encoder = self._checked_encoder()
        strength = float(self.C) if isinstance(self.C, Real) else math.nan
        if self.C is not None and not 0 < strength < math.inf:
            raise InputError(
                f"C: {self.C!r} is not a number above 0; give one, or None to have it chosen"
            )
        rows = _as_rows(titles, encoder)
        classes = _as_labels(labels)
        if len(rows) == 0:
            raise InputError("titles: there are no rows; give at least one title of each class")
        if len(rows) != len(classes):
            raise InputError(
                f"labels: {len(classes):,} labels for {len(rows):,} titles; give one for each"
            )
        self.classes_, codes = np.unique(classes, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"labels: all {len(classes):,} are {classes[0].item()!r}; give titles of two "
                "classes or more"
            )
        vectors = features_of(_vectors_of(rows, encoder))
        forms = None
        if self.use_words and not isinstance(rows, np.ndarray):
            forms = encoder.weights.tokenizer.normalizer(rows)
        if self.C is not None:
            self.best_params_ = LinearParams(DEFAULT_PARAMS.weight, strength)
        else:
            kind: Kind = "binary" if len(self.classes_) == 2 else "multiclass"
            self.best_params_ = tune_hyperparameters(
                kind, codes, len(self.classes_), vectors, forms
            )
        self.tfidf_, features = None, vectors
        if forms is not None:
            self.tfidf_ = HashedTfidf.fit(forms)
            features = stack_features(vectors, self.tfidf_(forms), self.best_params_.weight)
        positives = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        models = [regression(self.best_params_.C).fit(features, codes == k) for k in positives]
        self.coef_ = np.concatenate([model.coef_ for model in models])
        self.intercept_ = np.concatenate([model.intercept_ for model in models])
        return self

    def decision_function(self, titles: Any) -> npt.NDArray[np.float64]:
        """Log-odds: of the second of two classes, shape (n,), else of each class, (n, k).

        A title's value is the same, to the last bit, alone and in any batch.
        """
        check_is_fitted(self, "coef_")
        encoder = self._checked_encoder()
        rows = _as_rows(titles, encoder)
        if self.tfidf_ is not None and isinstance(rows, np.ndarray):
            raise InputError(
                "titles: vectors have no words, which this classifier was fitted with; give the "
                "titles, or fit with use_words=False"
            )
        scores = np.empty((len(rows), len(self.coef_)))
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            features = self._features(rows[part], encoder)
            # sums in one order however many rows there are: sparse rows, or no BLAS
            if self.tfidf_ is None:
                scores[part] = np.einsum("nd,kd->nk", features, self.coef_)
            else:
                scores[part] = features @ self.coef_.T
        scores += self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, titles: Any) -> npt.NDArray[np.float64]:
        """Probability of each of `classes_`, shape (n, k), float64, rows adding up to 1.

        With more than two classes, each one's own probability over their sum.
        """
        scores = self.decision_function(titles)
        if scores.ndim == 1:
            return np.column_stack([expit(-scores), expit(scores)])
        # the normalised sigmoids, in logarithms: a row that no class claims doesn't become 0 / 0
        probabilities: npt.NDArray[np.float64] = softmax(log_expit(scores), axis=1)
        return probabilities

    def predict(self, titles: Any) -> npt.NDArray[Any]:
        """The most probable of `classes_` for each title, shape (n,)."""
        scores = self.decision_function(titles)
        best = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[best]
        return labels

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the classifier with its encoder to the folder `path`, atomically; no pickle.

        Raises
        ------
        InputError
            if the path exists (unless `force`) or can't be written
        """
        check_is_fitted(self, "coef_")
        encoder = self._checked_encoder()
        path = Path(path)
        refuse_existing(path, force, KIND)
        config = {
            "vitrina": __version__,
            "scikit_learn": sklearn.__version__,
            "C": None if self.C is None else float(self.C),  # JSON knows no numbers of numpy
            "params": self.best_params_._asdict(),
            "use_words": bool(self.use_words),
            "classes": self.classes_.tolist(),
        }
        with atomic_path(path) as folder:
            (folder / "encoder").mkdir(parents=True)
            encoder.weights.write_into(folder / "encoder")
            arrays = {"coef": self.coef_, "intercept": self.intercept_}
            if self.tfidf_ is not None:
                arrays |= self.tfidf_._asdict()
            (folder / "classifier.safetensors").write_bytes(safetensors.numpy.save(arrays))
            text = json.dumps(config, indent=1, ensure_ascii=False)
            (folder / "config.json").write_text(text + "\n", "utf-8")
            seal(folder, KIND, FORMAT_VERSION)

    @classmethod
    def load(cls, path: str | Path) -> TitleClassifier:
        """The classifier saved in the folder `path`, with the same predictions to the last bit.

        Raises
        ------
        InputError
            if the folder is missing, incomplete, damaged or of a newer format
        """
        folder = Path(path)
        check_sealed(folder, KIND, FORMAT_VERSION)
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            arrays = safetensors.numpy.load_file(folder / "classifier.safetensors")
            encoder = TitleEncoder.load(folder / "encoder")
            classifier = cls(
                encoder, config["C"], config.get("use_words", config.get("lexical", False))
            )
            # JSON tells strings, integers and booleans apart, so numpy finds the type again
            classifier.classes_ = np.array(config["classes"])
            classifier.coef_, classifier.intercept_ = arrays["coef"], arrays["intercept"]
            before = {"weight": DEFAULT_PARAMS.weight, "C": config["C"]}
            classifier.best_params_ = LinearParams(
                **config.get("params", config.get("setting", before))
            )
            classifier.tfidf_ = None
            if "hashes" in arrays:
                classifier.tfidf_ = HashedTfidf(arrays["hashes"], arrays["idf"])
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise InputError(
                f"{folder}: is no readable classifier ({error}); save it again"
            ) from None
        return classifier

    def _features(
        self, rows: list[str] | npt.NDArray[np.floating[Any]], encoder: TitleEncoder
    ) -> Any:
        """What `regression` learns from, (n, 512) or sparse (n, 512 + d)."""
        vectors = features_of(_vectors_of(rows, encoder))
        if self.tfidf_ is None:
            return vectors
        forms = encoder.weights.tokenizer.normalizer(rows)
        return stack_features(vectors, self.tfidf_(forms), self.best_params_.weight)

    def _checked_encoder(self) -> TitleEncoder:
        if not isinstance(self.encoder, TitleEncoder):
            raise InputError(
                "encoder: open a saved encoder with TitleEncoder.load(path), not "
                f"{type(self.encoder).__name__}"
            )
        return self.encoder

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        return tags


def _as_rows(titles: Any, encoder: TitleEncoder) -> list[str] | npt.NDArray[np.floating[Any]]:
    """What was given as titles: strings, or vectors found to be finite and of the right width."""
    vectors: Any = titles
    is_table = len(getattr(vectors, "shape", ())) == 2 and hasattr(vectors, "to_numpy")
    if is_table or (isinstance(vectors, pl.Series) and isinstance(vectors.dtype, pl.Array)):
        vectors = vectors.to_numpy()
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind not in "fiu" or vectors.ndim != 2:
        return [title or "" for title in as_titles(titles)]
    width = len(encoder.weights.bias)
    if vectors.shape[1] != width:
        raise InputError(
            f"vectors: have {vectors.shape[1]} numbers, this encoder's have {width}; give titles, "
            "or vectors that it made"
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise InputError(f"vectors: row {bad[0]} is not finite; remove it or embed its title again")
    return np.ascontiguousarray(vectors)  # the order of a sum follows the order in memory


def _vectors_of(
    rows: list[str] | npt.NDArray[np.floating[Any]], encoder: TitleEncoder
) -> npt.NDArray[np.floating[Any]]:
    """Vectors of titles, shape (n, 512); each title is encoded once while there is room."""
    if isinstance(rows, np.ndarray):
        return rows
    known = _vectors.setdefault(encoder.weights, {}).setdefault(encoder.table, {})
    new = list(dict.fromkeys(title for title in rows if title not in known))
    encoded = encoder.encode(new)
    fresh = dict(zip(new, encoded, strict=True))
    found = [fresh[title] if title in fresh else known[title] for title in rows]
    room = max(_REMEMBERED - len(known), 0)
    # copied, so that what is remembered doesn't keep alive what is not
    known.update(zip(new[:room], encoded[:room].copy(), strict=True))
    return np.stack(found) if found else encoded


def _as_labels(column: Any) -> npt.NDArray[Any]:
    """Labels as a 1-D array of str, int64 or bool, nothing missing."""
    labels = [_as_label(row, label) for row, label in enumerate(as_list(column, "labels"))]
    kinds = list(map(type, labels))
    if len(set(kinds)) > 1:
        row = next(row for row, kind in enumerate(kinds) if kind is not kinds[0])
        raise InputError(
            f"labels: row {row} is {labels[row]!r} ({kinds[row].__name__}), row 0 is "
            f"{labels[0]!r} ({kinds[0].__name__}); convert the column to one type"
        )
    return np.array(labels)


def _as_label(row: int, label: Any) -> str | int | bool:
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, str | int):  # a bool is an int
        return str(label) if isinstance(label, str) else label
    if is_missing(label):
        raise InputError(f"labels: row {row} has no label; drop the rows without one")
    if isinstance(label, float) and label.is_integer():
        return int(label)  # integers become floats in tables that had missing values
    raise InputError(
        f"labels: row {row} is {label!r} ({type(label).__name__}); labels are strings, integers "
        "or booleans"
    )
