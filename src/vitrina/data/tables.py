"""Reading tables: events, catalogues and titles from Parquet, CSV, TSV and JSON lines."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from vitrina.errors import InputError
from vitrina.ragged import Ragged, offsets_of

Source: TypeAlias = str | Path | Sequence[str | Path] | pl.LazyFrame | pl.DataFrame
"""A file, a glob, several of them (all of one format), or a polars frame."""

# CSV holds text only, so all of its columns are read as text: ids keep their leading zeros, and a
# column that looks like numbers for a while (ISBNs among ASINs) can't stop the reading half-way.
_READERS: dict[str, Callable[[list[str]], pl.LazyFrame]] = {
    "Parquet": lambda files: pl.scan_parquet(files, glob=False),
    "CSV": lambda files: pl.scan_csv(files, glob=False, infer_schema=False),
    "TSV": lambda files: pl.scan_csv(files, glob=False, infer_schema=False, separator="\t"),
    "JSON lines": lambda files: pl.scan_ndjson(files, infer_schema_length=10_000),
}
_FORMATS = {
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".jl": "JSON lines",
    ".json-lines": "JSON lines",
}
_READING_ERRORS = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,  # not an Exception: some corrupt files make the reader panic
    OSError,
    EOFError,
    zlib.error,
    UnicodeError,
)

_SAVE_AS_UTF8 = "save it as UTF-8 (in Excel: 'CSV UTF-8')"


def scan(source: Source, what: str) -> pl.LazyFrame:
    """A lazy frame over files of one format, or the frame that was given.

    Columns of CSV and TSV files are all text; Parquet and JSON lines keep their types. Several
    files are read one after the other: in the order given, those of a glob in sorted order.

    Parameters
    ----------
    source
        A file, a glob or several of them: Parquet (.parquet, .pq), CSV, TSV or JSON lines
        (.jsonl, .ndjson, .jl, .json-lines), all but Parquet also with .gz; or a polars frame.
    what
        What the rows are ('events', 'catalogue', 'titles'), for messages.

    Raises
    ------
    InputError
        A file is missing, empty, a folder or unreadable; a glob matches nothing; the extension
        is unknown; the files are of different formats.
    """
    if isinstance(source, pl.LazyFrame | pl.DataFrame):
        return source.lazy()
    files = _files(source, what)
    formats: dict[str, Path] = {}
    for file in files:
        formats.setdefault(_format(file, what), file)
    if len(formats) > 1:
        listed = ", ".join(f"{file} ({name})" for name, file in formats.items())
        raise InputError(f"{what}: files of different formats: {listed}: give files of one format")
    with readable(files):
        frame = _READERS[next(iter(formats))]([str(file) for file in files])
        frame.collect_schema()  # so that a broken header is found here
    return frame


@contextmanager
def readable(source: Source) -> Iterator[None]:
    """Turn what goes wrong while a lazy frame is read into one line that names the file.

    Wrap the collecting of whatever `scan` gave: a truncated or corrupt file may show only then.

    Raises
    ------
    InputError
        In place of errors of polars, of the file system and of decompression.
    """
    try:
        yield
    except _READING_ERRORS as error:
        files = _files_behind(source)
        reason = _reason(error)
        if len(files) > 1:
            culprit = _first_unreadable(files)
            if culprit is None:
                raise InputError(
                    f"{files[0]} and {len(files) - 1} more can't be read together ({reason}): "
                    "give files with the same columns and types"
                ) from error
            files, reason = [culprit[0]], _reason(culprit[1])
        name = str(files[0]) if files else "the table given"
        mend = (
            "is the file whole, of the format that its extension says, and each column of one type?"
        )
        if "permission denied" in reason.lower():
            mend = "ask for the right to read it"
        elif "utf-8" in reason.lower() and files and _known(files[0]) != "Parquet":
            mend = _SAVE_AS_UTF8
        raise InputError(f"{name}: can't be read ({reason}): {mend}") from error


def require_columns(
    frame: pl.LazyFrame, columns: Mapping[str, str] | Iterable[str], source: Source
) -> None:
    """Check that a frame has the columns asked for.

    Parameters
    ----------
    frame
        What `scan` gave for `source`.
    columns
        Names; or role -> name, where the message offers the flag ``--<role>-column``.
    source
        Where the frame came from, for messages.

    Raises
    ------
    InputError
        A column is missing; the message lists those that exist. Where the header shows that a
        text has another separator or encoding, the message says so.
    """
    with readable(source):
        existing = frame.collect_schema().names()
    flags: dict[str, str] = {}
    if isinstance(columns, Mapping):
        flags = {name: f"--{role}-column" for role, name in columns.items()}
    for name in flags or columns:
        if name in existing:
            continue
        header = "".join(existing)
        if "\0" in header:
            raise InputError(f"{describe(source)}: is in UTF-16 or no text: {_SAVE_AS_UTF8}")
        mend = f"name it with {flags[name]}" if flags else "is this the right file?"
        if "\N{REPLACEMENT CHARACTER}" in header and not name.isascii():
            mend = _SAVE_AS_UTF8
        elif len(existing) == 1 and ";" in header:
            mend = "save it with commas, not semicolons, between the columns"
        elif len(existing) == 1 and "\t" in header:
            mend = "tabs are between the columns: rename it to .tsv"
        raise InputError(
            f"{describe(source)}: no column '{name}'; there are: {', '.join(existing)}: {mend}"
        )


def describe(source: Source) -> str:
    """Name the file (or the first of several) that a source reads, for messages."""
    files = _files_behind(source)
    if not files:
        return "the table given"
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _files(source: str | Path | Sequence[str | Path], what: str) -> list[Path]:
    """The files that are meant, all of them there and not empty."""
    given = [source] if isinstance(source, str | Path) else list(source)
    if not given:
        raise InputError(f"{what}: no file given: name at least one")
    try:
        files = [file for one in given for file in _expand(Path(one).expanduser(), what)]
        for file in files:
            _check(file, what)
    except OSError as error:  # a folder on the way is closed to us, a name is too long
        raise InputError(
            f"{what}: {error.filename or given[0]}: can't be read ({error.strerror}): check the "
            "path and the right to read it"
        ) from error
    return files


def _check(file: Path, what: str) -> None:
    if file.is_dir():
        inside = next((f for f in sorted(file.iterdir()) if _known(f)), None)
        pattern = "*" + "".join(inside.suffixes[-2:]) if inside else "*.parquet"
        raise InputError(f"{what}: {file} is a folder: name its files, as in {file / pattern}")
    if not file.exists():
        raise InputError(f"{what}: {file}: no such file: check the path")
    if file.stat().st_size == 0:
        raise InputError(f"{what}: {file} is empty (0 bytes): write or download it again")


def _expand(path: Path, what: str) -> list[Path]:
    """The files that match a glob, sorted; any other path stays as it is."""
    wild = [i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")]
    if not wild or path.exists():
        return [path]
    base, pattern = Path(*path.parts[: wild[0]]), "/".join(path.parts[wild[0] :])
    files = sorted(file for file in base.glob(pattern) if file.is_file())
    if not files:
        raise InputError(f"{what}: no file matches {path}: check the pattern")
    return files


def _known(file: Path) -> str | None:
    """The format that an extension stands for, None if unknown."""
    name = file.name.lower()
    zipped = name.endswith(".gz")
    found = _FORMATS.get(Path(name.removesuffix(".gz")).suffix)
    return None if zipped and found == "Parquet" else found


def _format(file: Path, what: str) -> str:
    found = _known(file)
    if found is None:
        raise InputError(
            f"{what}: {file}: unknown extension: use {', '.join(_FORMATS)} "
            "(all but Parquet also with .gz)"
        )
    return found


def _files_behind(source: Source) -> list[Path]:
    """The files of a source, also of a lazy frame (its plan names them); none for other frames."""
    if isinstance(source, pl.DataFrame):
        return []
    if isinstance(source, pl.LazyFrame):
        try:
            plan = source.explain(optimized=False)
        except _READING_ERRORS:
            return []
        scans = re.findall(r"^\s*(?:Parquet|Csv|NDJson) SCAN \[(.+)\]$", plan, flags=re.M)
        files = [Path(name) for found in scans for name in found.split(", ")]
        return [file for file in dict.fromkeys(files) if file.is_file()]
    try:
        return _files(source, "files")
    except InputError:  # a file vanished or is empty: name what was given
        return [Path(source)] if isinstance(source, str | Path) else [Path(one) for one in source]


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .:") if lines else type(error).__name__


def _first_unreadable(files: list[Path]) -> tuple[Path, BaseException] | None:
    """The first file that fails when read alone, and how; None if each can be read."""
    for file in files:
        try:
            _READERS[_format(file, "files")]([str(file)]).select(pl.all().null_count()).collect()
        except _READING_ERRORS as error:
            return file, error
    return None


@dataclass(frozen=True)
class EventColumns:
    """Names of the columns of a table of visits."""

    user: str = "user"
    time: str = "timestamp"
    product: str = "product_id"


@dataclass(frozen=True)
class CatalogueColumns:
    """Names of the columns of a table of products."""

    product: str = "product_id"
    title: str = "title"
    category: str | None = "category"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Products with their titles and category (paper §3.1).

    Attributes
    ----------
    product_ids : Series, any dtype, n_products
        Unique ids in the order of their first appearance.
    titles : Series of String
        Unique raw titles in the order of their first appearance.
    product_titles : Ragged, int32, n_products rows
        Rows of `titles` for every product, in the order of their first appearance. A product may
        appear under several titles: all are kept, each a view of it.
    categories : Series of String
        Names of the distinct categories that a product has here, sorted.
    product_category : array, int32, shape (n_products,)
        Row of `categories`, -1 where no category is known.
    counts
        rows, products, titles, categories; rows dropped: null_product, null_title (also blank
        titles), repeated_row (product and title already listed); products with several_titles,
        several_categories (the first is kept), without_category.
    """

    product_ids: pl.Series
    titles: pl.Series
    product_titles: Ragged
    categories: pl.Series
    product_category: npt.NDArray[np.int32]
    counts: dict[str, int]

    def without_titles(self, titles: Collection[str]) -> Catalogue:
        """A catalogue less every product that carries one of the given raw titles.

        Pre-training uses it to keep clear of the titles of downstream test sets. Titles and
        categories of no remaining product go too. In `counts`, what was counted on reading
        stays; products, titles, categories and the properties of products are of the remaining
        ones, and held_out is the number of products that left.

        Raises
        ------
        InputError
            No product remains.
        """
        banned = self.titles.is_in(pl.Series(list(titles), dtype=pl.String).implode()).to_numpy()
        product = np.repeat(np.arange(len(self.product_ids)), self.product_titles.lengths)
        keep = np.ones(len(self.product_ids), np.bool_)
        keep[product[banned[self.product_titles.values]]] = False
        if not keep.any():
            raise InputError(
                f"each of the {len(keep)} products carries a held-out title: hold out fewer titles"
            )
        views = self.product_titles.take(np.flatnonzero(keep))
        used, values = np.unique(views.values, return_inverse=True)
        category = self.product_category[keep]
        used_categories = np.unique(category[category >= 0])
        known = np.searchsorted(used_categories, category).astype(np.int32)
        kept = Catalogue(
            self.product_ids.filter(pl.Series(keep)),
            self.titles.gather(used),
            Ragged(values.astype(np.int32), views.offsets),
            self.categories.gather(used_categories),
            np.where(category >= 0, known, np.int32(-1)),
            {},
        )
        held_out = self.counts.get("held_out", 0) + int((~keep).sum())
        counts = self.counts | kept._sizes() | {"held_out": held_out}
        return replace(kept, counts=counts)

    def _sizes(self) -> dict[str, int]:
        return {
            "products": len(self.product_ids),
            "titles": len(self.titles),
            "categories": len(self.categories),
            "several_titles": int((self.product_titles.lengths > 1).sum()),
            "without_category": int((self.product_category < 0).sum()),
        }


