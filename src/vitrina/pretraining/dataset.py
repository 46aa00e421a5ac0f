"""Sessions and titles as the training loop reads them: integers only, on disk or in memory."""

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

_TOKENIZER_TITLES = 1_000_000  # of more titles than this a sample trains the tokenizer


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a run learns from. Products are those of the sessions alone, renumbered; where products
    predict their own category, one that is in no session is a session of its own.

    Attributes
    ----------
    sessions : Ragged of sessions, rows of products
    pair_ends : (sessions + 1,) int64, unordered pairs of all sessions before each
    views : Ragged of products, rows of titles: every title a product is listed under
    titles : Ragged of titles, pieces
    category : (products,) int32, -1 where missing
    categories : names of the categories
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

        Raises
        ------
        InputError
            if no title has a word, or if alpha < 1 and no product has a category
        """
        rows = sessions.products
        if settings.own_category:
            rows = _with_lone(rows, catalogue.product_category)
        products, visits = np.unique(rows.values, return_inverse=True)
        category = catalogue.product_category[products]
        if settings.alpha < 1 and (category < 0).all():
            raise InputError(
                f"categories: no product of the sessions has one, which alpha {settings.alpha:g} "
                "needs; name the catalogue's column with --category-column, or train with --alpha 1"
            )
        views = catalogue.product_titles.take(products)
        title_rows, renumbered = np.unique(views.values, return_inverse=True)
        titles = catalogue.titles.gather(title_rows).to_list()
        views = Ragged(renumbered.astype(np.int32), views.offsets)

        corpus = views.take(visits).values  # every title, as often as its product was visited
        if len(corpus) > _TOKENIZER_TITLES:
            rng = np.random.default_rng(settings.seed)
            corpus = rng.choice(corpus, _TOKENIZER_TITLES, replace=False)
        normalizer = Normalizer(settings.language, settings.normalization)
        tokenizer = TitleTokenizer.train(
            (titles[row] for row in corpus), normalizer, settings.vocab_size
        )
        rows = Ragged(visits.astype(np.int32), rows.offsets)
        return cls(
            rows,
            offsets_of(rows.pairs),
            views,
            tokenizer(titles),
            category.astype(np.int32),
            catalogue.categories.to_list(),
            tokenizer,
        )

    @property
    def pairs(self) -> int:
        """Unordered pairs of all sessions."""
        return int(self.pair_ends[-1])

    def digest(self) -> str:
        """SHA-256 over everything a run reads: the same digest, the same data."""
        digest = hashlib.sha256(self.tokenizer.model)
        digest.update(json.dumps(self.categories).encode())
        for array in self._arrays().values():
            digest.update(str(array.dtype).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the folder that `load` reads, atomically."""
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
        """Memory-map a saved folder, so that a run's memory doesn't grow with its data."""
        about: dict[str, Any] = json.loads((folder / "data.json").read_text("utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        normalizer = Normalizer(**about["normalization"])
        return cls(
            Ragged(arrays["sessions"], arrays["session_offsets"]),
            arrays["pair_ends"],
            Ragged(arrays["views"], arrays["view_offsets"]),
            Ragged(arrays["titles"], arrays["title_offsets"]),
            arrays["category"],
            about["categories"],
            TitleTokenizer((folder / "tokenizer.model").read_bytes(), normalizer),
        )

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        ragged = (self.sessions, self.views, self.titles)
        parts = [array for rows in ragged for array in (rows.values, rows.offsets)]
        return dict(zip(_ARRAYS, [*parts, self.pair_ends, self.category], strict=True))


def _with_lone(sessions: Ragged, category: npt.NDArray[np.int32]) -> Ragged:
    """The sessions, and one for each product that has a category and is in none."""
    alone = category >= 0
    alone[sessions.values] = False
    lone = np.flatnonzero(alone).astype(np.int32)
    offsets = np.arange(1, len(lone) + 1) + sessions.offsets[-1]
    return Ragged(
        np.concatenate([sessions.values, lone]), np.concatenate([sessions.offsets, offsets])
    )


_ARRAYS = (
    *("sessions", "session_offsets", "views", "view_offsets", "titles", "title_offsets"),
    *("pair_ends", "category"),
)
