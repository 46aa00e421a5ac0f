"""Prod2Vec and Meta-Prod2Vec: products from the company they keep, then nearest neighbours.

Both are trained by `vitrina.evaluation.models.skipgram` on the full sessions of the task's shop. All their
products count: those that are not in the catalogue have an id and no metadata. A task is learnt
by its K = 5 nearest neighbours (paper A.2) among vectors of length 1.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl
import safetensors.numpy
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from threadpoolctl import threadpool_limits

from vitrina.classification.linear import Rows, Scores
from vitrina.encoder.title_encoder import unit_length
from vitrina.evaluation.model import Fitted, Model
from vitrina.evaluation.models.skipgram import PARTS, Corpus, train
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.files import atomic_path, write_json
from vitrina.progress import Progress
from vitrina.ragged import Ragged
from vitrina.text.normalize import Normalizer

NEIGHBOURS = 5
"""K of the paper's A.2."""


@dataclass(frozen=True, kw_only=True)
class Prod2Vec(Model):
    """Skip-gram over product ids alone (Grbovic et al., 2015), and nearest neighbours.

    The vector of a row is that of its product id. A row whose id is in no session has none: its
    score is the prior, the subsample's mean label or frequencies of the classes, and as a
    training row it is nobody's neighbour.

    Scores are those of the neighbours: the fraction that is positive, the fraction of each class
    (a column for each of the task's classes), or the mean.

    Attributes
    ----------
    shops : name -> sessions; `Task.sessions` is such a name
    pairs : of a product and a partner, drawn in all: as many epochs as that takes, 1 at least
        Not a number of epochs: where products are bought once or twice, vectors hardly leave
        their start in word2vec's 5. So training takes about as long everywhere.
    dim, window, rate, seed : see `vitrina.evaluation.models.skipgram.train`
    """

    shops: Mapping[str, Shop] = field(hash=False)
    dim: int = 128
    pairs: int = 100_000_000
    window: int = 0
    rate: float = 0.025
    seed: int = 0

    needs: ClassVar[str] = "sessions; product ids at inference"

    def settings(self) -> dict[str, Any]:
        digests = {name: shop.digest for name, shop in self.shops.items()}
        return {**super().settings(), "shops": digests}

    def suits(self, task: Task) -> bool:
        return super().suits(task) and task.sessions in self.shops and task.products is not None

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        names = dict.fromkeys(task.sessions for task in tasks if self.suits(task))
        costs = [self._trained(name, quiet) for name in names]
        return {what: sum(cost[what] for cost in costs) for what in costs[0]} if costs else {}

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        vectors, labels = self._row_vectors(task, rows), task.labels[rows]
        known = vectors.any(axis=1)
        k = min(NEIGHBOURS, int(known.sum()))
        if task.kind == "regression":
            neighbours, prior = KNeighborsRegressor(k), np.array([labels.mean()])
        else:
            labels = labels.astype(np.int64)
            n_classes = max(len(task.classes), 2)
            neighbours = KNeighborsClassifier(k)
            prior = np.bincount(labels, minlength=n_classes) / len(labels)
        if k:
            neighbours.fit(vectors[known], labels[known])

        def score(rows: Rows) -> Scores:
            vectors = self._row_vectors(task, rows)
            scores = np.tile(prior, (len(rows), 1))
            near = np.flatnonzero(vectors.any(axis=1)) if k else np.empty(0, np.int64)
            if len(near):
                scores[near] = 0
                # one thread: of equally near neighbours it always takes the same
                with threadpool_limits(1):
                    if task.kind == "regression":
                        scores[near, 0] = neighbours.predict(vectors[near])
                    else:
                        found = neighbours.predict_proba(vectors[near])
                        scores[np.ix_(near, neighbours.classes_)] = found
            return scores if task.kind == "multiclass" else scores[:, -1]

        return Fitted(score, vectors[known].nbytes + labels[known].nbytes)

    def _weight(self) -> float:
        """λ."""
        return 0.0

    def _known(self, tokens: _Tokens, task: Task, rows: Rows) -> list[list[int]]:
        """The tokens, as rows of `tokens.vectors`, that are known of each of these rows."""
        assert task.products is not None
        products = (task.products[row] for row in rows)
        return [
            [tokens.products[product]] if product is not None and product in tokens.products else []
            for product in products
        ]

    def _row_vectors(self, task: Task, rows: Rows) -> npt.NDArray[np.floating[Any]]:
        """Mean vectors of what is known, at length 1; zeros where nothing is; (n, dim)."""
        tokens = _tokens(self._folder(task.sessions))
        out = np.zeros((len(rows), self.dim), np.float32)
        for place, known in enumerate(self._known(tokens, task, rows)):
            if known:
                out[place] = tokens.vectors[known].mean(axis=0)
        return unit_length(out)

    def _folder(self, name: str) -> Path:
        """Where the vectors of a shop are kept: named by all that they depend on."""
        settings = {**self.settings(), "shops": self.shops[name].digest}
        content = json.dumps(settings, sort_keys=True)
        return self.folder / hashlib.sha256(content.encode()).hexdigest()

    def _trained(self, name: str, quiet: bool) -> dict[str, float]:
        """Train on a shop unless that was done before; what it cost."""
        folder = self._folder(name)
        if not folder.exists():
            start = time.perf_counter()
            corpus, names = read_corpus(self.shops[name], with_metadata=self._weight() > 0)
            epochs = max(1, round(self.pairs / corpus.pairs))
            with Progress(f"{self.name} on {name}", epochs * PARTS, quiet=quiet) as progress:
                vectors = train(
                    corpus,
                    weight=self._weight(),
                    dim=self.dim,
                    epochs=epochs,
                    window=self.window,
                    rate=self.rate,
                    seed=self.seed,
                    report=progress.update,
                )
            with atomic_path(folder) as temporary:
                temporary.mkdir()
                safetensors.numpy.save_file({"vectors": vectors}, temporary / "vectors.safetensors")
                write_json(temporary / "names.json", names)
                cost = {
                    "pretraining_minutes": (time.perf_counter() - start) / 60,
                    "bytes": sum(file.stat().st_size for file in temporary.iterdir()),
                }
                write_json(temporary / "cost.json", cost)
        found: dict[str, float] = json.loads((folder / "cost.json").read_text("utf-8"))
        return found


