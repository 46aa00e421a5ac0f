"""Evaluation of title vectors without labels: the next product, and the category of a new product.

Only titles are compared, not product ids. A product that nobody has visited yet can therefore be
found like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrina.classification.linear import Rows
from vitrina.data.catalogue import Catalogue
from vitrina.errors import InputError
from vitrina.evaluation.model import VectorModel
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.ragged import Ragged
from vitrina.text.normalize import Normalizer

TITLES = 10_000
"""Number of titles that are ranked."""
QUERIES = 2_000
"""Largest number of queries of each kind."""
DEPTHS = (10, 100)
"""Values of k for recall@k."""
NEIGHBOURS = 5
"""Number of nearest titles that vote for a category."""
MOST_VISITED = "most visited"
"""Name of the baseline without vectors, `NextProduct.popularity`."""

_BLOCK = 256  # queries at once: their similarities take 20 MB


@dataclass(frozen=True, eq=False)
class NextProduct:
    """Next-product retrieval: given the title of one product, find the other titles of its session.

    The sessions are those of users who are held out of pre-training.

    Attributes
    ----------
    titles : Task
        n titles that are distinct after normalisation; the labels are their categories. Training
        rows are titles that pre-training sees. Test rows are titles that it does not see.
        Titles without a category are validation rows, so that every title is in a part of the
        split and gets a vector.
    queries : ndarray of shape (q,), int64
        Row numbers of the titles that are given.
    relevant : Ragged, int32, q rows
        For each query, the row numbers of the other titles in its session.
    visits : ndarray of shape (n,), int64
        How often the products of a title occur in the sessions of other users.
    """

    titles: Task
    queries: Rows
    relevant: Ragged
    visits: npt.NDArray[np.int64]

    @classmethod
    def from_shop(
        cls, shop: Shop, tasks: Iterable[Task], size: int = TITLES, seed: int = 0
    ) -> NextProduct | None:
        """Draw queries and titles from a shop.

        The titles come from the catalogue and from the test rows of the shop's tasks. All titles
        of the queries' sessions are included, the others are drawn at random. Each query is a
        random title of a random session, with one query per session. There are at most `QUERIES`
        queries, and their sessions have at most half of the titles.

        Parameters
        ----------
        shop : Shop
        tasks : iterable of Task
        size : int, optional
            Number of titles.
        seed : int, optional
            Random seed of the draws.

        Returns
        -------
        NextProduct or None
            None if no held-out user has a session with two titles.
        """
        catalogue = shop.full_catalogue()
        try:
            sessions = shop.sessions(catalogue, held_out=True).products
            other_sessions = shop.sessions(catalogue).products
        except InputError:  # no session has two products
            return None
        # all titles that can be drawn
        pool = _TitlePool(Normalizer(shop.language))
        row_of_product = _add_catalogue(pool, catalogue)
        _add_test_titles(pool, shop, tasks)
        total = len(pool.titles)

        # draw the queries first: the titles of their sessions must be among the chosen ones
        rng = np.random.default_rng(seed)
        queries, relevant = _draw_queries(sessions, row_of_product, size, rng)
        if not queries:
            return None
        drawn = np.concatenate([queries, *relevant])
        seen = np.array([key not in shop.held_out for key in pool.rows])
        has_category = np.array([category is not None for category in pool.categories])
        preferred = np.flatnonzero(~seen & has_category)
        chosen = _fill_up(set(drawn.tolist()), preferred, total, size, rng)

        # how often other users visited the products of each title
        visited = row_of_product[other_sessions.values]
        visits = np.bincount(visited, minlength=total)

        # rows of the pool become rows of the chosen titles, which are sorted
        relevant_rows = [np.searchsorted(chosen, rows).tolist() for rows in relevant]
        return cls(
            titles=_category_task(shop.name, pool, chosen, seen[chosen], has_category[chosen]),
            queries=np.searchsorted(chosen, queries),
            relevant=Ragged.from_lists(relevant_rows),
            visits=visits[chosen],
        )

    def evaluate(self, model: VectorModel) -> dict[str, npt.NDArray[np.float64]]:
        """Measure how well the cosines of a model's vectors find sessions and categories.

        Parameters
        ----------
        model : VectorModel
            A model that was prepared for `titles`.

        Returns
        -------
        dict of str to ndarray, float64
            One value per query for each metric. "recall@k" is the fraction of the session's other
            titles that are among the k nearest titles; for titles with equal similarity it is the
            expectation over their random orders. "category" is 1 where the category of an unseen
            title is predicted correctly, else 0. The prediction is a vote of the `NEIGHBOURS`
            nearest seen titles, weighted by their cosines.
        """
        vectors = model.vectors(self.titles)
        results = self._recalls(lambda rows: _dense(vectors[rows] @ vectors.T))
        if len(self.titles.train) and len(self.titles.test):
            results["category"] = self._category_hits(vectors)
        return results

    def popularity(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the recall of ranking titles by their visits, regardless of the query."""
        return self._recalls(lambda rows: np.tile(self.visits, (len(rows), 1)))

    def _recalls(
        self, similarities: Callable[[Rows], npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Compute recall@k of all queries.

        `similarities` takes row numbers of titles and returns their similarities to all titles.
        """
        n_queries = len(self.queries)
        recalls = {k: np.zeros(n_queries) for k in DEPTHS}
        for start in range(0, n_queries, _BLOCK):
            rows = self.queries[start : start + _BLOCK]
            block = zip(rows, similarities(rows), strict=True)
            for query, (row, similar) in enumerate(block, start):
                relevant = self.relevant[query]
                wanted = similar[relevant][:, None]
                others = np.delete(similar, row)  # the query itself is not ranked
                nearer = (others > wanted).sum(axis=1)
                equal = (others == wanted).sum(axis=1)
                for k in DEPTHS:
                    # of `equal` titles in random order, k - nearer have a rank of at most k
                    expected = np.clip((k - nearer) / equal, 0, 1)
                    recalls[k][query] = expected.mean()
        return {f"recall@{k}": values for k, values in recalls.items()}

    def _category_hits(self, vectors: Any) -> npt.NDArray[np.float64]:
        """Return 1 for each unseen title whose category is predicted correctly, else 0."""
        seen = self.titles.train
        unseen = self.titles.test
        seen_labels = self.titles.labels[seen]
        seen_vectors = vectors[seen].T
        hits = []
        for start in range(0, len(unseen), _BLOCK):
            rows = unseen[start : start + _BLOCK]
            similarities = _dense(vectors[rows] @ seen_vectors)
            predicted = [_vote(similar, seen_labels) for similar in similarities]
            hits.append(predicted == self.titles.labels[rows])
        return np.concatenate(hits).astype(np.float64)


class _TitlePool:
    """Titles that are distinct after normalisation, each with its first known category.

    Attributes
    ----------
    rows : dict of str to int
        The row of each normalised title, in ascending order.
    titles : list of str
    categories : list of (str or None)
    """

    def __init__(self, normalizer: Normalizer) -> None:
        self.normalizer = normalizer
        self.rows: dict[str, int] = {}
        self.titles: list[str] = []
        self.categories: list[str | None] = []

    def add(self, titles: Iterable[str], categories: Iterable[str | None]) -> Rows:
        """Add titles that are not in the pool yet, and return the row of each given title."""
        titles = list(titles)
        keys = self.normalizer(titles)
        rows = []
        for key, title, category in zip(keys, titles, categories, strict=True):
            next_row = len(self.titles)
            row = self.rows.setdefault(key, next_row)
            if row == next_row:
                self.titles.append(title)
                self.categories.append(category)
            elif self.categories[row] is None:
                self.categories[row] = category
            rows.append(row)
        return np.array(rows)


def _add_catalogue(pool: _TitlePool, catalogue: Catalogue) -> Rows:
    """Add the first title of each product, and return the row of each product."""
    first = catalogue.product_titles.offsets[:-1]
    titles = catalogue.titles.gather(catalogue.product_titles.values[first])
    names = [*catalogue.categories, None]  # category number -1, unknown, is the last name
    return pool.add(titles, [names[number] for number in catalogue.product_category])


def _add_test_titles(pool: _TitlePool, shop: Shop, tasks: Iterable[Task]) -> None:
    """Add the test titles of the shop's tasks that have categories."""
    for task in tasks:
        if task.sessions == shop.name and task.categories is not None:
            titles = task.titles_of(task.test)
            categories = [task.categories[row] for row in task.test]
            pool.add(titles, categories)


def _draw_queries(
    sessions: Ragged, row_of_product: Rows, size: int, rng: np.random.Generator
) -> tuple[list[int], list[Rows]]:
    """Draw one query from each of some random sessions.

    Returns
    -------
    queries : list of int
        Rows of titles.
    relevant : list of ndarray, int64
        For each query, the rows of the other titles in its session.
    """
    queries: list[int] = []
    relevant: list[Rows] = []
    drawn: set[int] = set()
    for session in rng.permutation(len(sessions)):
        products = sessions[session]
        rows = np.unique(row_of_product[products])
        if len(queries) == QUERIES or len(drawn.union(rows)) > size // 2:
            break
        # products with the same title are one row
        if len(rows) > 1:
            drawn.update(rows)
            query = rng.choice(rows)
            queries.append(query)
            relevant.append(rows[rows != query])
    return queries, relevant


def _fill_up(
    drawn: set[int], preferred: Rows, total: int, size: int, rng: np.random.Generator
) -> Rows:
    """Add random rows of `total` to the drawn rows until there are `size`, and sort them.

    Up to `QUERIES` of the preferred rows are added first, so that there are enough unseen titles
    with a category.
    """
    first = rng.permutation(preferred)[:QUERIES]
    rest = rng.permutation(total)
    # rows of `first` occur twice; the first occurrence counts
    order = dict.fromkeys([*first, *rest])
    others = [row for row in order if row not in drawn]
    missing = size - len(drawn)
    return np.sort([*drawn, *others[:missing]])


def _category_task(
    shop: str,
    pool: _TitlePool,
    chosen: Rows,
    seen: npt.NDArray[np.bool_],
    has_category: npt.NDArray[np.bool_],
) -> Task:
    """Make a task of the chosen titles, with their categories as labels."""
    categories = [pool.categories[row] for row in chosen]
    classes = sorted({category for category in categories if category is not None})
    # a title without a category gets the label -1, and is in no part that is evaluated
    number_of: dict[str | None, int] = {None: -1}
    for number, category in enumerate(classes):
        number_of[category] = number
    count = f"{len(chosen):,}"
    return Task(
        name=f"next product among {count} titles ({shop})",
        kind="multiclass",
        titles=[pool.titles[row] for row in chosen],
        labels=np.array([number_of[category] for category in categories]),
        train=np.flatnonzero(has_category & seen),
        validation=np.flatnonzero(~has_category),
        test=np.flatnonzero(has_category & ~seen),
        classes=classes,
        sessions=shop,
    )


def _dense(product: Any) -> npt.NDArray[Any]:
    """Return a matrix product of dense or sparse vectors as a dense array."""
    if hasattr(product, "toarray"):
        product = product.toarray()
    dense: npt.NDArray[Any] = product
    return dense


def _vote(similar: npt.NDArray[Any], labels: npt.NDArray[Any]) -> int:
    """Return the label with the most votes among the nearest titles."""
    nearest = np.argsort(-similar, kind="stable")[:NEIGHBOURS]
    votes = np.maximum(similar[nearest], 0)
    return int(np.bincount(labels[nearest], votes).argmax())
