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
from vitrina.encoder.weights import ENCODER
from vitrina.errors import InputError
from vitrina.files import atomic_path
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.stored import (
    check_pair_ends,
    check_range,
    check_rows,
    damaged,
    load_array,
    load_json,
    map_file,
)
from vitrina.ragged import Ragged, offsets_of
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import MIN_PIECES, TitleTokenizer
from vitrina.text.word_vectors import MAX_DIM, MAX_FEATURES, MAX_SCALE, WordVectors

_TOKENIZER_TITLES = 1_000_000  # a random sample of this size trains the tokenizer
_WORD_VECTOR_TITLES = 60_000  # more titles took longer and gave no better vectors

# arrays of the saved data, by the names of their files
_DTYPES = {
    "sessions": np.int32,
    "session_offsets": np.int64,
    "views": np.int32,
    "view_offsets": np.int64,
    "titles": np.int32,
    "title_offsets": np.int64,
    "pair_ends": np.int64,
    "category": np.int32,
    "word_hashes": np.uint32,
    "word_rows": np.int8,
    "word_scale": np.float32,
}


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
        With word vectors, unless `lexical_dim` of the settings is 0.
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

        The word vectors are fitted to all titles of the catalogue.

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
        if settings.lexical_dim > 0:
            tokenizer = tokenizer.with_word_vectors(
                _sample(catalogue, settings), settings.lexical_dim, settings.seed
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
            about = {
                "categories": self.categories,
                "normalization": normalization,
                "lexical_dim": self.tokenizer.lexical_dim,
            }
            (temporary / "data.json").write_text(json.dumps(about), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> TrainingData:
        """Memory-map the data in a folder, so that a run's memory doesn't grow with its data.

        Raises
        ------
        InputError
            If a file is missing, not a regular one, too large, or does not hold what `save`
            writes: arrays of the right types, with rows and numbers that fit together.
        """
        if folder.is_symlink():
            raise damaged(folder, "it is a link")
        arrays = {}
        for name, dtype in _DTYPES.items():
            arrays[name] = load_array(folder / f"{name}.npy", dtype)
        categories, normalizer, lexical_dim = _load_about(folder / "data.json")
        words = _word_vectors(folder, arrays, lexical_dim)
        model = folder / "tokenizer.model"
        content = bytes(map_file(model, ENCODER.files["tokenizer.model"]))
        try:
            tokenizer = TitleTokenizer(content, normalizer, words)
        except InputError as error:
            raise damaged(model, str(error)) from None
        data = cls(
            sessions=Ragged(arrays["sessions"], arrays["session_offsets"]),
            pair_ends=arrays["pair_ends"],
            views=Ragged(arrays["views"], arrays["view_offsets"]),
            titles=Ragged(arrays["titles"], arrays["title_offsets"]),
            category=arrays["category"],
            categories=categories,
            tokenizer=tokenizer,
        )
        data._check(folder)
        return data

    def _check(self, folder: Path) -> None:
        """Check that the arrays fit together; errors name the files of `folder`."""
        check_rows(folder / "session_offsets.npy", self.sessions, shortest=1)
        check_pair_ends(folder / "pair_ends.npy", self.pair_ends, self.sessions)
        check_rows(folder / "view_offsets.npy", self.views, shortest=1)
        check_rows(folder / "title_offsets.npy", self.titles, shortest=MIN_PIECES)

        if len(self.category) != len(self.views):
            raise damaged(folder / "category.npy", "it does not fit the products")
        check_range(folder / "category.npy", self.category, -1, len(self.categories))
        check_range(folder / "sessions.npy", self.sessions.values, 0, len(self.views))
        check_range(folder / "views.npy", self.views.values, 0, len(self.titles))
        check_range(folder / "titles.npy", self.titles.values, 0, len(self.tokenizer))

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of the data by the names of their files."""
        words = self.tokenizer.word_vectors or WordVectors.none()
        return {
            "sessions": self.sessions.values,
            "session_offsets": self.sessions.offsets,
            "views": self.views.values,
            "view_offsets": self.views.offsets,
            "titles": self.titles.values,
            "title_offsets": self.titles.offsets,
            "pair_ends": self.pair_ends,
            "category": self.category,
            "word_hashes": words.hashes,
            "word_rows": words.rows.ravel(),
            "word_scale": words.scale,
        }


def title_texts(catalogue: Catalogue, sessions: Sessions, settings: Settings) -> list[str]:
    """Return the titles as they stand in the catalogue, in the order of `TrainingData.titles`."""
    visited = sessions.products
    if settings.own_category:
        visited = _add_unvisited(visited, catalogue.product_category)
    views = catalogue.product_titles.take(np.unique(visited.values))
    texts: list[str] = catalogue.titles.gather(np.unique(views.values)).to_list()
    return texts


def _sample(catalogue: Catalogue, settings: Settings) -> list[str | None]:
    """The titles that the word vectors are fitted to: all, or a random sample of many."""
    titles = catalogue.titles
    if len(titles) > _WORD_VECTOR_TITLES:
        rng = np.random.default_rng([settings.seed, 5])
        titles = titles.gather(rng.choice(len(titles), _WORD_VECTOR_TITLES, replace=False))
    sample: list[str | None] = titles.to_list()
    return sample


def _word_vectors(
    folder: Path, arrays: dict[str, npt.NDArray[Any]], dim: int
) -> WordVectors | None:
    """Return the word vectors of loaded arrays, after checking them; None without dimensions."""
    hashes, rows, scale = (arrays[f"word_{name}"] for name in ("hashes", "rows", "scale"))
    if len(hashes) > MAX_FEATURES or (hashes[1:] <= hashes[:-1]).any():
        raise damaged(folder / "word_hashes.npy", "its numbers are not in increasing order")
    if len(rows) != len(hashes) * dim:
        raise damaged(folder / "word_rows.npy", "it does not fit the hashes")
    if len(scale) != len(hashes) or not ((scale >= 0) & (scale <= MAX_SCALE)).all():
        raise damaged(folder / "word_scale.npy", f"it has not {len(hashes):,} numbers from 0")
    return WordVectors(hashes, rows.reshape(len(hashes), dim), scale) if dim else None


def _load_about(path: Path) -> tuple[list[str], Normalizer, int]:
    """Read the categories' names, the normaliser and the lexical part's size from data.json."""
    about = load_json(path)
    categories: Any = about.get("categories")
    if not _are_strings(categories):
        raise damaged(path, "no list of categories")
    lexical_dim = about.get("lexical_dim")
    if type(lexical_dim) is not int or not 0 <= lexical_dim <= MAX_DIM:
        raise damaged(path, "no dimensions of the word vectors")
    settings = about.get("normalization")
    if not isinstance(settings, dict) or settings.keys() != {"language", "style", "stop_words"}:
        raise damaged(path, "no normalisation")
    if not _are_strings(settings["stop_words"]):
        raise damaged(path, "no list of stop words")
    if not _are_strings([settings["language"] or "", settings["style"]]):
        raise damaged(path, "no normalisation")
    try:
        return categories, Normalizer(**settings), lexical_dim
    except InputError as error:
        raise damaged(path, str(error)) from None


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _add_unvisited(sessions: Ragged, category: npt.NDArray[np.int32]) -> Ragged:
    """Add a session of one for each product that has a category and is in no session."""
    unvisited = category >= 0
    unvisited[sessions.values] = False
    products = np.flatnonzero(unvisited).astype(np.int32)
    ends = np.arange(1, len(products) + 1) + sessions.offsets[-1]
    return Ragged(
        np.concatenate([sessions.values, products]), np.concatenate([sessions.offsets, ends])
    )