def read_catalogue(source: Source, columns: CatalogueColumns | None = None) -> Catalogue:
    """Read a catalogue: one row for a product, or several for one with several titles.

    Parameters
    ----------
    source
        See `scan`.
    columns
        Names of the columns. A category column called 'category' (the default) may be absent, or
        may be given as None: then no product has a category.

    Returns
    -------
    Catalogue

    Raises
    ------
    InputError
        See `scan` and `require_columns`; titles are not text; no row has a product and a title.
    """
    columns = columns or CatalogueColumns()
    frame = scan(source, "catalogue")
    name = describe(source)
    with readable(source):
        absent = columns.category not in frame.collect_schema().names()
    wanted = {role: column for role, column in asdict(columns).items() if column is not None}
    if absent and columns.category == CatalogueColumns().category:
        del wanted["category"]
    require_columns(frame, wanted, source)
    with readable(source):
        table = frame.select(**{role: pl.col(column) for role, column in wanted.items()}).collect()

    rows = len(table)
    product = ids(table["product"], columns.product, name)
    title = table["title"]
    if _is_text(title) or title.dtype == pl.Null:
        title = _text(title)
        known = title.drop_nulls()
        # in CSV all columns are text, so a column of prices, say, shows only in its values
        usable = known.is_empty() or known.cast(pl.Float64, strict=False).null_count() > 0
    else:
        usable = False
    if not usable:
        raise InputError(
            f"{name}: column '{columns.title}' ({title.dtype}) holds no titles but "
            f"{title.drop_nulls().head(1).to_list()}: name the column of titles with "
            "--title-column"
        )
    if "category" in wanted:
        if table["category"].dtype.is_nested() or table["category"].dtype == pl.Binary:
            raise InputError(
                f"{name}: column '{columns.category}' ({table['category'].dtype}) must hold one "
                "category a row: name another with --category-column"
            )
        category = _text(table["category"])
    else:
        category = pl.Series(dtype=pl.String).extend_constant(None, rows)
    table = pl.DataFrame({"product": product, "title": title, "category": category})

    with_product = table.drop_nulls("product")
    valid = with_product.drop_nulls("title")
    if valid.is_empty():
        raise InputError(
            f"{name}: no row of {rows} has a product and a title ({rows - len(with_product)} "
            f"without product, {len(with_product)} without title): check --product-column and "
            "--title-column"
        )
    product_ids, product_rows = encode(valid["product"])
    titles, title_rows = encode(valid["title"])
    codes = pl.DataFrame({"product": product_rows, "title": title_rows, "name": valid["category"]})
    views = codes.select("product", "title").unique(maintain_order=True)
    views_of = views.sort("product", maintain_order=True)
    lengths = np.bincount(views_of["product"].to_numpy(), minlength=len(product_ids))

    listed = codes.select("product", "name").drop_nulls().unique(maintain_order=True)
    first = listed.unique("product", keep="first", maintain_order=True)
    categories = first["name"].unique().sort().alias("category")
    product_category = np.full(len(product_ids), -1, np.int32)
    product_category[first["product"].to_numpy()] = categories.search_sorted(first["name"])

    catalogue = Catalogue(
        product_ids.alias("product_id"),
        titles.alias("title"),
        Ragged(views_of["title"].to_numpy().astype(np.int32), offsets_of(lengths)),
        categories,
        product_category,
        {},
    )
    counts = {
        "rows": rows,
        "null_product": rows - len(with_product),
        "null_title": len(with_product) - len(valid),
        "repeated_row": len(valid) - len(views),
        "several_categories": len(
            listed.filter(pl.col("product").is_duplicated()).unique("product")
        ),
    }
    return replace(catalogue, counts=counts | catalogue._sizes())