@dataclass(frozen=True, kw_only=True)
class MetaProd2Vec(Prod2Vec):
    """Skip-gram over product ids and their metadata, and nearest neighbours (paper A.2).

    Metadata of a product are its category and the words of its normalised titles. The vector of
    a row is the mean of those of all that is known of it: its product id, the words of its title
    and its category, as far as sessions had them. (On validation rows of two shops this was as
    good as metadata alone, and mostly better than id and mean of the metadata half and half.) A
    row of which nothing is known gets the prior. Else as `Prod2Vec`.

    Attributes
    ----------
    weight : λ of all terms with metadata, above 0
    """

    weight: float = 1.0
    pairs: int = 30_000_000  # of five terms each: they take as long as Prod2Vec's

    needs: ClassVar[str] = "sessions and metadata; product ids and categories at inference"

    def suits(self, task: Task) -> bool:
        return Model.suits(self, task) and task.sessions in self.shops

    def _weight(self) -> float:
        return self.weight

    def _known(self, tokens: _Tokens, task: Task, rows: Rows) -> list[list[int]]:
        ids = super()._known(tokens, task, rows) if task.products is not None else [[]] * len(rows)
        titles = Normalizer(self.shops[task.sessions].language)(task.titles_of(rows))
        categories = task.categories or [None] * len(task.titles)
        return [
            known
            + [
                tokens.metadata[value]
                for value in metadata_of([title], categories[row])
                if value in tokens.metadata
            ]
            for known, title, row in zip(ids, titles, rows, strict=True)
        ]


def metadata_of(titles: Iterable[str], category: str | None) -> list[str]:
    """Names of the metadata values of a product with these normalised titles, each once."""
    values = dict.fromkeys(word for title in titles for word in title.split())
    if category is not None:
        values[f"category: {category}"] = None  # a word has no space: no name has two meanings
    return list(values)


def read_corpus(shop: Shop, with_metadata: bool) -> tuple[Corpus, dict[str, list[str]]]:
    """Full sessions, and the names of "products" and "metadata" values by their numbers.

    Without metadata the catalogue isn't read.
    """
    sessions = shop.sessions(None, max_products=2**31 - 1)
    # products that were only visited alone are in no session
    used, numbers = np.unique(sessions.products.values, return_inverse=True)
    visited = Ragged(numbers.astype(np.int32), sessions.products.offsets)
    products = sessions.product_ids.gather(used).cast(pl.String).to_list()
    known = _described(shop) if with_metadata else {}
    number: dict[str, int] = {}
    metadata = [
        [number.setdefault(value, len(number)) for value in known.get(product, ())]
        for product in products
    ]
    corpus = Corpus(visited, Ragged.from_lists(metadata))
    return corpus, {"products": products, "metadata": list(number)}


def _described(shop: Shop) -> dict[str, list[str]]:
    """Product id -> metadata values, of the products of the catalogue."""
    catalogue = shop.catalogue()
    titles = Normalizer(shop.language)(catalogue.titles)
    categories = [*catalogue.categories, None]  # row -1: none is known
    products = zip(
        catalogue.product_ids.cast(pl.String),
        catalogue.product_titles,
        catalogue.product_category,
        strict=True,
    )
    return {
        product: metadata_of([titles[row] for row in views], categories[category])
        for product, views, category in products
    }


@dataclass(frozen=True, eq=False)
class _Tokens:
    """Vectors of tokens, (n, dim) float32, and their rows there, by name."""

    products: Mapping[str, int]
    metadata: Mapping[str, int]
    vectors: npt.NDArray[np.float32]


@lru_cache(maxsize=2)
def _tokens(folder: Path) -> _Tokens:
    names = json.loads((folder / "names.json").read_text("utf-8"))
    products, metadata = names["products"], names["metadata"]
    return _Tokens(
        {name: row for row, name in enumerate(products)},
        {name: row for row, name in enumerate(metadata, start=len(products))},
        safetensors.numpy.load_file(folder / "vectors.safetensors")["vectors"],
    )
