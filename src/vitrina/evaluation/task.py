"""A task: titles, labels and a split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from vitrina.classification.linear import Labels, Rows
from vitrina.metrics import Kind

Part: TypeAlias = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Task:
    """Titles, their labels and a split: everything that a model may know of a task.

    Attributes
    ----------
    name : str
    kind : "binary", "multiclass" or "regression"
    titles : n strings
    labels : (n,) bool, int64 (index into `classes`) or float64, by kind
    train, validation, test : row numbers, int64
        No title may have rows in two of them: see `split_titles`.
    split : str
        What stays together: "title", or the name of a group column.
    classes : names of the classes of a multi-class task
    products : n product ids or None; None where the table has none
    categories : n categories or None, known when a title is scored; None where the table has none
    sessions : name of the sessions of the task's own shop, "" if there are none
    note : what a reader of the results must know
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
        """SHA-256 of all that results can depend on, in hexadecimal."""
        content = hashlib.sha256(f"{self.kind}\0{self.split}\0{self.sessions}".encode())
        for column in (self.titles, self.classes, self.products or (), self.categories or ()):
            content.update("\0".join(f"{value}" for value in column).encode() + b"\1")
        for array in (self.labels, self.train, self.validation, self.test):
            content.update(array.tobytes() + b"\1")
        return content.hexdigest()

    def rows(self, part: Part) -> Rows:
        """Row numbers of a part of the split."""
        rows: Rows = getattr(self, part)
        return rows

    def titles_of(self, rows: Rows) -> list[str]:
        """The titles of some rows, in their order."""
        return [self.titles[row] for row in rows]