def ids(column: pl.Series, name: str, where: str) -> pl.Series:
    """Ids as whole numbers or text, null where there is none.

    Whole numbers stored as floats (what a missing value does to a column elsewhere) become
    integers; categoricals become text; empty text and NaN become null.

    Raises
    ------
    InputError
        The column holds dates, lists, fractions, floats too large to be exact or the like.
    """
    if column.dtype.is_integer() and not str(column.dtype).endswith("128"):  # unknown to Arrow
        return column
    if column.dtype == pl.Null:
        return column.cast(pl.String)
    if _is_text(column):
        text = column.cast(pl.String)
        empty = text == ""
        return text.set(empty, None) if empty.any() else text
    if column.dtype.is_float():
        known = column.fill_nan(None)
        exact = 2**24 if column.dtype == pl.Float32 else 2**53  # beyond, ids have become one
        if bool(((known % 1 == 0) & (known.abs() < exact)).all()):
            return known.cast(pl.Int64)
    raise InputError(
        f"{where}: column '{name}' ({column.dtype}) can't hold ids: ids are text or whole numbers, "
        "as floats only as far as these are exact"
    )


def encode(values: pl.Series) -> tuple[pl.Series, npt.NDArray[np.int32]]:
    """Number values without nulls by first appearance.

    Returns
    -------
    unique values in the order of first appearance, and for every value its row there, int32.
    """
    # Arrow's encoder keeps the order of appearance, whatever the number of threads
    encoded = values.rechunk().to_arrow().dictionary_encode()
    assert isinstance(encoded, pa.DictionaryArray)
    unique = pl.Series(values.name, encoded.dictionary, dtype=values.dtype)
    return unique, encoded.indices.to_numpy(zero_copy_only=False)


def _is_text(column: pl.Series) -> bool:
    return isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum)


def _text(column: pl.Series) -> pl.Series:
    """As text; null where it is blank."""
    text = column.cast(pl.String)
    return text.set(text.str.strip_chars() == "", None)
