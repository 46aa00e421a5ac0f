"""A classifier of titles: logistic regression on the frozen encoder's vectors (paper §4) and on
TF-IDF features of the titles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import expit, log_expit, softmax  # type: ignore[import-untyped]
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from vitrina.classification.features import as_rows, checked_encoder
from vitrina.classification.labels import (
    ClassWeight,
    as_labels,
    as_sample_weight,
    checked_class_weight,
    encode_labels,
    require_one_for_each_title,
    row_weights,
)
from vitrina.classification.saved import CLASSIFIER, SavedModel
from vitrina.classification.title_model import TitleModel, without_weightless
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.metrics import Kind
from vitrina.text.normalize import as_titles

KIND = CLASSIFIER.name


class TitleClassifier(ClassifierMixin, TitleModel):  # type: ignore[misc]
    """Logistic regression on title vectors of a frozen encoder (paper §4) and on TF-IDF features.

    The TF-IDF features are those of the titles' words and character n-grams; beside them, the model
    uses the contextual part of the vectors. Vectors help most with
    few labels and words with many; both together did best on average at every number of labels.
    With 300 labelled titles or more, `fit` chooses the weight of the vectors and C by
    cross-validation (`vitrina.classification.linear.tune_hyperparameters`), which takes about ten
    times as long as the fit itself. ``use_words=False, C=1.0`` is the paper's classifier.

    The solver is liblinear with at most 1,000 iterations; all other settings are scikit-learn's
    defaults. More than two classes are fitted one against the rest. Unlike the paper, the
    classifier scales vectors to unit length: C then means the same for every encoder, and fewer
    labels are needed.

    Each title is embedded once. Its vector is kept in memory, for about 50,000 titles per encoder,
    and is shared by all classifiers, clones and cross-validation folds of the process that use the
    same weights.

    Every method that takes titles also takes their vectors: a 2-D float array of shape (n, width),
    a table of as many numeric columns or a polars Array column. A classifier that is fitted on
    vectors has no TF-IDF features, as with ``use_words=False``.

    Parameters
    ----------
    encoder : TitleEncoder
    C : float, optional
        Inverse strength of the regularisation, from 1e-12 to 1e12. By default, `fit` chooses it
        and the weight of the vectors.
    use_words : bool, optional
        Whether to use TF-IDF features beside the vectors.
    class_weight : dict of class to float, "balanced" or None, optional
        Factor of the weight of each class's rows, 1 for a class that the dict lacks. "balanced"
        gives all classes the same total weight. By default, all rows count alike.

    Attributes
    ----------
    classes_ : ndarray of shape (k,), str, int64 or bool
        The classes, sorted.
    tfidf_ : HashedTfidf or None
        The d words and n-grams that have a coefficient.
    best_params_ : LinearParams
        Weight of the vectors relative to the TF-IDF features, and C, as given or chosen.
    coef_ : ndarray of shape (1, contextual_dim + d) for two classes, else (k, ...), float64
        Without TF-IDF features, a row has `width` coefficients.
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
        self,
        encoder: TitleEncoder,
        C: float | None = None,
        use_words: bool = True,
        class_weight: ClassWeight = None,
    ) -> None:
        self.encoder = encoder
        self.C = C
        self.use_words = use_words
        self.class_weight = class_weight

    def fit(self, titles: Any, labels: Any, sample_weight: Any = None) -> TitleClassifier:
        """Learn from n titles and their labels.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str
            Or their vectors, see the class.
        labels : list, or numpy, polars, pyarrow or pandas column, of n str, int or bool
        sample_weight : list, or numpy, polars, pyarrow or pandas column, of n float, optional
            How much each row counts, 0 or more, also where cross-validation chooses C and the
            weight of the vectors. Rows of weight 0 are left out. As in scikit-learn, doubling all
            weights has the effect of doubling C.

        Returns
        -------
        TitleClassifier
            The classifier itself.

        Raises
        ------
        InputError
            If there are no rows, the numbers of titles and labels differ, a label is missing,
            labels are of different types or all the same, there are more than 10,000 classes,
            a label has more than 1,000 characters, a weight is negative or missing, vectors are not
            finite or of another width, or a parameter of the constructor is wrong.
        """
        encoder = checked_encoder(self.encoder)
        self._checked_C()
        rows = as_rows(titles, encoder)
        all_labels = as_labels(labels)
        require_one_for_each_title(len(all_labels), len(rows), "labels")
        weights = as_sample_weight(sample_weight, len(rows))
        rows, all_labels, weights = without_weightless(rows, all_labels, weights)
        classes, codes = encode_labels(all_labels)
        weights = row_weights(self.class_weight, classes, codes, weights)
        kind: Kind = "binary" if len(classes) == 2 else "multiclass"
        self._fit_rows(kind, rows, codes, len(classes), weights)
        self.classes_ = classes
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
        scores = self._scores(titles)
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
        labels: npt.NDArray[Any] = self.classes_[_best(scores)]
        return labels

    def explain(self, titles: Any) -> pl.DataFrame:
        """Divide the log-odds of the predicted class of each title among the title's words.

        Positive numbers speak for the prediction, negative ones against it. Their unit is that of
        `decision_function`: log-odds of the predicted class against the other class, or against the
        rest.

        Parameters
        ----------
        titles : list, or numpy, polars, pyarrow or pandas column, of n str

        Returns
        -------
        polars.DataFrame
            One row for each word and part of each title:

            - `row` (Int64): number of the title, from 0.
            - `title` (String).
            - `prediction`: the predicted class.
            - `word` (String): normal form of a word; null for the parts "rest" and "intercept".
            - `part` (String): "words", "lexical", "contextual", "rest" or "intercept".
            - `contribution` (Float64): log-odds.

            "words" is what a word and the n-grams in it contribute through the TF-IDF features:
            coefficient times value. It is exact; an n-gram of several words is divided among them
            in proportion to how often it occurs. "lexical" is what the word contributes through the
            lexical part of the vector, which is a scaled sum over words; it is exact too. Only
            a model without TF-IDF features uses that part. "contextual" is by how much the log-odds
            fall if the contextual part of the vector is computed without the word. This part is no
            sum over words, so these numbers are no division of its score: "rest" is its score minus
            these numbers. Only the first 200 distinct words of a title are left out in turn.
            "intercept" is the same for all titles of a prediction. All contributions of a title add
            up to the log-odds, apart from rounding.

        Raises
        ------
        InputError
            If an entry is not text.

        Examples
        --------
        >>> from vitrina import TitleClassifier, TitleEncoder
        >>> titles = ["APPLE SAUCE 24 OZ", "APPLE JUICE 64 OZ", "DOG FOOD 20 LB", "CAT FOOD 16 LB"]
        >>> labels = ["grocery", "grocery", "pets", "pets"]
        >>> classifier = TitleClassifier(TitleEncoder.load("encoder")).fit(titles, labels)
        >>> parts = classifier.explain(["PAPER FOOD"])
        >>> parts["prediction"][0]
        'pets'
        >>> words = parts.filter(part="words").sort("contribution", descending=True)
        >>> words["word"].to_list()
        ['food', 'paper']
        """
        texts = as_titles(titles)
        scores = self.decision_function(texts)
        best = _best(scores)
        if scores.ndim == 2:
            return self._explain(texts, self.classes_[best], best, np.ones(len(best)))
        # the score is that of the second class
        sign = np.where(best == 1, 1.0, -1.0)
        return self._explain(texts, self.classes_[best], np.zeros_like(best), sign)

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
        class_weight = checked_class_weight(self.class_weight, self.classes_)
        self._save(path, force, KIND, classes=self.classes_, class_weight=class_weight)

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
        saved = SavedModel.read(Path(path), CLASSIFIER)
        classifier = cls._loaded(saved, class_weight=saved.class_weight)
        assert saved.classes is not None
        classifier.classes_ = saved.classes
        return classifier


def _best(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The number of the predicted class of each title."""
    if scores.ndim == 1:
        return (scores > 0).astype(np.int64)
    best: npt.NDArray[np.int64] = scores.argmax(axis=1)
    return best
