"""Mutated tables: each is read as polars reads it, or refused by one line."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from random import Random

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vitrina.data.catalogue import read_catalogue
from vitrina.data.sessions import sessionize
from vitrina.data.stream import add_columns
from vitrina.data.tables import readable, scan
from vitrina.errors import InputError

TRIALS = 30
"""Mutations of each file; tens of thousands were tried once, with other seeds."""

TOKENS = [b'"', b",", b"\n", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"{", b"}", b"[]", b"null"]
TOKENS += [b"1e999", b"99999999999999999999", b"\\ud800", b"20240230", b"9999-12-31", b"\t", b"{}"]
TOKENS += [b'{"a":{"b":[1]}}', b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"PAR1", b"\x1f\x8b"]


def parquet(table: pl.DataFrame, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table.to_arrow(compat_level=pl.CompatLevel.oldest()), buffer, **options)
    return buffer.getvalue()


def whole_files() -> dict[str, bytes]:
    n = pl.int_range(300)
    titles = pl.Series(['más "x", ', "a\nb", "ñandú", None, "it's 5\" tv"] * 60)
    products = pl.select(
        pl.format("{}", n).alias("product_id"),
        titles.alias("title"),
        pl.when(n % 5 > 0).then(pl.format("c{}", n % 7)).alias("category"),
    )
    nested = products.with_columns(
        tags=pl.concat_list("category", pl.lit("a")), size=pl.struct("category", x=pl.lit([1.5]))
    )
    moment = pl.from_epoch(1_700_000_000 + n * 60)
    visits = pl.select(
        (n // 6).alias("user"),
        moment.dt.strftime("%Y%m%d%H%M%S").cast(pl.Int64).alias("timestamp"),
        (n % 17).alias("product_id"),
    )
    dates = visits.with_columns(pl.col("timestamp").cast(pl.String).str.to_datetime("%Y%m%d%H%M%S"))
    binary = io.BytesIO()
    nested.with_columns(pl.col("category").cast(pl.Categorical)).write_parquet(
        binary, row_group_size=100
    )
    plain = parquet(
        products, use_dictionary=False, data_page_size=200, column_encoding={"title": "PLAIN"}
    )
    return {
        "products.csv": products.write_csv().encode(),
        "products.tsv": products.write_csv(separator="\t").encode(),
        "products.csv.gz": gzip.compress(products.write_csv().encode()),
        "products.jsonl": nested.write_ndjson().encode(),
        "products.parquet": binary.getvalue(),
        "plain/products.parquet": plain,
        "lz4/products.parquet": parquet(nested, compression="lz4", write_page_index=True),
        "visits.csv": visits.write_csv().encode(),
        "visits.jsonl": dates.write_ndjson().encode(),
        "visits.parquet": parquet(dates),
    }


def mutated(random: Random, content: bytes) -> bytes:
    """The content after one or several changes of bytes, cuts, copies and insertions."""
    data = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 3, 10])):
        place = random.randrange(len(data))
        if random.random() < 0.2:  # near the end is the footer of Parquet files
            place = max(0, len(data) - random.randrange(1, 2_000))
        token = random.choice(TOKENS)
        length = random.choice([1, 10, 1_000])
        change = random.randrange(6)
        if change == 0:
            data[place] ^= 1 << random.randrange(8)
        elif change == 1:
            data[place] = random.randrange(256)
        elif change == 2:
            data[place:place] = token
        elif change == 3:
            data[place : place + len(token)] = token
        elif change == 4 and len(data) > length + 1:
            del data[place : place + length]
        else:
            other = random.randrange(len(data))
            data[place:place] = data[other : other + length]
        if not data:
            data += b"x"
    return bytes(data)


def refusal(use: object, *arguments: object, **options: object) -> str | None:
    """The message if the table is refused; None if it is read. Anything else is a failure."""
    try:
        use(*arguments, **options)  # type: ignore[operator]
    except InputError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 2_000
        return message
    return None


def numbered(titles: pl.Series) -> dict[str, pa.Array]:
    return {"n": pa.array(range(len(titles)))}


@pytest.mark.parametrize("name", whole_files())
def test_mutated_tables(tmp_path: Path, name: str) -> None:
    content = whole_files()[name]
    path, out = tmp_path / name.rpartition("/")[2], tmp_path / "out.parquet"
    outcomes = set()
    for trial in range(TRIALS):
        random = Random(f"{name} {trial}")
        if trial == 0:
            path.write_bytes(content)
        elif name.endswith(".gz") and trial % 2:
            path.write_bytes(gzip.compress(mutated(random, gzip.decompress(content))))
        else:
            path.write_bytes(mutated(random, content))
        if name.startswith("visits"):
            outcomes.add(refusal(sessionize, path) is None)
            continue
        refusal(read_catalogue, path)
        options = {"description": "x", "quiet": True, "force": True}
        message = refusal(add_columns, path, out, "title", numbered, **options)
        outcomes.add(message is None)
        if message is None and not name.endswith("parquet"):
            with readable(path):
                expected = scan(path, "titles").collect()
            assert pl.read_parquet(out)["title"].to_list() == expected["title"].to_list()
    assert outcomes == {True, False}
