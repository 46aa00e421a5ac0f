"""A shop's events and products, for models that pre-train on them."""

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
from vitrina.evaluation.protocol import unit_hash
from vitrina.files import file_digest
from vitrina.text.normalize import Normalizer

HELD_OUT_USERS = 20
"""Of so many users of a shop, pre-training doesn't meet one."""


@dataclass(frozen=True)
class Shop:
    """Sessions of a shop that models may be pre-trained on: where they lie and how to read them.

    Attributes
    ----------
    name : str
    events, products : files
    gap : the longest pause within a session
    language : of the titles, None if unknown
    held_out : normal forms of titles
        The validation and test titles of the tasks, which pre-training must not see: `catalogue`
        lacks their products.

    Nor does it meet one user in `HELD_OUT_USERS`, at random: what they visit judges retrieval.
    """

    name: str
    events: tuple[Path, ...]
    products: tuple[Path, ...]
    gap: str = "30m"
    language: str | None = None
    event_columns: EventColumns = field(default_factory=EventColumns)
    catalogue_columns: CatalogueColumns = field(default_factory=CatalogueColumns)
    held_out: frozenset[str] = field(default=frozenset(), repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files, how they are read and what is held out of them, in hexadecimal."""
        columns = asdict(self.event_columns), asdict(self.catalogue_columns)
        files = [file_digest(file) for file in (*self.events, *self.products)]
        content = repr((files, len(self.events), self.gap, self.language, columns))
        content += f"1 user in {HELD_OUT_USERS} held out"
        content += "\n".join(self._banned(self.full_catalogue()))
        return hashlib.sha256(content.encode()).hexdigest()

    def catalogue(self) -> Catalogue:
        """The products, without those whose titles are held out."""
        catalogue = self.full_catalogue()
        banned = self._banned(catalogue)
        return catalogue.without_titles(banned) if banned else catalogue

    def full_catalogue(self) -> Catalogue:
        """All products, whether or not their titles are held out."""
        return read_catalogue(list(self.products), self.catalogue_columns)

    def _banned(self, catalogue: Catalogue) -> list[str]:
        """The catalogue's titles that are held out, as they are written there."""
        keys = Normalizer(self.language)(catalogue.titles)
        titles = zip(catalogue.titles, keys, strict=True)
        return [title for title, key in titles if key in self.held_out]

    def sessions(
        self, catalogue: Catalogue | None, max_products: int = 10, *, held_out: bool = False
    ) -> Sessions:
        """Sessions of the catalogue's products; of all products, whatever they are, for None.

        Of the users that pre-training may meet, or of the others.
        """
        files, user = list(self.events), pl.col(self.event_columns.user)
        events = scan(files, "events")
        with readable(files):
            users = events.select(user.unique()).collect().to_series().drop_nulls()
        order = np.argsort([unit_hash("users", str(name)) for name in users], kind="stable")
        others = user.is_in(users.gather(order[: len(users) // HELD_OUT_USERS]).implode())
        with error_prefix(f"[sessions.{self.name}]"):
            return sessionize(
                events.filter(others if held_out else ~others),
                self.gap,
                max_products,
                columns=self.event_columns,
                product_ids=None if catalogue is None else catalogue.product_ids,
            )
