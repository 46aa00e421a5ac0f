"""The score of a project's classifier against the number of its labels."""

from __future__ import annotations

import threading

import numpy as np

from vitrina.labelling.applied_labels import Labelled
from vitrina.labelling.audit import AuditRanks, audit_ranks
from vitrina.labelling.catalogue_features import CatalogueFeatures, Rows

_FIRST_SIZE = 20
_GROWTH = 1.25


class ScoreCurve:
    """Scores from the audit, each computed once for the same labels.

    Methods may be called from several threads; one runs at a time.

    Parameters
    ----------
    features : CatalogueFeatures
    audit_rows, other_rows : ndarray of int64
        The titles that are kept for the audit, and the others, in their random order.
    """

    def __init__(self, features: CatalogueFeatures, audit_rows: Rows, other_rows: Rows) -> None:
        self._features = features
        self._order = np.concatenate([audit_rows, other_rows])
        self._place = {row: i for i, row in enumerate(audit_rows.tolist())}
        self._known: dict[int, tuple[Labelled, AuditRanks | None]] = {}
        self._lock = threading.Lock()

    def ranked(self, labelled: Labelled) -> AuditRanks | None:
        """Rank the titles of the audit; see `vitrina.labelling.audit.audit_ranks`.

        Parameters
        ----------
        labelled : Labelled

        Returns
        -------
        AuditRanks or None
        """
        with self._lock:
            size = len(labelled.rows)
            known = self._known.get(size)
            if known is None or not _are_equal(known[0], labelled):
                known = labelled, self._rank(labelled)
                self._known[size] = known
            return known[1]

    def points(self, labelled: Labelled) -> list[tuple[int, AuditRanks | None]]:
        """Rank the titles of the audit for growing numbers of labels.

        Parameters
        ----------
        labelled : Labelled

        Returns
        -------
        list of (int, AuditRanks or None)
            For 20 labels, 25, 31 and so on, and for all labels.
        """
        m = len(labelled.rows)
        sizes = {m} if m else set()
        size = float(_FIRST_SIZE)
        while size < m:
            sizes.add(int(size))
            size *= _GROWTH
        points = [(size, self.ranked(labelled.first(size))) for size in sorted(sizes)]
        with self._lock:
            self._known = {size: self._known[size] for size in sizes if size in self._known}
        return points

    def _rank(self, labelled: Labelled) -> AuditRanks | None:
        audit = labelled.is_audit
        reference = self._order[~np.isin(self._order, labelled.rows)]
        # in the order of the audit, so that its five parts are those of any order of labelling
        rows, labels = labelled.rows[audit], labelled.labels[audit]
        by_place = np.argsort([self._place[row] for row in rows.tolist()])
        return audit_ranks(
            self._features,
            rows[by_place],
            labels[by_place],
            labelled.rows[~audit],
            labelled.labels[~audit],
            reference,
        )


def _are_equal(one: Labelled, other: Labelled) -> bool:
    return np.array_equal(one.rows, other.rows) and np.array_equal(one.labels, other.labels)
