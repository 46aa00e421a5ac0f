"""Prod2Vec and Meta-Prod2Vec: product vectors from sessions, then nearest neighbours (paper A.2).

`vitrina.evaluation.models.skipgram` trains the vectors on the full sessions of the task's shop.
Products that are not in the catalogue are included; they have an id and no metadata. The classifier
is K nearest neighbours with K = 5 on vectors of unit length.
"""

from __future__ import annotations

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
from vitrina.hashing import content_key
from vitrina.progress import Progress
from vitrina.ragged import Ragged
from vitrina.text.normalize import Normalizer

NEIGHBOURS = 5
"""Number of neighbours, K in the paper's A.2."""


@dataclass(frozen=True, kw_only=True)
class Prod2Vec(Model):
    """Skip-gram over product ids (Grbovic et al., 2015), and nearest neighbours.

    The vector of a row is the vector of its product id. The score is the fraction of positive
    neighbours (binary), the fraction of each class (multi-class; one column for each of the task's
    classes) or the mean of the neighbours' labels (regression).

    A row whose id is in no session has no vector. Its score is the prior: the mean label of the
    subsample, or the frequencies of the classes. A training row without a vector is left out.

    Attributes
    ----------
    shops : mapping of str to Shop
        The shops to train on, by name; `Task.sessions` is such a name.
    dim : int, default 128
        Length of a vector.
    pairs : int, default 100,000,000
        Number of pairs of a product and a partner to train on. The number of epochs follows from
        it and is 1 at least. Training then takes about as long for every shop; with word2vec's 5
        epochs, vectors hardly change from their initial values where products are bought only once
        or twice.
    window, rate, seed
        See `vitrina.evaluation.models.skipgram.train`.
    """

    shops: Mapping[str, Shop] = field(hash=False)
    dim: int = 128
    pairs: int = 100_000_000
    window: int = 0
    rate: float = 0.025
    seed: int = 0

    needs: ClassVar[str] = "sessions; product ids at inference"
    vectors_alone: ClassVar[bool] = True

    def settings(self) -> dict[str, Any]:
        digests = {name: shop.digest for name, shop in self.shops.items()}
        return {**super().settings(), "shops": digests}

    def suits(self, task: Task) -> bool:
        return super().suits(task) and task.sessions in self.shops and task.products is not None

    def prepare(self, tasks: Sequence[Task], *, quiet: bool = False) -> dict[str, float]:
        """Train on the shops of the tasks, unless that was done before; return the total costs."""
        names = dict.fromkeys(task.sessions for task in tasks if self.suits(task))
        total: dict[str, float] = {}
        for name in names:
            if not self._folder(name).exists():
                self._train(name, quiet)
            cost = json.loads((self._folder(name) / "cost.json").read_text("utf-8"))
            for what, amount in cost.items():
                total[what] = total.get(what, 0) + amount
        return total

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        vectors = self._row_vectors(task, rows)
        labels = task.labels[rows]
        has_vector = vectors.any(axis=1)
        k = min(NEIGHBOURS, int(has_vector.sum()))
        if task.kind == "regression":
            neighbours = KNeighborsRegressor(k)
            prior = np.array([labels.mean()])
        else:
            labels = labels.astype(np.int64)
            n_classes = max(len(task.classes), 2)
            neighbours = KNeighborsClassifier(k)
            prior = np.bincount(labels, minlength=n_classes) / len(labels)
        # without any vector, the prior is all that there is
        if k:
            neighbours.fit(vectors[has_vector], labels[has_vector])

        def predict_scores(rows: Rows) -> Scores:
            vectors = self._row_vectors(task, rows)
            scores = np.tile(prior, (len(rows), 1))
            scorable = np.flatnonzero(vectors.any(axis=1))
            if k and len(scorable):
                scores[scorable] = 0
                # on one thread, ties between equally near neighbours are always broken alike
                with threadpool_limits(1):
                    if task.kind == "regression":
                        scores[scorable, 0] = neighbours.predict(vectors[scorable])
                    else:
                        fractions = neighbours.predict_proba(vectors[scorable])
                        # classes without a neighbour keep the score 0
                        scores[np.ix_(scorable, neighbours.classes_)] = fractions
            return scores if task.kind == "multiclass" else scores[:, -1]

        size = vectors[has_vector].nbytes + labels[has_vector].nbytes
        return Fitted(predict_scores, size)

    def _weight(self) -> float:
        """λ, the weight of all terms with metadata."""
        return 0.0

    def _known(self, tokens: _Tokens, task: Task, rows: Rows) -> list[list[int]]:
        """For each row, the known tokens that describe it, as row numbers of `tokens.vectors`."""
        assert task.products is not None
        known: list[list[int]] = []
        for row in rows:
            product = task.products[row]
            if product is not None and product in tokens.products:
                known.append([tokens.products[product]])
            else:
                known.append([])
        return known

    def _row_vectors(self, task: Task, rows: Rows) -> npt.NDArray[np.floating[Any]]:
        """Mean of the vectors of each row's known tokens, scaled to unit length.

        Returns
        -------
        ndarray of shape (n, dim), float32
            Zeros for a row without known tokens.
        """
        tokens = _tokens(self._folder(task.sessions))
        out = np.zeros((len(rows), self.dim), np.float32)
        for i, known in enumerate(self._known(tokens, task, rows)):
            if known:
                out[i] = tokens.vectors[known].mean(axis=0)
        return unit_length(out)

    def _folder(self, name: str) -> Path:
        """The folder of a shop's vectors; its name is a key of everything they depend on."""
        settings = {**self.settings(), "shops": self.shops[name].digest}
        return self.folder / content_key(settings)

    def _train(self, name: str, quiet: bool) -> None:
        """Train on a shop, and write the vectors, the names of the tokens and the costs."""
        start = time.perf_counter()
        corpus, names = read_corpus(self.shops[name], with_metadata=self._weight() > 0)
        # a fixed number of pairs: training takes as long for a small shop as for a large one
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
        with atomic_path(self._folder(name)) as temporary:
            temporary.mkdir()
            safetensors.numpy.save_file({"vectors": vectors}, temporary / "vectors.safetensors")
            write_json(temporary / "names.json", names)
            cost = {
                "pretraining_minutes": (time.perf_counter() - start) / 60,
                "bytes": sum(file.stat().st_size for file in temporary.iterdir()),
            }
            write_json(temporary / "cost.json", cost)


