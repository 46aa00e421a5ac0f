"""Labels that the classifier contradicts, for a second look."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitrina.labelling.audit import FOLDS
from vitrina.labelling.catalogue_features import (
    CatalogueFeatures,
    Floats,
    Rows,
    probabilities_of,
)


class Doubtful(NamedTuple):
    """The predictions for m labelled titles, each by a classifier that has not seen its label.

    Attributes
    ----------
    places : list of int
        Numbers of the doubtful labels, from 0 to m - 1, the most doubtful first.
    prediction : ndarray of shape (m,), str
        The most probable class.
    probability : ndarray of shape (m,), float64
        Its probability.
    """

    places: list[int]
    prediction: npt.NDArray[np.str_]
    probability: Floats


def find_doubtful(
    features: CatalogueFeatures, rows: Rows, labels: npt.NDArray[np.str_]
) -> Doubtful:
    """Find labels that the classifier contradicts, by five-fold cross-fitting.

    A label is doubtful if another class is more probable, and at least as probable as that class is
    on average for its own labels (confident learning: Northcutt, Jiang & Chuang, JAIR 2021).

    Parameters
    ----------
    features : CatalogueFeatures
    rows : ndarray of shape (m,), int64
        Numbers of the labelled titles.
    labels : ndarray of shape (m,), str

    Returns
    -------
    Doubtful
    """
    m = len(rows)
    of_label, best, of_best = np.ones(m), labels.copy(), np.ones(m)
    fold = np.random.default_rng(0).permutation(m) % FOLDS
    for number in range(FOLDS):
        learnt, held_out = fold != number, np.flatnonzero(fold == number)
        if not len(held_out) or len(np.unique(labels[learnt])) < 2:
            continue
        classifier = features.fit(rows[learnt], labels[learnt])
        probabilities = probabilities_of(features.scores(classifier, rows[held_out]))
        classes = classifier.classes_
        best[held_out] = classes[probabilities.argmax(axis=1)]
        of_best[held_out] = probabilities.max(axis=1)
        is_label = labels[held_out, None] == classes
        # a label of a class that no other label has can't be contradicted
        known = is_label.any(axis=1)
        of_label[held_out[known]] = probabilities[is_label]

    is_doubtful = np.zeros(m, bool)
    for label in np.unique(labels):
        of_class = labels == label
        usual = of_label[of_class].mean()
        is_doubtful |= ~of_class & (best == label) & (of_best >= usual)
    order = np.argsort(of_label, kind="stable")
    return Doubtful(order[is_doubtful[order]].tolist(), best, of_best)
