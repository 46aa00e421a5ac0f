"""The state of a worker: what it has loaded, and the threads that compute with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from vitrina.compiled import default_threads
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.serving.service_options import ServiceOptions

# scikit-learn and polars are imported where there is a classifier or an index
if TYPE_CHECKING:
    import polars as pl

    from vitrina.classification.classifier import TitleClassifier
    from vitrina.labelling.page_state import PageState
    from vitrina.search.index import TitleIndex

T = TypeVar("T")

_FEW_TITLES = 16
"""A request of so many titles doesn't wait for larger ones."""

# The tokenizer's store of words is locked while it learns new ones. Small parts keep other requests
# with a new word from waiting for a whole batch.
_PART_TITLES = 1_024

_SHORT_DIGEST = 12

# The first titles take seconds if numba must compile the kernels.
_WARM_UP = ["red shoes", "phone", "apple juice 64 oz", ""]


@dataclass(frozen=True)
class ServedModels:
    """Everything that an answer depends on. A reload replaces the whole object.

    Attributes
    ----------
    encoder : TitleEncoder
    classifiers : dict of str to TitleClassifier
        They share the encoder's memory.
    index : TitleIndex or None
    keys : frozenset of bytes
        SHA-256 of the keys; empty if none is needed.
    label_page : PageState or None
        What the labelling page shows.
    """

    encoder: TitleEncoder
    classifiers: dict[str, TitleClassifier]
    index: TitleIndex | None
    keys: frozenset[bytes]
    label_page: PageState | None = None

    @classmethod
    def load(cls, options: ServiceOptions) -> ServedModels:
        """Load and check all folders, and compute a first answer with each.

        Raises
        ------
        InputError
            If a folder is missing, damaged or of another encoder, or a key is missing.
        """
        keys = options.key_digests()
        encoder = TitleEncoder.load(options.encoder)
        encoder.threads = 1  # each request has one of the worker's threads
        classifiers = {}
        for name, folder in options.classifiers.items():
            classifiers[name] = _load_classifier(folder, encoder, options.encoder)
        index = _load_index(options, encoder)
        models = cls(encoder, classifiers, index, keys, _label_page(options, encoder))
        models._warm_up()
        return models

    @property
    def digest(self) -> str:
        """SHA-256 that identifies the encoder, in hexadecimal."""
        return self.encoder.weights.digest

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return self.encoder.weights.width

    def encode(self, titles: Any) -> npt.NDArray[np.float32]:
        """Compute the vectors of n titles, bit for bit those of `TitleEncoder.transform`.

        Parameters
        ----------
        titles : list of str, or pyarrow column

        Returns
        -------
        ndarray of shape (n, width), float32
        """
        if len(titles) <= _PART_TITLES:
            return self.encoder.encode(titles)
        out = np.empty((len(titles), self.width), np.float32)
        for start in range(0, len(titles), _PART_TITLES):
            part = slice(start, start + _PART_TITLES)
            out[part] = self.encoder.encode(titles[part])
        return out

    def neighbours(
        self, titles: list[str], k: int, where: dict[str, Any] | None
    ) -> tuple[set[int], pl.DataFrame]:
        """Find the products that are most similar to each title.

        Returns
        -------
        unknown : set of int
            Row numbers of the titles without a known word, which have no results.
        found : DataFrame
            As from `TitleIndex.query`.
        """
        import polars as pl

        assert self.index is not None
        unknown = self.index.unknown_queries(titles)
        known = np.array([row for row in range(len(titles)) if row not in unknown], np.uint32)
        vectors = self.encode([titles[row] for row in known])
        found = self.index.query(vectors, k, where)
        rows = pl.Series(known)[found["query"].to_numpy()]
        return unknown, found.with_columns(rows.alias("query"))

    def _warm_up(self) -> None:
        """Compute a first answer of each kind, which takes longer than the later ones."""
        self.encode(_WARM_UP)
        for classifier in self.classifiers.values():
            classifier.predict_proba(_WARM_UP)
        if self.index is not None:
            self.neighbours(_WARM_UP, 1, None)


class Service:
    """The state of a worker.

    Attributes
    ----------
    options : ServiceOptions
    models : ServedModels
        A reload replaces it. A request keeps the ones that it came for.
    draining : bool
        Whether the worker is about to stop: its clients are told to connect again elsewhere.
    """

    def __init__(self, options: ServiceOptions, models: ServedModels) -> None:
        self.options = options
        self.models = models
        self.draining = False
        threads = options.threads or max(1, default_threads() // options.workers)
        self._few = ThreadPoolExecutor(threads, "few")
        self._many = ThreadPoolExecutor(threads, "many")

    async def compute(self, titles: int | None, work: Callable[[], T]) -> T:
        """Run work in a thread: the event loop goes on, because encoding is compiled code.

        Parameters
        ----------
        titles : int or None
            Number of titles of the request; None for a batch that is not read yet, and for a search
            of the whole catalogue.
        work : callable
        """
        is_small = titles is not None and titles <= _FEW_TITLES
        pool = self._few if is_small else self._many
        return await asyncio.get_running_loop().run_in_executor(pool, work)


def build_index(options: ServiceOptions, folder: Path) -> None:
    """Index the products of the catalogue, in a folder that the workers map into memory.

    Raises
    ------
    InputError
        If the encoder or the catalogue can't be read; see `TitleIndex.build`.
    """
    from vitrina.search.index import TitleIndex

    assert options.catalogue is not None
    index = TitleIndex.build(
        TitleEncoder.load(options.encoder),
        options.catalogue,
        product_column=options.product_column,
        title_column=options.title_column,
        quiet=options.quiet or not sys.stderr.isatty(),  # a log has one JSON object a line
    )
    index.save(folder, force=True)


def _load_classifier(folder: Path, encoder: TitleEncoder, of_service: Path) -> TitleClassifier:
    from vitrina.classification.classifier import TitleClassifier

    classifier = TitleClassifier.load(folder)
    found, wanted = classifier.encoder.weights.digest, encoder.weights.digest
    if found != wanted:
        raise InputError(
            f"{folder}: was fitted with the encoder {found[:_SHORT_DIGEST]}, not with "
            f"{wanted[:_SHORT_DIGEST]} in {of_service}; fit it again, or serve its own encoder"
        )
    classifier.encoder = encoder  # the folder's own copy would take memory of its own
    return classifier


def _load_index(options: ServiceOptions, encoder: TitleEncoder) -> TitleIndex | None:
    if options.index is None:
        return None
    from vitrina.search.index import TitleIndex

    return TitleIndex.load(options.index, encoder)


def _label_page(options: ServiceOptions, encoder: TitleEncoder) -> PageState | None:
    if options.labels is None:
        return None
    from vitrina.labelling.page_state import PageState
    from vitrina.labelling.project import LabellingProject

    assert options.catalogue is not None
    column = options.title_column
    return PageState(
        LabellingProject(encoder, options.catalogue, options.labels, title_column=column)
    )
