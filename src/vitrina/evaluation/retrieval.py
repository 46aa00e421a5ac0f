"""What vectors of titles are good for without labels: the next product, a new product's category.

No product id takes part, so a product that nobody visited yet is found like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.classification.linear import Rows
from vitrina.errors import InputError
from vitrina.evaluation.model import VectorModel
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.ragged import Ragged
from vitrina.text.normalize import Normalizer

TITLES = 10_000
"""Titles that are ranked."""
QUERIES = 2_000
DEPTHS = (10, 100)
NEIGHBOURS = 5
MOST_VISITED = "most visited"
"""The peer without vectors: `NextProduct.popularity`."""

_BLOCK = 256  # queries at once: similarities of a block are 20 MB


@dataclass(frozen=True, eq=False)
class NextProduct:
    """Given one product's title, the titles of its session among many: sessions of users whom
    pre-training never met.

    Attributes
    ----------
    titles : Task
        n titles of distinct normal forms; their categories are the labels. Training rows are
        titles that pre-training saw, test rows those that it didn't; titles without a category are
        validation rows, so that each title is in a part and gets a vector.
    queries : (q,) row numbers, int64
    relevant : Ragged, int32, q rows
        The other titles of each query's session.
    visits : (n,) int64
        In how many sessions of other users a title's products are.
    """

    titles: Task
    queries: Rows
    relevant: Ragged
    visits: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, shop: Shop, tasks: Iterable[Task], size: int = TITLES, seed: int = 0
    ) -> NextProduct | None:
        """`size` titles of the catalogue and of the tasks' test rows, drawn at random but for
        those of the queries' sessions: one query for each session, both drawn at random, until
        there are `QUERIES` or their sessions have half of the titles.

        None where the held-out users have no session of two titles.
        """
        catalogue, normalizer = shop.full_catalogue(), Normalizer(shop.language)
        try:
            sessions = shop.sessions(catalogue, held_out=True).products
            others = shop.sessions(catalogue).products
        except InputError:  # no session has two products
            return None
        known = _Titles()
        # a product goes by the first of its titles
        titles = catalogue.titles.gather(
            catalogue.product_titles.values[catalogue.product_titles.offsets[:-1]]
        )
        names = [*catalogue.categories, None]  # row -1: none is known
        product = known.add(normalizer, titles, [names[row] for row in catalogue.product_category])
        for task in tasks:
            if task.sessions == shop.name and task.categories is not None:
                categories = [task.categories[row] for row in task.test]
                known.add(normalizer, task.titles_of(task.test), categories)

        rng = np.random.default_rng(seed)
        asked: list[int] = []
        there: list[npt.NDArray[np.int64]] = []
        drawn: set[int] = set()
        for session in rng.permutation(len(sessions)):
            inside = np.unique(product[sessions[session]])
            if len(asked) == QUERIES or len(drawn.union(inside)) > size // 2:
                break
            if len(inside) > 1:
                drawn.update(inside)
                asked.append(rng.choice(inside))
                there.append(inside[inside != asked[-1]])
        if not asked:
            return None
        unseen = np.array([key in shop.held_out for key in known.row])
        described = np.array([category is not None for category in known.category])
        new = rng.permutation(np.flatnonzero(unseen & described))[:QUERIES]
        rest = [row for row in (*new, *rng.permutation(len(unseen))) if row not in drawn]
        chosen = np.sort([*drawn, *list(dict.fromkeys(rest))[: size - len(drawn)]])

        categories = [known.category[row] for row in chosen]
        classes = sorted({category for category in categories if category is not None})
        code = {category: number for number, category in enumerate(classes)}
        task = Task(
            f"next product among {len(chosen):,} titles ({shop.name})",
            "multiclass",
            [known.title[row] for row in chosen],
            np.array([code.get(category, -1) for category in categories]),
            np.flatnonzero(described[chosen] & ~unseen[chosen]),
            np.flatnonzero(~described[chosen]),
            np.flatnonzero(described[chosen] & unseen[chosen]),
            classes=classes,
            sessions=shop.name,
        )
        visits = np.bincount(product[others.values], minlength=len(unseen))[chosen]
        relevant = Ragged.from_lists([np.searchsorted(chosen, rows).tolist() for rows in there])
        return cls(task, np.searchsorted(chosen, asked), relevant, visits)

    def judge(self, model: VectorModel) -> dict[str, npt.NDArray[np.float64]]:
        """How well the cosines of a prepared model's vectors find sessions and categories.

        Returns
        -------
        metric -> values, one a query. recall@k: the fraction of the query's session among the k
        nearest titles; where titles are equally near, what is expected of a random order.
        category: whether the category of a title that pre-training didn't see is that of the
        `NEIGHBOURS` nearest that it saw, each having its cosine as its vote.
        """
        vectors = model.vectors(self.titles)
        found = self._recalls(lambda rows: _dense(vectors[rows] @ vectors.T))
        seen, unseen = self.titles.train, self.titles.test
        if len(seen) and len(unseen):
            hits = []
            for start in range(0, len(unseen), _BLOCK):
                rows = unseen[start : start + _BLOCK]
                near = _dense(vectors[rows] @ vectors[seen].T)
                guesses = [_vote(row, self.titles.labels[seen]) for row in near]
                hits.append(guesses == self.titles.labels[rows])
            found["category"] = np.concatenate(hits).astype(np.float64)
        return found

    def popularity(self) -> dict[str, npt.NDArray[np.float64]]:
        """The recall of ranking titles by their visits, whatever the query."""
        return self._recalls(lambda rows: np.tile(self.visits, (len(rows), 1)))

    def _recalls(
        self, similar: Callable[[Rows], npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[np.float64]]:
        """From rows of titles -> their similarity to all titles."""
        recalls = np.zeros((len(DEPTHS), len(self.queries)))
        for start in range(0, len(self.queries), _BLOCK):
            rows = self.queries[start : start + _BLOCK]
            for query, (row, near) in enumerate(zip(rows, similar(rows), strict=True), start):
                wanted = near[self.relevant[query]][:, None]
                others = np.delete(near, row)
                nearer, equal = (others > wanted).sum(axis=1), (others == wanted).sum(axis=1)
                for depth, k in enumerate(DEPTHS):
                    recalls[depth, query] = np.clip((k - nearer) / equal, 0, 1).mean()
        return {f"recall@{k}": recalls[depth] for depth, k in enumerate(DEPTHS)}


class _Titles:
    """Titles of distinct normal forms, each with the first category that is known of it."""

    def __init__(self) -> None:
        self.row: dict[str, int] = {}
        self.title: list[str] = []
        self.category: list[str | None] = []

    def add(
        self, normalizer: Normalizer, titles: Iterable[str], categories: Iterable[str | None]
    ) -> Rows:
        """The row of each title."""
        rows = []
        titles = list(titles)
        for key, title, category in zip(normalizer(titles), titles, categories, strict=True):
            row = self.row.setdefault(key, len(self.title))
            if row == len(self.title):
                self.title.append(title)
                self.category.append(category)
            elif self.category[row] is None:
                self.category[row] = category
            rows.append(row)
        return np.array(rows)


def _dense(product: Any) -> npt.NDArray[Any]:
    dense: npt.NDArray[Any] = product.toarray() if hasattr(product, "toarray") else product
    return dense


def _vote(similar: npt.NDArray[Any], labels: npt.NDArray[Any]) -> int:
    """The label with the most votes of the nearest."""
    nearest = np.argsort(-similar, kind="stable")[:NEIGHBOURS]
    return int(np.bincount(labels[nearest], np.maximum(similar[nearest], 0)).argmax())
