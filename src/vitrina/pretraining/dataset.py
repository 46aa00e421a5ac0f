"""Sessions and titles as integers, on disk or in memory, as the training loop reads them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.data.catalogue import Catalogue
from vitrina.data.sessions import Sessions
from vitrina.errors import InputError
from vitrina.files import atomic_path
from vitrina.pretraining.settings import Settings
from vitrina.ragged import Ragged, offsets_of
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

_TOKENIZER_TITLES = 1_000_000  # a random sample of this size trains the tokenizer


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The data of a training run.

    Products are those of the sessions, renumbered. If products predict their own category, a
    product that has a category and is in no session is added as a session of its own.

    Attributes
    ----------
    sessions : Ragged, int32
        Products of each session.
    pair_ends : ndarray of shape (sessions + 1,), int64
        Number of unordered pairs in all sessions before each, and in all.
    views : Ragged, int32
        Titles of each product, as rows of `titles`: every title that it is listed under.
    titles : Ragged, int32
        Pieces of each title.
    category : ndarray of shape (products,), int32
        Category of each product, as its position in `categories`; -1 if it has none.
    categories : list of str
        Names of the categories.
    tokenizer : TitleTokenizer
    """

    sessions: Ragged
    pair_ends: npt.NDArray[np.int64]
    views: Ragged
    titles: Ragged
    category: npt.NDArray[np.int32]
    categories: list[str]
    tokenizer: TitleTokenizer

    @classmethod
    def prepare(cls, catalogue: Catalogue, sessions: Sessions, settings: Settings) -> TrainingData:
        """Train the tokenizer on the sessions' titles and translate everything to integers.

        Parameters
        ----------
        catalogue : Catalogue
        sessions : Sessions
        settings : Settings

        Returns
        -------
        TrainingData

        Raises
        ------
        InputError
            If no title has a word, or if `settings.alpha` < 1 and no product has a category.
        """
        # Renumber the products that train.
        session_products = sessions.products
        if settings.own_category:
            session_products = _add_unvisited(session_products, catalogue.product_category)
        products, visits = np.unique(session_products.values, return_inverse=True)
        category = catalogue.product_category[products]
        if settings.alpha < 1 and (category < 0).all():
            raise InputError(
                "categories: no product of the sessions has one, but the category loss needs them "
                f"when `alpha` is {settings.alpha:g}; name the catalogue's column of categories in "
                "`category_column`, or set `alpha` to 1"
            )

        # Renumber their titles.
        product_titles = catalogue.product_titles.take(products)
        title_rows, renumbered = np.unique(product_titles.values, return_inverse=True)
        titles = catalogue.titles.gather(title_rows).to_list()
        views = Ragged(renumbered.astype(np.int32), product_titles.offsets)

        # Train the tokenizer on every title, repeated as often as its product was visited.
        corpus = views.take(visits).values
        if len(corpus) > _TOKENIZER_TITLES:
            rng = np.random.default_rng(settings.seed)
            corpus = rng.choice(corpus, _TOKENIZER_TITLES, replace=False)
        normalizer = Normalizer(settings.language, settings.normalization)
        tokenizer = TitleTokenizer.train(
            (titles[row] for row in corpus), normalizer, settings.vocab_size
        )

        return cls(
            sessions=Ragged(visits.astype(np.int32), session_products.offsets),
            pair_ends=offsets_of(session_products.pairs),
            views=views,
            titles=tokenizer(titles),
            category=category.astype(np.int32),
            categories=catalogue.categories.to_list(),
            tokenizer=tokenizer,
        )

    @property
    def pairs(self) -> int:
        """Number of unordered pairs in all sessions."""
        return int(self.pair_ends[-1])

    def digest(self) -> str:
        """Return the SHA-256 of all data, tokenizer included, in hexadecimal."""
        digest = hashlib.sha256(self.tokenizer.model)
        digest.update(json.dumps(self.categories).encode())
        for array in self._arrays().values():
            digest.update(str(array.dtype).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the data to a folder, atomically."""
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            for name, array in self._arrays().items():
                np.save(temporary / f"{name}.npy", array)
            (temporary / "tokenizer.model").write_bytes(self.tokenizer.model)
            normalization = self.tokenizer.normalizer.settings()
            about = {"categories": self.categories, "normalization": normalization}
            (temporary / "data.json").write_text(json.dumps(about), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> TrainingData:
        """Memory-map the data in a folder, so that a run's memory doesn't grow with its data."""
        about: dict[str, Any] = json.loads((folder / "data.json").read_text("utf-8"))
        normalizer = Normalizer(**about["normalization"])

        def mapped(name: str) -> npt.NDArray[Any]:
            array: npt.NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r")
            return array

        return cls(
            sessions=Ragged(mapped("sessions"), mapped("session_offsets")),
            pair_ends=mapped("pair_ends"),
            views=Ragged(mapped("views"), mapped("view_offsets")),
            titles=Ragged(mapped("titles"), mapped("title_offsets")),
            category=mapped("category"),
            categories=about["categories"],
            tokenizer=TitleTokenizer((folder / "tokenizer.model").read_bytes(), normalizer),
        )

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of the data by the names of their files."""
        return {
            "sessions": self.sessions.values,
            "session_offsets": self.sessions.offsets,
            "views": self.views.values,
            "view_offsets": self.views.offsets,
            "titles": self.titles.values,
            "title_offsets": self.titles.offsets,
            "pair_ends": self.pair_ends,
            "category": self.category,
        }


def _add_unvisited(sessions: Ragged, category: npt.NDArray[np.int32]) -> Ragged:
    """Add a session of one for each product that has a category and is in no session."""
    unvisited = category >= 0
    unvisited[sessions.values] = False
    products = np.flatnonzero(unvisited).astype(np.int32)
    ends = np.arange(1, len(products) + 1) + sessions.offsets[-1]
    return Ragged(
        np.concatenate([sessions.values, products]), np.concatenate([sessions.offsets, ends])
    )