@dataclass(frozen=True, kw_only=True)
class MetaProd2Vec(Prod2Vec):
    """Skip-gram over product ids and their metadata, and nearest neighbours (paper A.2).

    The metadata of a product are its category and the words of its normalised titles. The vector of
    a row is the mean of the vectors of its product id, the words of its title and its category, as
    far as these occurred in training. On validation rows of two shops this mean was as good as
    metadata alone, and mostly better than the mean of the id's vector and the mean metadata vector.
    A row without any of them gets the prior as its score. All else is as in `Prod2Vec`.

    Attributes
    ----------
    weight : float, default 1
        λ, the weight of all terms with metadata, above 0.
    pairs : int, default 30,000,000
        A pair has five terms, so these pairs take as long to train on as Prod2Vec's default.
    """

    weight: float = 1.0
    pairs: int = 30_000_000

    needs: ClassVar[str] = "sessions and metadata; product ids and categories at inference"

    def suits(self, task: Task) -> bool:
        return Model.suits(self, task) and task.sessions in self.shops

    def _weight(self) -> float:
        return self.weight

    def _known(self, tokens: _Tokens, task: Task, rows: Rows) -> list[list[int]]:
        if task.products is None:
            known: list[list[int]] = [[] for _ in rows]
        else:
            known = super()._known(tokens, task, rows)
        titles = Normalizer(self.shops[task.sessions].language)(task.titles_of(rows))
        for row, title, found in zip(rows, titles, known, strict=True):
            category = task.categories[row] if task.categories else None
            for value in metadata_of([title], category):
                if value in tokens.metadata:
                    found.append(tokens.metadata[value])
        return known


def metadata_of(titles: Iterable[str], category: str | None) -> list[str]:
    """Name the metadata values of a product: the words of its titles and its category.

    Parameters
    ----------
    titles : iterable of str
        Normalised titles.
    category : str or None

    Returns
    -------
    list of str
        Distinct names.
    """
    values = dict.fromkeys(word for title in titles for word in title.split())
    if category is not None:
        # words have no spaces, so this name differs from every word
        values[f"category: {category}"] = None
    return list(values)


def read_corpus(shop: Shop, with_metadata: bool) -> tuple[Corpus, dict[str, list[str]]]:
    """Read the full sessions of a shop, and the metadata of their products.

    Parameters
    ----------
    shop : Shop
    with_metadata : bool
        If False, the catalogue isn't read, and products have no metadata.

    Returns
    -------
    corpus : Corpus
    names : dict of str to list of str
        Names of "products" and of "metadata" values, in the order of their numbers.
    """
    sessions = shop.sessions(None, max_products=2**31 - 1)
    # a product that was only ever visited alone is in no session: number the others anew
    used, numbers = np.unique(sessions.products.values, return_inverse=True)
    visited = Ragged(numbers.astype(np.int32), sessions.products.offsets)
    products = sessions.product_ids.gather(used).cast(pl.String).to_list()

    # number the metadata values in the order in which they first occur
    values_of = _catalogue_metadata(shop) if with_metadata else {}
    number_of: dict[str, int] = {}
    metadata: list[list[int]] = []
    for product in products:
        values = values_of.get(product, ())
        metadata.append([number_of.setdefault(value, len(number_of)) for value in values])

    corpus = Corpus(visited, Ragged.from_lists(metadata))
    return corpus, {"products": products, "metadata": list(number_of)}


def _catalogue_metadata(shop: Shop) -> dict[str, list[str]]:
    """The metadata values of the catalogue's products, by product id."""
    catalogue = shop.catalogue()
    titles = Normalizer(shop.language)(catalogue.titles)
    categories = [*catalogue.categories, None]  # category -1 means that it is unknown
    products = zip(
        catalogue.product_ids.cast(pl.String),
        catalogue.product_titles,
        catalogue.product_category,
        strict=True,
    )
    metadata = {}
    for product, title_rows, category in products:
        own_titles = [titles[row] for row in title_rows]
        metadata[product] = metadata_of(own_titles, categories[category])
    return metadata


@dataclass(frozen=True, eq=False)
class _Tokens:
    """Vectors of tokens, ndarray of shape (n, dim), float32, and row numbers by token name."""

    products: Mapping[str, int]
    metadata: Mapping[str, int]
    vectors: npt.NDArray[np.float32]


@lru_cache(maxsize=2)
def _tokens(folder: Path) -> _Tokens:
    names = json.loads((folder / "names.json").read_text("utf-8"))
    products = names["products"]
    arrays = safetensors.numpy.load_file(folder / "vectors.safetensors")
    return _Tokens(
        products={name: row for row, name in enumerate(products)},
        metadata={name: row for row, name in enumerate(names["metadata"], start=len(products))},
        vectors=arrays["vectors"],
    )
