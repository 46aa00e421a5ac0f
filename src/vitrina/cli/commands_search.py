"""The commands that search: `vitrina similar` and `vitrina index ...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from vitrina.cli.app import COLUMNS, EncoderFolder, Force, Quiet, TitleColumn, app
from vitrina.errors import InputError, shown
from vitrina.progress import console, counted

if TYPE_CHECKING:
    import polars as pl

    from vitrina.search.index import TitleIndex

index = App(name="index", help="Build, change and query an index of a catalogue's titles.")
app.command(index)

IndexFolder = Annotated[Path, Parameter(help="Folder of the index.")]
Titles = Annotated[list[str] | None, Parameter(help="Titles to search for.")]
Neighbours = Annotated[int, Parameter(name=["-k", "--k"], help="Products to show for each title.")]
Queries = Annotated[Path | None, Parameter(help="File with titles: one a line (.txt), or a table.")]
QueryColumn = Annotated[
    str, Parameter(group=COLUMNS, help="Column of the titles in the table of --queries.")
]
ProductColumn = Annotated[str, Parameter(group=COLUMNS, help="Column of the products.")]
Results = Annotated[Path | None, Parameter(help="Parquet file to write, instead of showing.")]


@app.command
def similar(
    encoder: EncoderFolder,
    products: Annotated[str, Parameter(help="Table of products with titles, or an index.")],
    title: Titles = None,
    /,
    *,
    queries: Queries = None,
    k: Neighbours = 10,
    out: Results = None,
    title_column: TitleColumn = "title",
    product_column: ProductColumn = "product_id",
    query_column: QueryColumn = "title",
    force: Force = False,
) -> None:
    """Show the products whose titles are most similar to a title, or to many.

    Example: `vitrina similar encoder catalogue.parquet "zapatillas running mujer" -k 5`

    Of a table, each distinct title is shown once. A table that `vitrina embed` wrote is not
    encoded again. Put `--` before a title that begins with a dash.
    """
    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.sealed import MANIFEST
    from vitrina.search.index import TitleIndex
    from vitrina.search.similar import most_similar, require_known

    _check_out(out, force)
    wanted = _queries(title, queries, query_column)
    model = TitleEncoder.load(encoder)
    if (Path(products) / MANIFEST).exists():
        _query(TitleIndex.load(products, model), wanted, k, {}, out, force)
        return
    found = most_similar(model, products, wanted, k=k, title_column=title_column)
    unknown = set(range(len(wanted))) - set(found["query"].to_list())
    require_known(wanted, unknown)
    _show(found, wanted, unknown, [product_column, title_column], out, force)


@index.command
def build(
    encoder: EncoderFolder,
    products: Annotated[str, Parameter(help="Table of products: Parquet, CSV, TSV, JSON lines.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder that the index is written to.")],
    columns: Annotated[
        list[str] | None,
        Parameter(
            group=COLUMNS,
            consume_multiple=True,
            help="Further columns to keep, for results and --where.",
        ),
    ] = None,
    product_column: ProductColumn = "product_id",
    title_column: TitleColumn = "title",
    method: Annotated[
        Literal["auto", "exact", "usearch"],
        Parameter(help="Compare with all products, or use a graph; auto: a graph from a million."),
    ] = "auto",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Build an index of a catalogue and show its measured recall.

    Example: `vitrina index build encoder catalogue.parquet --out index --columns category`
    """
    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.files import refuse_existing
    from vitrina.search.index import TitleIndex
    from vitrina.search.index_folder import INDEX

    refuse_existing(out, force, INDEX.name)
    built = TitleIndex.build(
        TitleEncoder.load(encoder),
        products,
        product_column=product_column,
        title_column=title_column,
        columns=columns or (),
        method=method,
        quiet=quiet,
    )
    built.save(out, force=force)
    console().print(description(built))
    notes = console(stderr=True, quiet=quiet)
    notes.print(f"products: {counted(built.counts)}\nindex: {out}")


