"""What the labelling page shows: the title of each browser tab, and the figures."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.errors import InputError, shown
from vitrina.labelling.audit import ClassScore, Estimate
from vitrina.labelling.label_file import LABEL, STRATEGY, TITLE, check_row
from vitrina.labelling.project import LabellingProject

MOST_CLASSES = 9
"""Each class has a digit of the keyboard."""

DEFAULT_CLASSES = ("yes", "no")
_LEASE_SECONDS = 300.0
"""How long a title is kept for a tab that doesn't answer. Later labels of the audit wait for it."""

_SHARES = (0.01, 0.05, 0.1, 0.25)
_FEW = 100


class Lease(NamedTuple):
    """A title that is shown in a tab, so that no other tab gets it."""

    title: str
    strategy: str
    until: float


class Figures(NamedTuple):
    """The figures of one class.

    Attributes
    ----------
    label : str
        The class.
    labels : int
        Number of labels that the figures are computed from.
    score : ClassScore or None
        None without a score.
    curve : list of (int, ClassScore)
        The score by number of labels.
    histogram : ndarray of shape (20,), int64
        Titles of the catalogue by their probability of the class.
    precision : list of (int, Estimate or None)
        Precision among the k highest scores, for several k.
    """

    label: str
    labels: int
    score: ClassScore | None
    curve: list[tuple[int, ClassScore]]
    histogram: npt.NDArray[np.int64]
    precision: list[tuple[int, Estimate | None]]


class PageState:
    """A project that several browser tabs label at once.

    The label file is the only state that matters. What is kept here beside it says which title each
    tab shows; if it is lost, a tab may get the title of another, and the later label counts.

    Parameters
    ----------
    project : LabellingProject
    classes : sequence of str, optional
        The classes, at most nine. The figures show the first one. By default those of the label
        file, or else "yes" and "no".

    Attributes
    ----------
    classes : list of str
    identity : str
        Tells the label file and the classes from others. A browser may still show the page of
        another project that had the same address.

    Raises
    ------
    InputError
        If there are fewer than two classes or more than nine, or a class can't be stored.
    """

    def __init__(self, project: LabellingProject, classes: Sequence[str] = ()) -> None:
        self.project = project
        of_file = sorted(set(project.file.read()[LABEL].drop_nulls()))
        if not classes and set(of_file) <= set(DEFAULT_CLASSES):
            classes = DEFAULT_CLASSES
        self.classes = list(dict.fromkeys([*classes, *of_file]))
        if not 2 <= len(self.classes) <= MOST_CLASSES:
            raise InputError(
                f"`classes`: there are {len(self.classes)}, with those of {project.file.path}; the "
                f"page needs 2 to {MOST_CLASSES}"
            )
        for name in self.classes:
            check_row("any title", name)
        path = str(project.file.path.resolve())
        self.identity = hashlib.sha256("\0".join([path, *self.classes]).encode()).hexdigest()[:16]
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._figures_lock = threading.Lock()
        self._figures: tuple[Any, Figures] | None = None

    # ---- labels

    def card(self, tab: str) -> dict[str, Any] | None:
        """Return the title that a tab should show; None if none is left.

        A tab keeps its title until somebody labels it.

        Parameters
        ----------
        tab : str
            Identifies the tab.

        Returns
        -------
        dict or None
            The row of `LabellingProject.next_titles`.
        """
        with self._lock:
            now = time.monotonic()
            self._leases = {t: lease for t, lease in self._leases.items() if lease.until > now}
            lease = self._leases.pop(tab, None)
            if lease is not None and not self.project.is_labelled(lease.title):
                found = self.project.candidate(lease.title, lease.strategy)
            else:
                elsewhere = [lease.title for lease in self._leases.values()]
                found = self.project.next_titles(1, exclude=elsewhere)
            if found.is_empty():
                return None
            row = found.row(0, named=True)
            self._leases[tab] = Lease(row[TITLE], row[STRATEGY], now + _LEASE_SECONDS)
            return row

    def release(self, tab: str) -> None:
        """Give the title of a tab that is closed to others.

        Parameters
        ----------
        tab : str
        """
        with self._lock:
            self._leases.pop(tab, None)

    def answer(self, title: str, label: str | None, strategy: str) -> dict[str, Any] | None:
        """Write a label to the file; None skips the title.

        Parameters
        ----------
        title : str
        label : str or None
        strategy : str

        Returns
        -------
        dict or None
            `label` and `strategy` that the title had before; None if it had none.

        Raises
        ------
        InputError
            If the label is no class of the page, or as `LabellingProject.label`.
        """
        if label is not None and label not in self.classes:
            raise InputError(f"the page has no class '{shown(label)}'; load it again")
        with self._lock:
            before = self._written(title)
            self.project.label(title, label, strategy)
        return before and {LABEL: before[LABEL], STRATEGY: before[STRATEGY]}

    def undo(self, tab: str, title: str | None, before: dict[str, Any] | None) -> str | None:
        """Take a label back, and show its title in the tab again.

        Parameters
        ----------
        tab : str
        title : str or None
            The title; that of the file's last label if None.
        before : dict or None
            From `answer`: what the title gets back instead of being shown.

        Returns
        -------
        str or None
            The title; None if there was nothing to take back.
        """
        with self._lock:
            written = self._written(title)
            if written is None:
                return None
            title = str(written[TITLE])
            if before is not None:
                self.project.label(title, before[LABEL], before[STRATEGY])
                return title
            self.project.undo(title)
            until = time.monotonic() + _LEASE_SECONDS
            if self.project.known_title(title) is not None:
                self._leases[tab] = Lease(title, written[STRATEGY], until)
            return title

    def _written(self, title: str | None) -> dict[str, Any] | None:
        """The row of a title in the label file, or its last row."""
        table = self.project.file.read()
        if title is not None:
            table = table.filter(pl.col(TITLE) == (self.project.known_title(title) or title))
        if table.is_empty():
            return None
        return table.select(TITLE, LABEL, STRATEGY).row(-1, named=True)

    def counts(self) -> dict[str, int]:
        """Return how many titles have each class, in the order of the classes."""
        labels = self.project.labelled().labels
        return {name: int(np.sum(labels == name)) for name in self.classes}

    # ---- figures

    def figures(self, label: str) -> Figures:
        """Compute the figures of a class, or return those of the same labels.

        Parameters
        ----------
        label : str
        """
        with self._figures_lock:
            key = (self.project.file.version(), label)
            if self._figures is None or self._figures[0] != key:
                self._figures = key, self._compute(label)
            return self._figures[1]

    def _compute(self, label: str) -> Figures:
        points = self.project.ranked_curve()
        size, last = points[-1] if points else (0, None)
        curve = []
        for of_point, ranked in points:
            score = None if ranked is None else ranked.score(label)
            if score is not None:
                curve.append((of_point, score))
        histogram = self.project.histogram(label)
        if last is None or not curve:
            return Figures(label, size, None, curve, histogram, [])
        ks = {_FEW, *(int(share * last.unlabelled) for share in _SHARES)}
        precision = []
        for k in sorted({max(min(k, last.unlabelled), 1) for k in ks}):
            score = last.score(label, k)
            precision.append((k, None if score is None else score.precision_at_k))
        return Figures(label, size, curve[-1][1], curve, histogram, precision)
