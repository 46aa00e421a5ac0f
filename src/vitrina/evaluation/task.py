"""A task: titles, labels and a split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from vitrina.classification.linear import Labels, Rows
from vitrina.metrics import Kind

Part: TypeAlias = Literal["train", "validation", "test"]

RARE = 0.1
"""A positive class with a smaller share of a task's rows is rare."""


@dataclass(frozen=True, eq=False)
class Task:
    """Titles, their labels and a split: everything that a model may know about a task.

    Attributes
    ----------
    name : str
    kind : {"binary", "multiclass", "regression"}
    titles : sequence of str of length n
    labels : ndarray of shape (n,), bool, int64 or float64
        Binary: bool. Multi-class: int64, index into `classes`. Regression: float64.
    train, validation, test : ndarray of int64
        Row numbers of each part. All rows of a title are in the same part, see
        `vitrina.evaluation.protocol.split_titles`.
    split : str
        What the split keeps together: "title", or the name of a group column.
    classes : sequence of str
        Names of the classes of a multi-class task.
    products : sequence of (str or None) of length n, optional
        Product ids; None if the table has none.
    categories : sequence of (str or None) of length n, optional
        Categories, which are known when a title is scored; None if the table has none.
    sessions : str
        Name of the sessions of the task's own shop; "" if there are none.
    note : str
        What a reader of the results must know.
    """

    name: str
    kind: Kind
    titles: Sequence[str]
    labels: Labels
    train: Rows
    validation: Rows
    test: Rows
    split: str = "title"
    classes: Sequence[str] = ()
    products: Sequence[str | None] | None = None
    categories: Sequence[str | None] | None = None
    sessions: str = ""
    note: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that results can depend on, in hexadecimal."""
        content = hashlib.sha256(f"{self.kind}\0{self.split}\0{self.sessions}".encode())
        # separators that don't occur in titles: different columns never give the same bytes
        for column in (self.titles, self.classes, self.products or (), self.categories or ()):
            content.update("\0".join(f"{value}" for value in column).encode() + b"\1")
        for array in (self.labels, self.train, self.validation, self.test):
            content.update(array.tobytes() + b"\1")
        return content.hexdigest()

    @property
    def is_rare(self) -> bool:
        """Whether the task is binary and less than a tenth of its rows is positive."""
        return self.kind == "binary" and bool(np.mean(self.labels) < RARE)

    def rows(self, part: Part) -> Rows:
        """Return the row numbers of a part of the split."""
        rows: Rows = getattr(self, part)
        return rows

    def titles_of(self, rows: Rows) -> list[str]:
        """Return the titles of the given rows, in their order."""
        return [self.titles[row] for row in rows]