@index.command
def update(
    encoder: EncoderFolder,
    folder: IndexFolder,
    products: Annotated[
        str | None, Parameter(help="Table of new and changed products, with the index's columns.")
    ] = None,
    /,
    *,
    delete: Annotated[
        str | None, Parameter(help="Table of the products to remove: the index's product column.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Add, replace and remove products of an index. It is replaced when the change is complete.

    Example: `vitrina index update encoder index changes.parquet --delete gone.csv`
    """
    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.search.index import TitleIndex
    from vitrina.search.queries import read_ids

    if products is None and delete is None:
        raise InputError("index update: give a table of `products`, or of those to `delete`")
    changed = TitleIndex.load(folder, TitleEncoder.load(encoder))
    counts = {}
    if delete is not None:
        counts["removed"] = changed.delete(read_ids(delete, changed.product_column))
    if products is not None:
        counts |= changed.upsert(products, quiet=quiet)
    changed.measure_recall(quiet=quiet)
    changed.save(folder, force=True)
    console().print(description(changed))
    console(stderr=True, quiet=quiet).print(f"products: {counted(counts) or 'no change'}")


@index.command
def query(
    encoder: EncoderFolder,
    folder: IndexFolder,
    title: Titles = None,
    /,
    *,
    queries: Queries = None,
    where: Annotated[
        list[str] | None, Parameter(help="COLUMN=VALUE that the products must have; repeatable.")
    ] = None,
    k: Neighbours = 10,
    out: Results = None,
    query_column: QueryColumn = "title",
    force: Force = False,
) -> None:
    """Show the products of an index whose titles are most similar to a title, or to many.

    Example: `vitrina index query encoder index "zapatillas running" --where category=shoes`

    Put `--` before a title that begins with a dash.
    """
    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.search.index import TitleIndex

    _check_out(out, force)
    wanted = _queries(title, queries, query_column)
    conditions = {}
    for condition in where or ():
        name, sign, value = condition.partition("=")
        if not sign:
            raise InputError(f"`where` is '{condition}'; write it as COLUMN=VALUE")
        conditions[name] = value
    loaded = TitleIndex.load(folder, TitleEncoder.load(encoder))
    _query(loaded, wanted, k, conditions, out, force)


def _query(
    loaded: TitleIndex,
    wanted: list[str],
    k: int,
    conditions: dict[str, str],
    out: Path | None,
    force: bool,
) -> None:
    """Query an index, and show the products or write them."""
    from vitrina.search.similar import require_known

    unknown = loaded.unknown_queries(wanted)
    require_known(wanted, unknown)
    found = loaded.query(wanted, k, conditions or None)
    _show(found, wanted, unknown, loaded.columns, out, force)


def _queries(title: list[str] | None, file: Path | None, column: str) -> list[str]:
    """The queries of a command: its arguments or those in a file."""
    from vitrina.search.queries import read_queries

    if (title is None) == (file is None):
        raise InputError("give a title to search for, or a file of `queries`")
    return read_queries(file, column) if file is not None else list(title or ())


def _check_out(out: Path | None, force: bool) -> None:
    from vitrina.files import refuse_existing

    if out is None:
        return
    if out.suffix.lower() != ".parquet":
        raise InputError(f"{out}: the output is Parquet; give a name that ends in .parquet")
    refuse_existing(out, force)


def _show(
    found: pl.DataFrame,
    queries: list[str],
    unknown: set[int],
    columns: list[str],
    out: Path | None,
    force: bool,
) -> None:
    """Show the products found, or write them; one line for each query that has no known word."""
    import polars as pl

    from vitrina.files import atomic_path

    notes = console(stderr=True)
    for row in sorted(unknown):
        notes.print(f"no known word: '{shown(queries[row])}' has no results")
    found = found.with_columns(pl.Series("query", queries)[found["query"].to_numpy()])
    if out is not None:
        with atomic_path(out, force=force) as temporary:
            found.write_parquet(temporary)
        notes.print(f"{len(found):,} results: {out}")
        return
    if found.is_empty():
        notes.print("no product fits")
        return
    shown_columns = [name for name in columns if name in found.columns]
    if len(queries) > 1:
        shown_columns = ["query", *shown_columns]
    table = Table("similarity", *shown_columns)
    for product in found.iter_rows(named=True):
        # `Text` shows brackets in titles as they are
        cells = [
            Text("" if product[name] is None else str(product[name])) for name in shown_columns
        ]
        table.add_row(f"{product['similarity']:.3f}", *cells)
    console().print(table)


def description(of: TitleIndex) -> str:
    """One line about an index: its products, how it searches and its measured recall."""
    way = "compares with all" if of.method == "exact" else "graph of usearch"
    recall = "" if of.recall is None else f", measured recall@10 {of.recall:.3f}"
    return f"{len(of):,} products ({way}){recall}"
