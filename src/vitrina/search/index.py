"""An index of products: the nearest titles of a catalogue, which can change and be saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.columns import as_list
from vitrina.compiled import number_of_threads
from vitrina.data.tables import Source, describe, normalize_ids
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError, shown
from vitrina.files import atomic_path, refuse_existing
from vitrina.progress import Progress
from vitrina.search.exact import Vectors, candidates_for
from vitrina.search.graph import Graph
from vitrina.search.index_folder import INDEX, SavedIndex
from vitrina.search.index_rows import (
    QUERY,
    SIMILARITY,
    check_names,
    has_value,
    index_batches,
    index_schema,
)
from vitrina.search.queries import UnknownWords
from vitrina.search.recall import RecallCheck

Method = Literal["auto", "exact", "usearch"]

MAX_K = 10_000

_GRAPH_FROM = 1_000_000
"""Vectors from which "auto" builds a graph. A scan of as many takes some 20 ms for one query."""

_EXPANSIONS = (64, 128, 256, 512, 1024)
_RECALL_GOAL = 0.97
_MOST_FROM_GRAPH = 100
"""Largest k that the graph is asked for; more neighbours are found by a scan."""

_LARGEST_KEY = 2**32 - 1
_SHORT_DIGEST = 12


class TitleIndex:
    """Finds the products of a catalogue whose titles are most similar to a query.

    Up to a million products, a query is compared with all of them. Beyond, the graph of usearch
    (extra `vitrina[index]`) finds candidates, and their vectors of 16 bits rank them. The index
    belongs to one encoder: no other one can query it.

    `TitleIndex.build` makes an index from a table, `TitleIndex.load` opens a saved one.

    Attributes
    ----------
    encoder : TitleEncoder or None
        None if the index was loaded without one. It can then be queried by vectors only.
    encoder_digest : str
        Digest of the encoder that made the vectors.
    recall : float or None
        The measured recall@10: the share of the ten nearest titles, by float32 vectors, that the
        index finds. None if it was not measured since the last change, or if there are fewer than
        two products.
    counts : dict of str to int
        What the last `build` or `upsert` read, see `upsert`.

    Examples
    --------
    >>> import polars as pl
    >>> from vitrina import TitleEncoder, TitleIndex
    >>> encoder = TitleEncoder.load("encoder")
    >>> table = pl.read_csv("products.csv").with_row_index("product_id")
    >>> index = TitleIndex.build(encoder, table)
    >>> index.query(["apple juice"], k=1).select("product_id", "title").rows()
    [(1, 'APPLE JUICE 64 OZ')]
    """

    def __init__(self, saved: SavedIndex, encoder: TitleEncoder | None) -> None:
        self.encoder = encoder
        self.encoder_digest = saved.encoder
        self.recall = saved.recall
        self.counts: dict[str, int] = {}
        self._method = saved.method
        self._expansion = saved.expansion
        self._rows = saved.rows
        self._vectors = saved.vectors
        self._keys = saved.keys
        self._graph = saved.graph

    @classmethod
    def build(
        cls,
        encoder: TitleEncoder,
        source: Source,
        *,
        product_column: str = "product_id",
        title_column: str = "title",
        columns: Sequence[str] = (),
        method: Method = "auto",
        quiet: bool = True,
    ) -> TitleIndex:
        """Build an index of the products of a table.

        Parameters
        ----------
        encoder : TitleEncoder
        source : str, Path, list of paths, or polars frame
            The table, see `vitrina.data.tables.scan`. Of several rows of one product, the last
            counts. Rows without a product or a title are skipped.
        product_column, title_column : str, optional
        columns : sequence of str, optional
            Further columns to keep, for filters and results: text, numbers or true and false.
            Other values, such as dates, are kept as text, and empty text becomes missing.
        method : {"auto", "exact", "usearch"}, optional
            How to search: by a scan of all vectors, or by a graph. "auto" builds a graph from a
            million products on.
        quiet : bool, optional
            Show no progress.

        Returns
        -------
        TitleIndex

        Raises
        ------
        InputError
            If the table can't be read or a column is missing or can't be kept, if no row has a
            product and a title, or if `method` has another value.
        MissingExtraError
            If usearch is needed and not installed.
        """
        if method not in get_args(Method):
            raise InputError(f"`method` is '{method}'; it must be auto, exact or usearch")
        names = [product_column, title_column, *columns]
        check_names(names)
        schema = index_schema(source, names)
        width = encoder.encode([]).shape[1]
        empty = Vectors.of(np.empty((0, width), np.float32))
        rows = pl.DataFrame(schema=schema)
        index = cls(
            SavedIndex(encoder.weights.digest, method, None, _EXPANSIONS[0], rows, empty), encoder
        )
        if not index.upsert(source, quiet=quiet)["added"]:
            raise InputError(
                f"{describe(source)}: no row has a product and a title: check `product_column` and "
                "`title_column`"
            )
        index.measure_recall(quiet=quiet)
        return index

    @classmethod
    def load(cls, path: str | Path, encoder: TitleEncoder | None = None) -> TitleIndex:
        """Open a saved index. Its vectors stay in the file and are mapped into memory.

        Parameters
        ----------
        path : str or Path
        encoder : TitleEncoder, optional
            The encoder of the index: it is needed for queries by title and for new products.

        Returns
        -------
        TitleIndex

        Raises
        ------
        InputError
            If the folder is missing, incomplete, damaged or of a newer format, or if the index was
            built with another encoder.
        MissingExtraError
            If the index has a graph and usearch is not installed.
        """
        saved = SavedIndex.read(Path(path))
        if encoder is not None and encoder.weights.digest != saved.encoder:
            raise InputError(
                f"{path}: was built with the encoder {saved.encoder[:_SHORT_DIGEST]}, not with "
                f"{encoder.weights.digest[:_SHORT_DIGEST]}; give that encoder, or build the index "
                "again"
            )
        return cls(saved, encoder)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the index to a folder, atomically.

        Parameters
        ----------
        path : str or Path
        force : bool, optional
            Replace an index that exists at `path`, also the one that this index was loaded from.

        Raises
        ------
        InputError
            If `path` exists (unless `force`) or can't be written.
        """
        path = Path(path)
        refuse_existing(path, force, INDEX.name)
        saved = SavedIndex(
            self.encoder_digest,
            self._method,
            self.recall,
            self._expansion,
            self._rows,
            self._vectors,
            self._keys,
            self._graph,
        )
        with atomic_path(path, force=force, kind=INDEX.name) as folder:
            folder.mkdir()
            saved.write_into(folder)

    def __len__(self) -> int:
        """Number of products."""
        return len(self._rows)

    def __repr__(self) -> str:
        digest = self.encoder_digest[:_SHORT_DIGEST]
        return f"<TitleIndex of {len(self):,} products, {self.method}, encoder {digest}>"

    @property
    def method(self) -> str:
        """How the index searches: "exact" or "usearch"."""
        return "exact" if self._graph is None else "usearch"

    @property
    def columns(self) -> list[str]:
        """Names of the columns: the product, the title, and those that were chosen."""
        return self._rows.columns

    @property
    def product_column(self) -> str:
        """Name of the column of the products."""
        return self.columns[0]

    @property
    def title_column(self) -> str:
        """Name of the column of the titles."""
        return self.columns[1]

    def query(
        self, queries: Any, k: int = 10, where: Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        """Find the k products that are most similar to each query.

        Parameters
        ----------
        queries : str, list of str, or ndarray of shape (n, width), float
            Titles, or vectors of the index's encoder.
        k : int, optional
            Products to find for each query, from 1 to 10,000.
        where : mapping of str to object, optional
            Values that columns of a product must have. The products that have them are all
            compared with the query, also if the index has a graph.

        Returns
        -------
        polars.DataFrame
            A row for each product found, best first: `query` (UInt32, the number of the query),
            `similarity` (Float32, the cosine), and the columns of the index. Products of
            equal similarity keep the order of the index, in which new and changed products are
            last. A query without a known word has no rows, see `unknown_queries`.

        Raises
        ------
        InputError
            If `k` or a column of `where` is wrong, if vectors have another width or aren't finite,
            or if titles are given to an index without encoder.
        """
        if not 1 <= k <= MAX_K:
            raise InputError(f"`k` is {k}; it must be from 1 to {MAX_K:,}")
        if isinstance(queries, str):
            queries = [queries]
        allowed = None if where is None else self._allowed(where)
        if isinstance(queries, np.ndarray) and queries.dtype.kind == "f":
            asked = np.arange(len(queries))
            vectors = self._checked(queries)
        else:
            titles = as_list(queries, "queries")
            unknown = self.unknown_queries(titles)
            asked = np.array([row for row in range(len(titles)) if row not in unknown], np.int64)
            vectors = self._own_encoder().encode([titles[row] for row in asked])
        rows, cosines = self._nearest(Vectors.of(vectors), k, allowed)
        query, place = np.nonzero(rows >= 0)
        return self._rows[rows[query, place]].select(
            pl.Series(QUERY, asked[query], pl.UInt32),
            pl.Series(SIMILARITY, np.clip(cosines[query, place], -1, 1), pl.Float32),
            pl.all(),
        )

    def unknown_queries(self, titles: list[str]) -> set[int]:
        """Return the row numbers of the queries without a known word.

        See `vitrina.search.queries.UnknownWords` for what is known.
        """
        unknown = UnknownWords(self._own_encoder().weights.tokenizer, titles)
        unknown.search(self._rows[self.title_column])
        return unknown.rows

    def upsert(self, source: Source, *, quiet: bool = True) -> dict[str, int]:
        """Add the products of a table, and replace those that the index has already.

        Parameters
        ----------
        source : str, Path, list of paths, or polars frame
            A table with the columns of the index. Of several rows of one product, the last counts.
            Rows without a product or a title are skipped.
        quiet : bool, optional
            Show no progress.

        Returns
        -------
        dict of str to int
            Products ``added`` and ``replaced``, and rows that were skipped: ``repeated_product``,
            ``null_product`` and ``null_title``.

        Raises
        ------
        InputError
            If the table can't be read, or a column is missing or has values of another type. The
            index is then unchanged.
        """
        encoder = self._own_encoder()
        product = self.product_column
        frames = [self._rows.clear()]
        parts = [self._vectors[:0]]
        read = null_product = kept = 0
        with Progress("products", None, quiet=quiet) as progress:
            for batch in index_batches(source, self._rows.schema):
                with_product = batch.drop_nulls(product)
                rows = with_product.drop_nulls(self.title_column)
                frames.append(rows)
                parts.append(Vectors.of(encoder.encode(rows[self.title_column])))
                read += len(batch)
                null_product += len(batch) - len(with_product)
                kept += len(rows)
                progress.update(read)
        # no column of an index is called so
        new = pl.concat(frames).with_row_index(QUERY)
        new = new.unique(product, keep="last", maintain_order=True)
        vectors = Vectors.concatenated(parts)
        if len(new) < kept:
            vectors = vectors[new[QUERY].to_numpy()]
        new = new.drop(QUERY)
        stale = self._rows[product].is_in(new[product].implode()).to_numpy()
        self._change(stale, new, vectors, quiet)
        replaced = int(stale.sum())
        self.counts = {
            "added": len(new) - replaced,
            "replaced": replaced,
            "repeated_product": kept - len(new),
            "null_product": null_product,
            "null_title": read - null_product - kept,
        }
        return self.counts

    def delete(self, products: Iterable[Any]) -> int:
        """Remove products.

        Parameters
        ----------
        products : iterable
            Their ids. Those that the index doesn't have are skipped.

        Returns
        -------
        int
            Number of products removed.

        Raises
        ------
        InputError
            If the ids are no text or whole numbers.
        """
        column = self._rows[self.product_column]
        given = products
        if not isinstance(given, pl.Series):
            try:
                given = pl.Series(as_list(given, "ids"))
            except TypeError:
                raise InputError("ids: hold several types; give text or whole numbers") from None
        # an id that is no number is none of an index of numbers
        ids = normalize_ids(given, self.product_column, "ids").cast(column.dtype, strict=False)
        stale = column.is_in(ids.drop_nulls().implode()).to_numpy()
        self._change(stale, self._rows.clear(), self._vectors[:0], quiet=True)
        return int(stale.sum())

    def measure_recall(self, *, quiet: bool = True) -> float | None:
        """Measure the recall@10 on up to 200 of the index's titles, and set `recall`.

        The exact neighbours come from float32 vectors of all titles. If the index has a graph, it
        is told to search as far as a recall of 0.97 needs.

        Parameters
        ----------
        quiet : bool, optional
            Show no progress.

        Returns
        -------
        float or None
            None if there are fewer than two products.
        """
        self.recall = None
        if len(self) < 2:
            return None
        check = RecallCheck(self._own_encoder(), self._rows[self.title_column], quiet=quiet)
        queries = Vectors.of(check.vectors)
        for expansion in _EXPANSIONS:
            self._expansion = expansion
            self.recall = check.recall(self._nearest(queries, check.k + 1, None)[0])
            if self._graph is None or self.recall >= _RECALL_GOAL:
                break
        return self.recall

    def _nearest(
        self, queries: Vectors, k: int, allowed: npt.NDArray[np.bool_] | None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The rows and cosines of `Vectors.nearest`, from the graph if there is one."""
        threads = None if self.encoder is None else self.encoder.threads
        if self._graph is None or self._keys is None or allowed is not None or k > _MOST_FROM_GRAPH:
            return self._vectors.nearest(queries, k, allowed=allowed, threads=threads)
        found = self._graph.candidates(queries, candidates_for(k), self._expansion, threads)
        place = np.searchsorted(self._keys, found).clip(max=len(self) - 1)
        candidates = np.where(self._keys[place] == found, place, -1)
        rows, cosines = self._vectors.ranked(queries, candidates, k)
        # after many removals, a graph may have lost the way to some vectors
        short = np.flatnonzero((rows[:, : min(k, len(self))] < 0).any(axis=1))
        rows[short], cosines[short] = self._vectors.nearest(queries[short], k, threads=threads)
        return rows, cosines

    def _change(
        self, stale: npt.NDArray[np.bool_], new: pl.DataFrame, vectors: Vectors, quiet: bool
    ) -> None:
        """Remove the rows of a mask, and append new ones."""
        if not stale.any() and not len(new):
            return
        rows = self._rows.filter(~pl.Series(stale)) if stale.any() else self._rows
        old = self._vectors[~stale] if stale.any() else self._vectors
        graph, keys = self._graph, self._keys
        self._graph = self._keys = None  # an interrupted change must not leave a half-changed graph
        self._rows = pl.concat([rows, new], rechunk=True)
        self._vectors = Vectors.concatenated([old, vectors])
        self.recall = None
        needs_graph = self._method == "usearch" or (
            self._method == "auto" and (graph is not None or len(self) >= _GRAPH_FROM)
        )
        if not needs_graph or not len(self):
            return
        threads = None if self.encoder is None else self.encoder.threads
        threads = number_of_threads(threads)
        first = 0 if keys is None or not len(keys) else int(keys[-1]) + 1
        if graph is None or keys is None or first + len(new) > _LARGEST_KEY:
            self._new_graph(threads, quiet)
            return
        graph.remove(keys[stale].astype(np.uint64))
        new_keys = np.arange(first, first + len(new), dtype=np.uint32)
        graph.add(new_keys.astype(np.uint64), vectors, threads=threads, quiet=quiet)
        self._keys = np.concatenate([keys[~stale], new_keys])
        self._graph = graph

    def _new_graph(self, threads: int, quiet: bool) -> None:
        keys = np.arange(len(self), dtype=np.uint32)
        graph = Graph(self._vectors.width)
        graph.add(keys.astype(np.uint64), self._vectors, threads=threads, quiet=quiet)
        self._keys = keys
        self._graph = graph

    def _allowed(self, where: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
        """Which rows have the wanted values."""
        allowed = np.ones(len(self), np.bool_)
        for name, value in where.items():
            if name not in self.columns:
                raise InputError(
                    f"`where`: the index has no column '{shown(str(name))}'; it has: "
                    f"{', '.join(self.columns)}"
                )
            allowed &= has_value(self._rows[name], value).to_numpy()
        return allowed

    def _own_encoder(self) -> TitleEncoder:
        if self.encoder is None:
            raise InputError(
                "the index was loaded without an `encoder`; load it with its encoder, or query it "
                "by vectors"
            )
        return self.encoder

    def _checked(self, vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if vectors.ndim != 2 or vectors.shape[1] != self._vectors.width:
            raise InputError(
                f"`queries` is an array of shape {vectors.shape}; it must be (n, "
                f"{self._vectors.width}), vectors of the index's encoder"
            )
        return vectors
