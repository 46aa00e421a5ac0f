"""Which words of a title speak for its prediction: the score of a linear model, word by word."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.classification.linear import features_of
from vitrina.classification.tfidf import HashedTfidf, WordsOfTitles, words_of
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.ragged import Ragged

WORDS, LEXICAL, CONTEXTUAL = "words", "lexical", "contextual"
REST, INTERCEPT = "rest", "intercept"
"""The parts of a score, see `contributions`."""

# A title of w words is encoded w + 1 times; without a limit, a title of a megabyte would take
# hours.
MAX_WORDS = 200

_TITLES_AT_ONCE = 256
_WORDS_AT_ONCE = 4_096

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """The coefficients of k linear models.

    Attributes
    ----------
    encoder : TitleEncoder
    tfidf : HashedTfidf or None
    of_vector : ndarray of shape (k, width), float64
        Coefficients of the vectors. Beside TF-IDF features, shape (k, contextual_dim): the models
        don't use the lexical part.
    of_words : ndarray of shape (k, d), float64
        Coefficients of the TF-IDF features.
    intercept : ndarray of shape (k,), float64
    weight : float
        Factor of the vectors.
    """

    encoder: TitleEncoder
    tfidf: HashedTfidf | None
    of_vector: Floats
    of_words: Floats
    intercept: Floats
    weight: float

    @property
    def uses_lexical(self) -> bool:
        """Whether the models use the lexical part of the vectors."""
        return self.tfidf is None and self.encoder.weights.lexical_dim > 0

    def vectors(self, titles: list[str]) -> Floats:
        """The vectors of n titles as the models see them, in the dimensions of `of_vector`."""
        vectors = features_of(self.encoder.encode(titles)[:, : self.of_vector.shape[1]])
        return np.multiply(self.weight, vectors, dtype=np.float64)

    def contextual_scores(self, vectors: Floats, model: Codes) -> Floats:
        """The scores of the contextual parts of n vectors, each by the model of its number."""
        n = self.encoder.weights.contextual_dim
        scores: Floats = np.einsum("nd,nd->n", vectors[:, :n], self.of_vector[model, :n])
        return scores

    def lexical_scores(self, vectors: Floats, found: WordsOfTitles, model: Codes) -> Floats:
        """The scores of each word in the lexical parts of n vectors.

        A lexical part is the sum of the vectors of the title's words, scaled to a fixed length.

        Parameters
        ----------
        vectors : ndarray of shape (n, width), float64
        found : WordsOfTitles
            The w words of the n titles.
        model : ndarray of shape (w,), int64
            Number of the model that scores a word.

        Returns
        -------
        ndarray of shape (w,), float64
            Those of a title's words add up to the score of its lexical part, apart from rounding.
        """
        word_vectors = self.encoder.weights.tokenizer.word_vectors
        assert word_vectors is not None
        n = self.encoder.weights.contextual_dim
        lexical, coefficients = vectors[:, n:], self.of_vector[:, n:]
        sums = np.zeros_like(lexical)
        scores = np.empty(len(found.words))
        texts = Ragged.from_bytes([word.encode("utf-8", "replace") for word in found.words])
        # in parts, because the words of a long title have many vectors
        for start in range(0, len(scores), _WORDS_AT_ONCE):
            stop = min(start + _WORDS_AT_ONCE, len(scores))
            part = slice(start, stop)
            of_word = word_vectors.of_texts(texts.part(start, stop)) * found.times[part, None]
            np.add.at(sums, found.title[part], of_word)
            scores[part] = np.einsum("wd,wd->w", of_word, coefficients[model[part]])

        length = np.linalg.norm(sums, axis=1)
        scale = np.linalg.norm(lexical, axis=1) / np.where(length > 0, length, 1)
        scaled: Floats = scores * scale[found.title]
        return scaled

    def word_scores(self, forms: list[str], found: WordsOfTitles, model: Codes) -> Floats:
        """The scores of the TF-IDF features of each word, each by the model of its number."""
        assert self.tfidf is not None
        features = self.tfidf.shared_out(forms, found)
        scores = np.empty(len(found.words))
        for k in np.unique(model):
            rows = model == k
            scores[rows] = features[rows] @ self.of_words[k]
        return scores


def contributions(
    scorer: Scorer,
    titles: list[str],
    prediction: npt.NDArray[Any],
    model: Codes,
    sign: Floats,
) -> pl.DataFrame:
    """Divide a score of each title among its words.

    The score has these parts:

    - "words": the TF-IDF features. A word has the coefficients times the values of its own feature
      and of the n-grams in it. This division is exact.
    - "lexical": the lexical part of the vector. It is a scaled sum over the words, so this division
      is exact too. Beside TF-IDF features there are no such rows, and with vectors that have no
      lexical part neither.
    - "contextual": by how much the score of the contextual part of the vector falls if the word is
      left out of the title. This part isn't a sum over words, so these numbers don't add up to its
      score.
    - "rest": the score of the contextual part without the numbers above.
    - "intercept": the same number for every title.

    Parameters
    ----------
    scorer : Scorer
    titles : list of n str
    prediction : ndarray of shape (n,)
        Written beside each title.
    model : ndarray of shape (n,), int64
        Number of the model that scores a title.
    sign : ndarray of shape (n,), float64
        Factor of the title's score, 1 or -1.

    Returns
    -------
    DataFrame
        Columns `row` (number of the title from 0, Int64), `title`, `prediction`, `word` (normal
        form; null for "rest" and "intercept"), `part` and `contribution` (Float64). The
        contributions of a row add up to its score times `sign`.
    """
    frames = [_of_chunk(scorer, [], 0, model[:0])]
    for start in range(0, len(titles), _TITLES_AT_ONCE):
        chunk = slice(start, start + _TITLES_AT_ONCE)
        frames.append(_of_chunk(scorer, titles[chunk], start, model[chunk]))
    table = pl.concat(frames)
    row = table["row"].to_numpy()
    return table.select(
        "row",
        pl.Series("title", titles, pl.String).gather(row),
        pl.Series("prediction", prediction).gather(row),
        "word",
        "part",
        pl.col("contribution") * pl.Series(sign).gather(row),
    )


def _of_chunk(scorer: Scorer, titles: list[str], first_row: int, model: Codes) -> pl.DataFrame:
    """The contributions of a few titles, title by title."""
    forms = scorer.encoder.weights.tokenizer.normalizer(titles)
    found = words_of(forms)
    model_of_word = model[found.title]
    vectors = scorer.vectors(titles)
    parts = []
    if scorer.tfidf is not None:
        of_words = scorer.word_scores(forms, found, model_of_word)
        parts.append(_part(found.title, found.words, WORDS, of_words))
    rest = np.einsum("nd,nd->n", vectors, scorer.of_vector[model])
    if scorer.uses_lexical:
        lexical = scorer.lexical_scores(vectors, found, model_of_word)
        parts.append(_part(found.title, found.words, LEXICAL, lexical))
        rest -= np.bincount(found.title, lexical, len(titles))
    left_out = _left_out(scorer, forms, model, scorer.contextual_scores(vectors, model))
    rest -= np.bincount(left_out.title, left_out.fall, len(titles))

    all_titles = np.arange(len(titles))
    nothing = [None] * len(titles)
    parts += [
        _part(left_out.title, left_out.words, CONTEXTUAL, left_out.fall),
        _part(all_titles, nothing, REST, rest),
        _part(all_titles, nothing, INTERCEPT, scorer.intercept[model]),
    ]
    table = pl.concat(parts).sort("row", maintain_order=True)
    return table.with_columns(pl.col("row") + first_row)


def _part(title: Codes, words: list[Any], part: str, contribution: Floats) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row": pl.Series(title, dtype=pl.Int64),
            "word": pl.Series(words, dtype=pl.String),
            "part": pl.Series([part] * len(title), dtype=pl.String),
            "contribution": pl.Series(contribution, dtype=pl.Float64),
        }
    )


@dataclass(frozen=True)
class _LeftOut:
    """By how much the scores of the contextual parts fall without a word, as `WordsOfTitles`."""

    title: Codes
    words: list[str]
    fall: Floats


def _left_out(scorer: Scorer, forms: list[str], model: Codes, whole: Floats) -> _LeftOut:
    """Score the contextual parts again, each time without one of the title's first words."""
    titles: list[int] = []
    words: list[str] = []
    falls = [np.empty(0)]
    for title, form in enumerate(forms):
        sequence = form.split()
        distinct = list(islice(dict.fromkeys(sequence), MAX_WORDS))
        without = scorer.vectors([_without(sequence, word) for word in distinct])
        scores = scorer.contextual_scores(without, np.repeat(model[title], len(distinct)))
        titles += [title] * len(distinct)
        words += distinct
        falls.append(whole[title] - scores)
    return _LeftOut(np.array(titles, np.int64), words, np.concatenate(falls))


def _without(sequence: list[str], word: str) -> str:
    return " ".join(other for other in sequence if other != word)
