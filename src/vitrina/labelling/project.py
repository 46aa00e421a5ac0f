"""A labelling project: a catalogue, an encoder and a label file, and what follows from them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.predict import predict_file
from vitrina.data.tables import Source, describe
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError, shown
from vitrina.labelling.applied_labels import Labelled, applied_labels
from vitrina.labelling.audit import AuditRanks, ClassScore
from vitrina.labelling.catalogue_features import CatalogueFeatures, Floats, Rows, probabilities_of
from vitrina.labelling.deciding_words import deciding_words, no_words
from vitrina.labelling.label_file import LABEL, STRATEGY, TITLE, LabelFile
from vitrina.labelling.query_strategies import Sampler
from vitrina.labelling.review import find_doubtful
from vitrina.labelling.score_curve import ScoreCurve
from vitrina.labelling.titles import (
    PREDICTION,
    PROBABILITY,
    catalogue_titles,
    first_of_form,
    most_like,
    title_table,
    with_words,
)

REVIEW = "review"
"""The strategy of a label that was confirmed or corrected."""

_LEAST_TITLES = 10
_EXPLAINED = 200
"""Labelled titles of which the deciding words are taken."""


class LabellingProject:
    """Label the titles of a catalogue, one after the other, with a classifier that learns along.

    Everything follows from the catalogue, the encoder, the label file and the seed. Other processes
    may write to the label file: each method first looks whether it has changed. Methods may be
    called from several threads. Scores and figures don't hold up those who label.

    Titles with the same normal form are one title: the first of them stands for all.

    Parameters
    ----------
    encoder : TitleEncoder
    catalogue : str, Path, list of paths, or polars frame
        The table of titles, see `vitrina.data.tables.scan`.
    label_file : str or Path
        CSV or Parquet, see `LabelFile`. It needn't exist.
    title_column : str, optional
        Column of the titles in the catalogue. Rows without a title are left out.
    seed : int, optional
        Random seed of the choice of titles. Use one seed for all of a file's labels: the audit
        depends on it.
    quiet : bool, optional
        Whether to show no progress.

    Attributes
    ----------
    features : CatalogueFeatures
        Of the distinct titles of the catalogue, and after them of titles that only the label file
        had when the project was opened. The classifier learns from those too.

    Raises
    ------
    InputError
        If the catalogue or the label file can't be read or lacks a column, or if the catalogue has
        fewer than ten distinct titles.

    Examples
    --------
    >>> import polars as pl
    >>> from vitrina import TitleEncoder
    >>> from vitrina.labelling.project import LabellingProject
    >>> catalogue = pl.DataFrame({"title": [f"MILK {size} OZ" for size in range(1, 21)]})
    >>> project = LabellingProject(TitleEncoder.load("encoder"), catalogue, "labels.csv")
    >>> title, strategy = project.next_titles(1).select("title", "strategy").row(0)
    >>> strategy
    'audit'
    >>> project.label(title, "no", strategy)
    >>> len(project.file.read())
    1
    """

    def __init__(
        self,
        encoder: TitleEncoder,
        catalogue: Source,
        label_file: str | Path,
        *,
        title_column: str = "title",
        seed: int = 0,
        quiet: bool = True,
    ) -> None:
        self.file = LabelFile(label_file, encoder.weights.digest)
        self._catalogue, self._title_column = catalogue, title_column
        titles = catalogue_titles(catalogue, title_column)
        first = first_of_form(encoder, titles)
        n = len(first)
        if n < _LEAST_TITLES:
            raise InputError(
                f"{describe(catalogue)}: has {n} distinct titles; at least {_LEAST_TITLES} are "
                "needed to label some of them"
            )
        for form, title in first_of_form(encoder, self.file.read()[TITLE].to_list()).items():
            first.setdefault(form, title)
        self.features = CatalogueFeatures(encoder, list(first.values()), quiet=quiet)
        self._row_of = {form: row for row, form in enumerate(first)}
        self._in_catalogue = n
        self._sampler = Sampler(self.features, seed, np.arange(n))
        self._curve = ScoreCurve(self.features, self._sampler.audit_rows, self._sampler.other_rows)
        self._lock = threading.RLock()
        self._version: tuple[int, ...] | None = None
        self._labelled = applied_labels([], [], [], self._sampler.audit_rows)
        # of the labels; both are computed when they are needed
        self._classifier: TitleClassifier | None = None
        self._probabilities: tuple[TitleClassifier, Floats] | None = None

    def __len__(self) -> int:
        """Number of distinct titles in the catalogue."""
        return self._in_catalogue

    # ---- labels

    def label(self, title: str, label: str | None, strategy: str) -> None:
        """Write the label of a title to the file; None if it is skipped.

        Parameters
        ----------
        title : str
        label : str or None
        strategy : str
            What `next_titles` said, "search" for a found title, or "review".

        Raises
        ------
        InputError
            If the catalogue has no such title, the label can't be stored, or the file can't be
            read or written.
        """
        with self._lock:
            known = self.known_title(title)
            if known is None:
                raise InputError(
                    f"labels: the catalogue has no title '{shown(title)}'; label one that it has"
                )
            self.file.add(known, label, strategy)

    def undo(self, title: str | None = None) -> str | None:
        """Remove a label from the file, the last one by default.

        Parameters
        ----------
        title : str, optional
            The title whose label is removed.

        Returns
        -------
        str or None
            The title; None if there is no such label.
        """
        with self._lock:
            if title is None:
                table = self.file.read()
                if table.is_empty():
                    return None
                title = str(table[TITLE][-1])
            return title if self.file.remove(title) else None

    def labelled(self) -> Labelled:
        """Return the labels that the classifier learns from, see `applied_labels`."""
        with self._lock:
            version = self.file.version()
            if version != self._version:
                self._labelled = self._read_labels()
                self._version = version
                self._classifier = None
            return self._labelled

    def _read_labels(self) -> Labelled:
        table = self.file.read()
        forms = self.features.encoder.weights.tokenizer.normalizer(table[TITLE])
        rows = [self._row_of.get(form, -1) for form in forms]
        return applied_labels(
            rows, table[LABEL].to_list(), table[STRATEGY].to_list(), self._sampler.audit_rows
        )

    def known_title(self, title: str) -> str | None:
        """Return the title that stands for all with the same normal form; None if unknown."""
        row = self._find(title)
        return None if row is None else self.features.titles[row]

    def is_labelled(self, title: str) -> bool:
        """Return whether the label file has a title, be it labelled or skipped."""
        labelled, row = self.labelled(), self._find(title)
        return row in labelled.rows or row in labelled.waiting

    def _find(self, title: str) -> int | None:
        (form,) = self.features.encoder.weights.tokenizer.normalizer([title])
        return self._row_of.get(form)

    # ---- the classifier

    def classifier(self) -> TitleClassifier | None:
        """Return the classifier that is fitted on all labels; None without two classes."""
        with self._lock:
            labelled = self.labelled()
            if self._classifier is None and labelled.has_classes:
                self._classifier = self.features.fit(labelled.rows, labelled.labels)
            return self._classifier

    def probabilities(self) -> pl.DataFrame:
        """Compute the probability of each class for the titles of the catalogue.

        Returns
        -------
        DataFrame
            A row for each distinct title: `title` and `probability_CLASS` (Float64) for each class,
            and `label`, null if it has none. Without labels of two classes there are no
            probabilities.
        """
        with self._lock:
            labelled, classifier = self.labelled(), self.classifier()
        n = self._in_catalogue
        labels = np.full(len(self.features), None, dtype=object)
        labels[labelled.rows] = labelled.labels
        columns = {
            TITLE: pl.Series(self.features.titles[:n], dtype=pl.String),
            LABEL: pl.Series(labels[:n].tolist(), dtype=pl.String),
        }
        if classifier is not None:
            probabilities = self._probabilities_by(classifier)
            for number, label in enumerate(classifier.classes_):
                columns[f"{PROBABILITY}_{label}"] = pl.Series(probabilities[:, number])
        return pl.DataFrame(columns)

    def _probabilities_by(self, classifier: TitleClassifier) -> Floats:
        """Probabilities of all titles of the catalogue. Others may label meanwhile: no lock."""
        known = self._probabilities
        if known is None or known[0] is not classifier:
            scores = self.features.scores(classifier, np.arange(self._in_catalogue))
            known = classifier, probabilities_of(scores)
            self._probabilities = known
        return known[1]

    def histogram(self, label: str, bins: int = 20) -> npt.NDArray[np.int64]:
        """Count the titles of the catalogue by their probability of a class.

        Parameters
        ----------
        label : str
        bins : int, optional
            Number of equal parts of the range from 0 to 1.

        Returns
        -------
        ndarray of shape (bins,), int64
            Zeros if the classifier has no such class.
        """
        classifier = self.classifier()
        if classifier is None or label not in classifier.classes_:
            return np.zeros(bins, np.int64)
        column = int(np.searchsorted(classifier.classes_, label))
        return np.histogram(self._probabilities_by(classifier)[:, column], bins, (0, 1))[0]

    def explain(self, title: str) -> pl.DataFrame | None:
        """Return which words of a title speak for its class; see `TitleClassifier.explain`."""
        classifier = self.classifier()
        return None if classifier is None else classifier.explain([title])

    def deciding_words(self, label: str, n: int = 15) -> pl.DataFrame:
        """Find the words that move the probability of a class most.

        Parameters
        ----------
        label : str
        n : int, optional

        Returns
        -------
        DataFrame
            See `vitrina.labelling.deciding_words.deciding_words`: the words of the last 200
            labelled titles. Empty without a classifier.
        """
        with self._lock:
            labelled, classifier = self.labelled(), self.classifier()
        if classifier is None:
            return no_words()
        rows = labelled.rows[-_EXPLAINED:]
        return deciding_words(classifier, [self.features.titles[row] for row in rows], label, n)

    # ---- choosing titles

    def next_titles(self, n: int = 1, exclude: Sequence[str] = ()) -> pl.DataFrame:
        """Choose the titles to label next, see `vitrina.labelling.query_strategies.Sampler`.

        Parameters
        ----------
        n : int, optional
        exclude : sequence of str, optional
            Titles that somebody else is labelling just now.

        Returns
        -------
        DataFrame
            `title`; `label`, null; `strategy`; `prediction`, the most probable class, and
            `probability`, its probability (both null without a classifier). Fewer than n rows if
            the catalogue has no more titles.

        Raises
        ------
        InputError
            If `n` is below 1.
        """
        if n < 1:
            raise InputError(f"`n` is {n}; it must be 1 or more")
        with self._lock:
            labelled = self.labelled()
            excluded = [row for row in map(self._find, exclude) if row is not None]
            taken = np.concatenate([labelled.waiting, np.array(excluded, np.int64)])
            choices = self._sampler.choose(*labelled[:3], n, taken)
            rows = np.array([choice.row for choice in choices], np.int64)
            return self._shown(rows, [choice.strategy for choice in choices])

    def candidate(self, title: str, strategy: str) -> pl.DataFrame:
        """Return a title as a row of `next_titles`; no row if the catalogue lacks it.

        Parameters
        ----------
        title : str
        strategy : str
        """
        row = self._find(title)
        rows = [] if row is None else [row]
        with self._lock:
            return self._shown(np.array(rows, np.int64), [strategy] * len(rows))

    def search(self, query: str, by: str = "words", n: int = 20) -> pl.DataFrame:
        """Find unlabelled titles by their words or by likeness.

        The titles that are kept for the audit are never found. Otherwise the classifier would be
        scored on titles that were looked for.

        Parameters
        ----------
        query : str
        by : {"words", "likeness"}, optional
            By words: titles that have each word of the query, or a word that begins with it. By
            likeness: titles of the highest cosine to the query.
        n : int, optional

        Returns
        -------
        DataFrame
            As from `next_titles`, with the strategy "search".

        Raises
        ------
        InputError
            If `by` is something else.
        """
        if by not in ("words", "likeness"):
            raise InputError(f"`by` is '{shown(by)}'; it must be 'words' or 'likeness'")
        with self._lock:
            labelled = self.labelled()
            pool = np.sort(self._sampler.other_rows)
            pool = pool[~np.isin(pool, labelled.rows) & ~np.isin(pool, labelled.waiting)]
            find = with_words if by == "words" else most_like
            rows = find(self.features, query, pool, n)
            return self._shown(rows, ["search"] * len(rows))

    def _shown(self, rows: Rows, strategies: list[str]) -> pl.DataFrame:
        """Titles with what the classifier thinks of them."""
        return title_table(self.features, self.classifier(), rows, strategies)

    def doubtful(self, n: int = 20) -> pl.DataFrame:
        """Find labels that the classifier strongly contradicts.

        See `vitrina.labelling.review.find_doubtful`.

        Parameters
        ----------
        n : int, optional

        Returns
        -------
        DataFrame
            `title`, `label`, `strategy` ("review"), `prediction` and `probability` (that of the
            prediction). The most doubtful come first. Confirmed labels don't come again: those that
            the file has with the strategy "review".
        """
        labelled = self.labelled()
        found = find_doubtful(self.features, labelled.rows, labelled.labels)
        reviewed = self.file.read().filter(pl.col(STRATEGY) == REVIEW)[TITLE]
        known = {self._find(title) for title in reviewed}
        places = [place for place in found.places if int(labelled.rows[place]) not in known][:n]
        rows = labelled.rows[places]
        return title_table(self.features, None, rows, [REVIEW] * len(places)).with_columns(
            pl.Series(LABEL, labelled.labels[places], pl.String),
            pl.Series(PREDICTION, found.prediction[places], pl.String),
            pl.Series(PROBABILITY, found.probability[places]),
        )

    # ---- the score

    def score(self, k: int = 100) -> list[ClassScore]:
        """Compute the score from the audit alone, see `vitrina.labelling.audit`.

        Parameters
        ----------
        k : int, optional
            For the precision at k.

        Returns
        -------
        list of ClassScore
            One for each class; of two classes, only the second in alphabetical order.
        """
        ranked = self._curve.ranked(self.labelled())
        return [] if ranked is None else ranked.scores(k)

    def curve(self) -> list[tuple[int, list[ClassScore]]]:
        """Compute the score against the number of labels, each from the labels until then.

        Returns
        -------
        list of (int, list of ClassScore)
            For 20 labels, 25, 31 and so on, and for all labels.
        """
        points = self.ranked_curve()
        return [(size, [] if ranked is None else ranked.scores()) for size, ranked in points]

    def ranked_curve(self) -> list[tuple[int, AuditRanks | None]]:
        """Rank the audit for each point of `curve`. The score of any class follows from it."""
        return self._curve.points(self.labelled())

    # ---- results

    def save_classifier(self, path: str | Path, *, force: bool = False) -> None:
        """Save the classifier, in the folder format of `vitrina classify fit`.

        Parameters
        ----------
        path : str or Path
        force : bool, optional
            Replace a classifier that exists at `path`.

        Raises
        ------
        InputError
            If there are no labels of two classes, or `path` exists (unless `force`) or can't be
            written.
        """
        self._require_classifier().save(path, force=force)

    def save_scores(self, path: str | Path, *, force: bool = False) -> int:
        """Write the catalogue with the predictions to Parquet, as `vitrina classify predict` does.

        Parameters
        ----------
        path : str or Path
            Its name ends in .parquet.
        force : bool, optional
            Replace a file that exists at `path`.

        Returns
        -------
        int
            Number of rows.

        Raises
        ------
        InputError
            As `save_classifier`, or if the catalogue has a column of the result already.
        """
        classifier, column = self._require_classifier(), self._title_column
        return predict_file(
            classifier, self._catalogue, path, title_column=column, force=force, quiet=True
        )

    def _require_classifier(self) -> TitleClassifier:
        classifier = self.classifier()
        if classifier is None:
            raise InputError(
                f"{self.file.path}: has no labels of two classes yet; label more titles"
            )
        return classifier
