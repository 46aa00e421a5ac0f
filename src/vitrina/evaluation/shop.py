"""The events and products of a shop, for models that are pre-trained on them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from vitrina.data.catalogue import Catalogue, CatalogueColumns, read_catalogue
from vitrina.data.sessions import EventColumns, Sessions, sessionize
from vitrina.data.tables import readable, scan
from vitrina.errors import error_prefix
from vitrina.files import file_digest
from vitrina.hashing import unit_hash
from vitrina.text.normalize import Normalizer

HELD_OUT_USERS = 20
"""One user in this many is held out of pre-training."""


@dataclass(frozen=True)
class Shop:
    """The sessions of a shop on which models may be pre-trained: the files and how to read them.

    Pre-training sees neither the titles in `held_out` nor a random selection of one user in
    `HELD_OUT_USERS`. The visits of those users are the test sessions for retrieval.

    Attributes
    ----------
    name : str
    events, products : tuple of Path
        Files.
    gap : str
        The longest pause within a session.
    language : str or None
        Language of the titles; None if it is unknown.
    event_columns : EventColumns
        Names of the columns of `events`.
    catalogue_columns : CatalogueColumns
        Names of the columns of `products`.
    held_out : frozenset of str
        Normalised validation and test titles of the tasks. `catalogue` leaves out their products.
    time_unit : str, optional
        What numbers in the time column count since 1970, see `sessionize`.
    teacher : str, optional
        The teacher of encoders, see `vitrina.pretraining.settings.Settings`.
    """

    name: str
    events: tuple[Path, ...]
    products: tuple[Path, ...]
    gap: str = "30m"
    language: str | None = None
    event_columns: EventColumns = field(default_factory=EventColumns)
    catalogue_columns: CatalogueColumns = field(default_factory=CatalogueColumns)
    held_out: frozenset[str] = field(default=frozenset(), repr=False)
    time_unit: str | None = None
    teacher: str | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files, how they are read and what is held out, in hexadecimal."""
        columns = asdict(self.event_columns), asdict(self.catalogue_columns)
        # by content: a copy of the files elsewhere has the same digest
        files = [file_digest(file) for file in (*self.events, *self.products)]
        content = repr((files, len(self.events), self.gap, self.language, columns))
        if self.time_unit is not None:
            content += f"times in {self.time_unit}"
        content += f"1 user in {HELD_OUT_USERS} held out"
        # only titles of the catalogue: other held-out titles change nothing
        content += "\n".join(self._held_out_titles(self.full_catalogue()))
        return hashlib.sha256(content.encode()).hexdigest()

    @cached_property
    def has_categories(self) -> bool:
        """Whether any product has a category."""
        return bool((self.full_catalogue().product_category >= 0).any())

    def catalogue(self) -> Catalogue:
        """Read the products, without those that have a held-out title."""
        catalogue = self.full_catalogue()
        titles = self._held_out_titles(catalogue)
        return catalogue.without_titles(titles) if titles else catalogue

    def full_catalogue(self) -> Catalogue:
        """Read all products, also those that have a held-out title."""
        return read_catalogue(list(self.products), self.catalogue_columns)

    def _held_out_titles(self, catalogue: Catalogue) -> list[str]:
        """Return the held-out titles as they are written in the catalogue."""
        # held-out titles are normalised, and so match however a title is written
        keys = Normalizer(self.language)(catalogue.titles)
        titles = zip(catalogue.titles, keys, strict=True)
        return [title for title, key in titles if key in self.held_out]

    def sessions(
        self, catalogue: Catalogue | None, max_products: int = 10, *, held_out: bool = False
    ) -> Sessions:
        """Read the sessions of the users for pre-training, or of the held-out users.

        Parameters
        ----------
        catalogue : Catalogue or None
            Visits of other products are left out; None keeps the visits of all products.
        max_products : int, default 10
            Number of products that are kept of a session.
        held_out : bool, default False
            Return the sessions of the held-out users instead.

        Returns
        -------
        Sessions
        """
        files = list(self.events)
        user = pl.col(self.event_columns.user)
        events = scan(files, "events")
        with readable(files):
            users = events.select(user.unique()).collect().to_series().drop_nulls()
        # sorted by hash: the held-out users don't depend on the order of the events
        order = np.argsort([unit_hash("users", str(name)) for name in users], kind="stable")
        held_out_users = users.gather(order[: len(users) // HELD_OUT_USERS])
        is_held_out = user.is_in(held_out_users.implode())
        with error_prefix(f"[sessions.{self.name}]"):
            return sessionize(
                events.filter(is_held_out if held_out else ~is_held_out),
                self.gap,
                max_products,
                columns=self.event_columns,
                product_ids=None if catalogue is None else catalogue.product_ids,
                time_unit=self.time_unit,
            )
