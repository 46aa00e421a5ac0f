"""The labels of a file, as they apply to the titles of a catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitrina.labelling.catalogue_features import Rows


class Labelled(NamedTuple):
    """The labels of a file, as they apply to a catalogue.

    Attributes
    ----------
    rows : ndarray of shape (m,), int64
        Numbers of the titles that the classifier learns from, in the order of their labels.
    labels : ndarray of shape (m,), str
    strategies : ndarray of shape (m,), str
        The strategies that chose the titles.
    is_audit : ndarray of shape (m,), bool
        Whether a title is in the audit.
    waiting : ndarray of int64
        Titles that are skipped, or that the audit has not reached yet.
    """

    rows: Rows
    labels: npt.NDArray[np.str_]
    strategies: npt.NDArray[np.str_]
    is_audit: npt.NDArray[np.bool_]
    waiting: Rows

    @property
    def has_classes(self) -> bool:
        """Whether there are labels of two classes."""
        return len(np.unique(self.labels)) > 1

    def first(self, n: int) -> Labelled:
        """Return the first n labels."""
        return Labelled(
            self.rows[:n],
            self.labels[:n],
            self.strategies[:n],
            self.is_audit[:n],
            self.waiting,
        )


def applied_labels(
    rows: Sequence[int],
    labels: Sequence[str | None],
    strategies: Sequence[str],
    audit_rows: Rows,
) -> Labelled:
    """Find out which labels the classifier learns from.

    The titles of the audit are in a random order that is fixed in advance. A label of such a title
    waits until all titles before it have been labelled or skipped. So the labelled ones are a
    random sample, whoever labelled them and why.

    Parameters
    ----------
    rows : sequence of int
        The number of each labelled title, -1 if the catalogue lacks it.
    labels : sequence of (str or None)
        None for a skipped title. The last label of a title counts.
    strategies : sequence of str
    audit_rows : ndarray of int64
        Numbers of the titles that are kept for the audit, in their order.

    Returns
    -------
    Labelled
    """
    # the last label of each title, in the order of the file
    label_of: dict[int, str | None] = {}
    strategy_of: dict[int, str] = {}
    for row, label, strategy in zip(rows, labels, strategies, strict=True):
        label_of.pop(row, None)
        label_of[row] = label
        strategy_of[row] = strategy
    label_of.pop(-1, None)
    handled = np.isin(audit_rows, list(label_of))
    reached = len(audit_rows) if handled.all() else int(np.argmin(handled))
    in_audit, waits = set(audit_rows[:reached].tolist()), set(audit_rows[reached:].tolist())

    used = [row for row, label in label_of.items() if label is not None and row not in waits]
    waiting = [row for row in label_of if label_of[row] is None or row in waits]
    return Labelled(
        np.array(used, np.int64),
        np.array([label_of[row] for row in used], np.str_),
        np.array([strategy_of[row] for row in used], np.str_),
        np.array([row in in_audit for row in used], bool),
        np.array(waiting, np.int64),
    )
