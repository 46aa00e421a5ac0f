"""Features of a catalogue's titles, computed once, so that fits and scores take milliseconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from scipy.special import expit, log_expit, softmax  # type: ignore[import-untyped]

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.labels import encode_labels
from vitrina.classification.linear import (
    DEFAULT_PARAMS,
    features_of,
    fit_models,
    stack_features,
)
from vitrina.classification.tfidf import HashedTfidf
from vitrina.compiled import compiled, default_threads, in_threads
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.progress import Progress
from vitrina.text.ngrams import NGRAM_BIT, count_ngrams

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Titles whose words are counted at once, so that memory hardly exceeds the result.
_CHUNK_TITLES = 8_192


class CatalogueFeatures:
    """Vectors and word counts of n titles.

    A classifier that is fitted on some of the titles equals a fresh `TitleClassifier` with the
    default C, to the last bit. Nothing of a title is computed twice.

    A title takes about 4 bytes for each dimension of its vector and 8 bytes for each of its words
    and n-grams: 4.3 KB for the titles of Open e-commerce (104 letters) and vectors of 512
    dimensions, and about twice as much while they are read.

    Parameters
    ----------
    encoder : TitleEncoder
    titles : sequence of n str
    quiet : bool, optional
        Whether to show no progress.

    Attributes
    ----------
    encoder : TitleEncoder
    titles : list of n str
    forms : list of n str
        Normal forms of the titles.
    vectors : ndarray of shape (n, contextual_dim), float32
        The contextual parts of the vectors, which the classifier uses beside the words.
    lengths : ndarray of shape (n,), float64
        Lengths of the vectors, 1 for a vector of zeros.
    """

    def __init__(self, encoder: TitleEncoder, titles: Sequence[str], *, quiet: bool = True) -> None:
        self.encoder = encoder
        self.titles = list(titles)
        self.forms = encoder.weights.tokenizer.normalizer(self.titles)
        contextual_dim = encoder.weights.contextual_dim
        self.vectors = np.empty((len(self.titles), contextual_dim), np.float32)
        parts: list[tuple[npt.NDArray[Any], ...]] = []
        with Progress("reading titles", len(self.titles), quiet=quiet) as progress:
            for start in range(0, len(self.titles), _CHUNK_TITLES):
                stop = min(start + _CHUNK_TITLES, len(self.titles))
                vectors = encoder.encode(self.titles[start:stop])
                self.vectors[start:stop] = vectors[:, :contextual_dim]
                title, hashes, count = count_ngrams(self.forms[start:stop])
                parts.append((np.bincount(title, minlength=stop - start), hashes, count))
                progress.update(stop)
        lengths = np.sqrt(np.einsum("nd,nd->n", self.vectors, self.vectors, dtype=np.float64))
        self.lengths: Floats = np.where(lengths > 0, lengths, 1)
        self._count_words(parts)

    def _count_words(self, parts: list[tuple[npt.NDArray[Any], ...]]) -> None:
        """Number the words and n-grams of all titles in the order of their hashes."""
        distinct = [np.unique(hashes) for _, hashes, _ in parts]
        self._hashes = np.unique(np.concatenate([np.empty(0, np.uint32), *distinct]))
        self._first_ngram = int(np.searchsorted(self._hashes, np.uint32(NGRAM_BIT)))
        sizes = [np.zeros(1, np.int64), *(per_title for per_title, _, _ in parts)]
        self._offsets = np.cumsum(np.concatenate(sizes))
        self._words = np.empty(int(self._offsets[-1]), np.int32)
        self._counts = np.empty(len(self._words), np.int32)
        at = 0
        for _, hashes, count in parts:
            self._words[at : at + len(hashes)] = np.searchsorted(self._hashes, hashes)
            self._counts[at : at + len(hashes)] = count
            at += len(hashes)

    def __len__(self) -> int:
        return len(self.titles)

    def fit(self, rows: Rows, labels: npt.NDArray[Any]) -> TitleClassifier:
        """Fit a classifier on some of the titles.

        Parameters
        ----------
        rows : ndarray of shape (m,), int64
            Numbers of the titles.
        labels : ndarray of shape (m,), str, int64 or bool
            At least two classes.

        Returns
        -------
        TitleClassifier
            The same, to the last bit, as ``TitleClassifier(encoder, C=2.0).fit(titles, labels)``.

        Raises
        ------
        InputError
            If all labels are the same.
        """
        classes, codes = encode_labels(labels)
        weight, C = DEFAULT_PARAMS
        tfidf, words = self._tfidf(rows)
        features = stack_features(features_of(self.vectors[rows]), words, weight)
        kind: Any = "binary" if len(classes) == 2 else "multiclass"
        models = fit_models(kind, features, codes, C)
        classifier = TitleClassifier(self.encoder, C=C)
        classifier.classes_ = classes
        classifier.tfidf_ = tfidf
        classifier.best_params_ = DEFAULT_PARAMS
        classifier.coef_ = np.concatenate([model.coef_ for model in models])
        classifier.intercept_ = np.concatenate([model.intercept_ for model in models])
        return classifier

    def _tfidf(self, rows: Rows) -> tuple[HashedTfidf, csr_matrix]:
        """Fit `HashedTfidf` on some titles; return it and their features."""
        sizes = self._offsets[rows + 1] - self._offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        # the places of the titles' words, one title after the other
        places = np.arange(offsets[-1]) + np.repeat(self._offsets[rows] - offsets[:-1], sizes)
        known, column, frequency = np.unique(
            self._words[places], return_inverse=True, return_counts=True
        )
        # the same steps as in `HashedTfidf`, so that the bits are the same
        frequency = np.append(frequency, 0)
        idf = np.log((1 + len(rows)) / (1 + frequency)) + 1
        value = (1 + np.log(self._counts[places])) * idf[column]
        title = np.repeat(np.arange(len(rows)), sizes)
        block = 2 * title + (self._words[places] >= self._first_ngram)
        squared_length = np.bincount(block, value**2)
        value /= np.sqrt(squared_length)[block]
        features = csr_matrix((value, column, offsets), (len(rows), len(known)))
        return HashedTfidf(self._hashes[known], idf), features

    def scores(self, classifier: TitleClassifier, rows: Rows | None = None) -> Floats:
        """Compute the log-odds of the classes.

        Parameters
        ----------
        classifier : TitleClassifier
            From `fit`.
        rows : ndarray of shape (n,), int64, optional
            Numbers of the titles; all by default.

        Returns
        -------
        ndarray of shape (n, k), float64
            The log-odds of each class: for two classes against each other, else against the rest.
            They are those of ``classifier.decision_function``, apart from rounding.
        """
        tfidf = classifier.tfidf_
        assert tfidf is not None
        if rows is None:
            rows = np.arange(len(self))
        width = self.vectors.shape[1]
        # a row for each word: its inverse document frequency, then its coefficients, 0 for words
        # that no labelled title has
        known = np.searchsorted(self._hashes, tfidf.hashes)
        of_word = np.zeros((len(self._hashes), 1 + len(classifier.coef_)))
        of_word[:, 0] = tfidf.idf[-1]
        of_word[known, 0] = tfidf.idf[:-1]
        of_word[known, 1:] = classifier.coef_[:, width:].T
        weight = classifier.best_params_.weight
        of_vector = np.ascontiguousarray(classifier.coef_[:, :width]) * weight
        scores = np.empty((len(rows), len(classifier.coef_)))

        def work(start: int, stop: int) -> None:
            _score_words(
                self._words,
                self._counts,
                self._offsets,
                self._first_ngram,
                rows,
                of_word,
                scores,
                start,
                stop,
            )
            _add_vectors(self.vectors, self.lengths, rows, of_vector, scores, start, stop)

        in_threads(work, len(rows), default_threads())
        scores += classifier.intercept_
        if len(classifier.classes_) == 2:
            return np.concatenate([-scores, scores], axis=1)
        return scores


def probabilities_of(scores: Floats) -> Floats:
    """Compute probabilities as `TitleClassifier.predict_proba` does.

    Parameters
    ----------
    scores : ndarray of shape (n, k), float64
        From `CatalogueFeatures.scores`.

    Returns
    -------
    ndarray of shape (n, k), float64
    """
    if scores.shape[1] == 2:
        return np.asarray(expit(scores))
    return np.asarray(softmax(log_expit(scores), axis=1))


@compiled
def _score_words(
    words: Any,
    counts: Any,
    offsets: Any,
    first_ngram: int,
    rows: Any,
    of_word: Any,
    scores: Any,
    start: int,
    stop: int,
) -> None:
    """Write the scores of the TF-IDF features of some titles."""
    k = of_word.shape[1] - 1
    sums = np.empty((2, k))
    for place in range(start, stop):
        title = rows[place]
        squared_length = np.zeros(2)
        sums[:] = 0
        for at in range(offsets[title], offsets[title + 1]):
            word = words[at]
            block = 1 if word >= first_ngram else 0
            value = of_word[word, 0]
            if counts[at] > 1:
                value *= 1 + math.log(counts[at])
            squared_length[block] += value * value
            for j in range(k):
                sums[block, j] += value * of_word[word, 1 + j]
        for j in range(k):
            scores[place, j] = 0.0
            for block in range(2):
                if squared_length[block] > 0:
                    scores[place, j] += sums[block, j] / math.sqrt(squared_length[block])


@compiled(fastmath={"reassoc", "contract"})
def _add_vectors(
    vectors: Any, lengths: Any, rows: Any, coef: Any, scores: Any, start: int, stop: int
) -> None:
    """Add the scores of some titles' vectors."""
    for place in range(start, stop):
        title = rows[place]
        for j in range(coef.shape[0]):
            total = 0.0
            for i in range(coef.shape[1]):
                total += vectors[title, i] * coef[j, i]
            scores[place, j] += total / lengths[title]
