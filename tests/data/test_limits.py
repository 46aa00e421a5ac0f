"""Tables from anyone: bounded memory and time, and nothing dropped silently."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from vitrina.data import limits, parquet
from vitrina.data.catalogue import read_catalogue
from vitrina.data.limits import MAX_RECORD, text_blocks
from vitrina.data.stream import add_columns, title_batches
from vitrina.data.tables import scan
from vitrina.errors import InputError


def message_of(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def read(path: Path) -> pl.DataFrame:
    """The table as `title_batches` gives it."""
    return pl.concat(list(title_batches(path, "title")) or [scan(path, "x").head(0).collect()])


PIECES = st.sampled_from([b"a", b",", b'"', b"\n", b"\r\n", b"\\", b":", b"{", b" ", b"\xc3\xa9"])


@settings(deadline=None, max_examples=200)
@given(st.lists(PIECES, max_size=60), st.booleans(), st.integers(1, 5), st.integers(1, 9))
def test_blocks_hold_whole_records(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[bytes],
    is_json: bool,
    chunk: int,
    size: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks"
    content = b"".join(pieces)
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "_CHUNK_BYTES", chunk)
        patch.setattr(limits, "_BLOCK_BYTES", size)
        blocks = list(text_blocks(path, None if is_json else ","))
    assert b"".join(blocks) == content
    for block in blocks[:-1]:
        assert block.endswith(b"\n")
        assert is_json or block.count(b'"') % 2 == 0
    header = next((block for block in blocks if not limits.is_blank(block)), b"")
    body = header.lstrip(b"\r\n")
    if is_json or body.count(b'"') == 0:
        assert body.count(b"\n") <= 1


CSV_FILES = [
    b"\n\nid,title\n1,a\n",
    b"\xef\xbb\xbfid,title\n1,a\n",
    b"\xef\xbb\xbf\nid,title\n1,a\n",
    b"\r\n\r\nid,title\r\n1,a\r\n\r\n2,b",
    b'id,title\n1,"a\n\nb"\n3,""\n',
    b"id,title\n\n1,a\n\n",
    b"title\na\n\nb\n",
    b"id,title\n1\n2,b\n",
    b'title,"x\ny"\n1,2\n',
    b"title,title\n1,2\n",
    b"title",
    b"title\n   \n x \n",
    b'title\n"a""b"\n',
    b"title,\n1,2\n",
    b"title\na\rb\n",
]
JSON_FILES = [
    b'{"title":"a","x":1}\n{"title":null}\n',
    b'{"title":"a"}\n\n{"y":[1,{"z":1}]}',
    b'{"title":"\\u00e1\\"\\n"}\r\n{"title":1.5}\r\n',
    b'  {"title":"a"}  \n\n{"n":[]}\n{"n":[null]}\n',
]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", content) for content in CSV_FILES]
    + [("a.jsonl", content) for content in JSON_FILES],
)
def test_parts_give_the_table_that_polars_reads(
    tmp_path: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_BLOCK_BYTES", 1)  # a record a block
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        expected = scan(path, "titles").collect()
        assert_frame_equal(read(path), expected.with_columns(pl.col("title").cast(pl.String)))


N = 700
COLUMNS = {
    "integer": pl.Series(range(N), dtype=pl.Int16),
    "large": pl.Series([2**64 - 1 - i for i in range(N)], dtype=pl.UInt64),
    "binary": pl.Series([b"\xff"] * N),
    "date": pl.Series([date(2024, 2, 29)] * N),
    "zone": pl.Series([datetime(2024, 1, 1)] * N).dt.replace_time_zone("Europe/Madrid"),
    "duration": pl.Series([timedelta(seconds=5, microseconds=3)] * N),
    "time": pl.Series([time(1, 2, 3)] * N),
    "decimal": pl.Series([Decimal("1.25")] * N, dtype=pl.Decimal(20, 2)),
    "category": pl.Series([f"c{i % 5}" for i in range(N)], dtype=pl.Categorical),
    "enum": pl.Series([["b", "a", None][i % 3] for i in range(N)], dtype=pl.Enum(["b", "a"])),
    "null": pl.Series([None] * N),
    "list": pl.Series([[f"x{i}", None][: i % 3] for i in range(N)], dtype=pl.List(pl.String)),
    "categories": pl.Series([["a", "b"]] * N, dtype=pl.List(pl.Categorical)),
    "array": pl.Series([[1.0, 2.0]] * N, dtype=pl.Array(pl.Float32, 2)),
    "struct": pl.Series([{"a": i, "b": {"c": [i, None]}} for i in range(N)]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_types_of_parquet_files(tmp_path: Path, name: str) -> None:
    table = pl.DataFrame({"title": [f"t{i}" for i in range(N)], name: COLUMNS[name]})
    table.write_parquet(tmp_path / "a.parquet", row_group_size=300)
    result = read(tmp_path / "a.parquet")
    assert result.schema == table.schema
    assert_frame_equal(result, table)
    # the same columns in another order go together, others don't
    table.reverse().select(name, "title").write_parquet(tmp_path / "b.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert_frame_equal(
        pl.concat(list(title_batches(files, "title"))), table.vstack(table.reverse())
    )
    table.select("title").write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="can't be read together"):
        list(title_batches(files, "title"))


def test_a_batch_takes_few_bytes(tmp_path: Path) -> None:
    table = pl.DataFrame({"title": ["x" * 30_000] * 3_000})
    table.write_parquet(tmp_path / "a.parquet", row_group_size=3_000)
    table.write_csv(tmp_path / "a.csv")
    for path in tmp_path.iterdir():
        batches = list(title_batches(path, "title"))
        assert sum(map(len, batches)) == 3_000
        assert max(map(len, batches)) * 30_000 < 40 * 2**20
    wide = "title" + ",x" * 1_000 + "\n" + "a\n" * 6_000  # missing cells take memory, too
    (tmp_path / "a.csv").write_text(wide)
    assert max(map(len, title_batches(tmp_path / "a.csv", "title"))) * 1_000 * 16 < 40 * 2**20


LONG = b"0" * (limits.MAX_RECORD + 2 * 2**20)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"id,title\n1,a\n2," + LONG + b"\n", "row 3 has more than 16 MiB: is a quote"),
        ("a.csv.gz", gzip.compress(b"id,title\n" + LONG), "row 2 has more than 16 MiB: is a quote"),
        ("a.tsv", b'title\nb\n"' + b"abc\n" * 5_000_000, "row 3 has more than 16 MiB: is a quote"),
        ("a.jsonl", b'{"title":"' + LONG + b'"}\n', "row 1 has more than 16 MiB: shorten it"),
        ("a.csv", b"title" + b",x" * 10_000 + b"\n1\n", "has more than 10,000 columns: keep those"),
        (
            "a.jsonl",
            b'{"title":"a"}\n' + b"".join(b'{"k":{"k%d":1}}\n' % i for i in range(10_000)),
            "has more than 10,000 keys: keep those that are needed",
        ),
        ("a.csv", b"\x28\xb5\x2f\xfd" + b"x" * 99, "is compressed by zstd: compress it by gzip"),
        ("a.csv.gz", b"\x78\x9c" + b"x" * 99, "is compressed by zlib: compress it by gzip"),
    ],
)
def test_files_beyond_the_limits(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    uses: list[Callable[[Path], object]] = [lambda path: scan(path, "x"), read_catalogue, read]
    for use in uses:
        with pytest.raises(InputError) as error:
            use(tmp_path / name)
        assert message_of(error).startswith(f"{tmp_path / name}: {message}")


def test_a_gz_file_under_another_name_and_plain_text_named_gz(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"title\na\n"))
    (tmp_path / "b.csv.gz").write_bytes(b"title\na\n")
    for path in tmp_path.iterdir():
        assert read(path)["title"].to_list() == ["a"]


def test_keys_count_in_all_rows_of_all_files(tmp_path: Path) -> None:
    rows = b'{"title":"a"}\n' * 10_001
    (tmp_path / "1.jsonl").write_bytes(rows + b'{"title":"b","late":7}\n')
    assert read(tmp_path / "1.jsonl")["late"].to_list() == [None] * 10_001 + [7]
    (tmp_path / "2.jsonl").write_bytes(b'{"title":"c","size":{"w":1}}\n')
    (tmp_path / "3.jsonl.gz").write_bytes(gzip.compress(b'{"size":{"h":"x"},"late":1.5}\n'))
    files = [tmp_path / "1.jsonl", tmp_path / "2.jsonl", tmp_path / "3.jsonl.gz"]
    for table in (scan(files, "x").collect(), pl.concat(list(title_batches(files, "title")))):
        assert table["late"].to_list()[-3:] == [7, None, 1.5]
        sizes = [{"w": 1, "h": None}, {"w": None, "h": "x"}]
        assert table["size"].to_list()[-2:] == sizes


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"title":"a"}\n')
    assert scan(path, "x").collect_schema().names() == ["title"]
    path.write_text('{"title":"a","b":1}\n')
    assert scan(path, "x").collect_schema().names() == ["title", "b"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.Series([{}], dtype=pl.Struct([])), "column 'x' (Struct({})) can't be written"),
        (pl.Series([[{}]], dtype=pl.List(pl.Struct([]))), "column 'x' (List(Struct({}))) can't be"),
        (pl.Series([[]], dtype=pl.Array(pl.Int64, 0)), "column 'x' (Array(Int64, shape=(0,)))"),
        (pl.Series([1], dtype=pl.Int128), "column 'x' (Int128) can't be written to Parquet: drop"),
        (pl.Series([{"a\0b": 1}]), "column 'x' (Struct("),
    ],
)
def test_columns_that_parquet_can_not_hold(tmp_path: Path, column: pl.Series, message: str) -> None:
    table = pl.DataFrame({"title": ["a"], "x": column})
    with pytest.raises(InputError) as error:
        add_columns(
            table, tmp_path / "out.parquet", "title", lambda _: {}, description="x", quiet=True
        )
    assert message_of(error).startswith(f"the table given: {message}")


def test_an_empty_object_and_a_nul_in_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"title":"a","x":{}}\n')
    with pytest.raises(InputError, match=r"a\.jsonl: column 'x' .Struct.* can't be written"):
        read(tmp_path / "a.jsonl")
    (tmp_path / "a.csv").write_text("title,a\0\n1,2\n")
    with pytest.raises(InputError, match=r"a\.csv: the name of a column, 'a ', holds the char"):
        read(tmp_path / "a.csv")


def test_long_and_many_names_in_a_message(tmp_path: Path) -> None:
    names = ",".join(['"a\nb"', "y" * 10_000, *map(str, range(5_000))])
    (tmp_path / "a.csv").write_text(names + "\n")
    with pytest.raises(InputError) as error:
        read(tmp_path / "a.csv")
    message = message_of(error)
    assert f"there are: a b, {'y' * 100}…, 0, 1" in message
    assert "and 4,902 more: name it with `title_column`" in message
    assert len(message) < 1_000


def test_pages_of_parquet_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = [f"{i} " + "abc" * 2_000 for i in range(500)]  # their statistics make long headers
    path = tmp_path / "a.parquet"
    table = pa.table({"title": titles, "n": range(500)})
    for options in (
        {},
        {"use_dictionary": False, "data_page_size": 20_000},
        {"use_dictionary": False, "column_encoding": {"title": "DELTA_BYTE_ARRAY"}},
        {"data_page_version": "2.0", "compression": "none"},
    ):
        pq.write_table(table, path, row_group_size=200, **options)
        monkeypatch.setattr(parquet, "MAX_PAGE", 2**28)
        assert read(path)["title"].to_list() == titles
        monkeypatch.setattr(parquet, "MAX_PAGE", 4_000)
        with pytest.raises(InputError, match="a page of column 'title' has more than 0 MiB: write"):
            read(path)


def test_a_page_that_claims_to_be_large(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"title": ["abc" * 99] * 999}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    # the first header: field 1 (the type), then field 2, the size in a varint of two bytes
    assert content[4:7] == b"\x15\x04\x15"
    size = bytes([content[7] | 0x80, content[8] | 0x80, 0xFF, 0xFF, 0x0F])
    # the size grows by three bytes; readers find the page by its place and the footer
    path.write_bytes(bytes(content[:7]) + size + bytes(content[9:]))
    with pytest.raises(InputError, match=r"can't be read|has more than 256 MiB"):
        read(path)
    path.write_bytes(bytes(content[:4]) + b"\xff" * 200 + bytes(content[204:]))
    with pytest.raises(InputError, match="the header of a page is damaged"):
        read(path)


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical])
def test_texts_of_parquet_files(tmp_path: Path, dtype: type[pl.DataType]) -> None:
    path = tmp_path / "a.parquet"
    titles = ["b", LONG.decode(), None, "c"]
    pl.DataFrame({"title": titles}, schema={"title": dtype}).write_parquet(path)
    with pytest.raises(InputError, match=r"a text of column 'title' has more than 16 MiB: short"):
        read(path)
    titles[1] = "a" * MAX_RECORD
    pl.DataFrame({"title": titles * 5}, schema={"title": dtype}).write_parquet(path)
    assert read(path)["title"].cast(pl.String).to_list() == titles * 5


MEASURE = """
import resource, sys
from vitrina.data.stream import title_batches
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
list(title_batches(sys.argv[1], "title"))  # what is compiled and loaded once
before = peak()
rows = sum(len(batch) for batch in title_batches(sys.argv[2], "title"))
print(rows, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in Linux's unit")
@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz"])
def test_memory_does_not_grow_with_a_row_group_or_a_compressed_file(
    tmp_path: Path, name: str
) -> None:
    rows = 300_000
    line = b"x" * 1_000
    small, large = tmp_path / f"small-{name}", tmp_path / name
    if name == "a.parquet":
        for path, n in ((small, 10), (large, rows)):
            titles = pa.array([line.decode() + str(i) for i in range(n)])
            pq.write_table(
                pa.table({"title": titles}), path, row_group_size=rows, use_dictionary=False
            )
    else:
        header, row = b"title\n", line + b"\n"
        small.write_bytes(gzip.compress(header + row))
        member = gzip.compress(row * 50_000, 1)
        large.write_bytes(gzip.compress(header) + member * (rows // 50_000))
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, small, large], capture_output=True, text=True, check=True
    )
    count, growth = ran.stdout.split()
    assert int(count) == rows
    assert float(growth) < 200  # MiB, for 300 of titles


LIMITED = """
import resource, sys
from vitrina.data.catalogue import read_catalogue
from vitrina.data.sessions import sessionize
from vitrina.data.stream import title_batches
from vitrina.errors import InputError
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
limit = used + 1_000 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for use in (
    read_catalogue, sessionize, lambda path: sum(map(len, title_batches(path, "title")))
):
    try:
        use(sys.argv[1])
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of memory and /proc")
@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet"])
def test_too_little_memory_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.csv.gz":
        row = b"1,2024-01-01,5,title,c\n"
        member = gzip.compress(row * 500_000, 1)
        header = gzip.compress(b"user,timestamp,product_id,title,category\n")
        path.write_bytes(header + member * 30)
    else:
        n = 30_000_000  # that are a few kilobytes
        numbers = pa.repeat(pa.scalar(1_700_000_000), n)
        text = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), n), ["title"])
        columns = {"user": numbers, "timestamp": numbers, "product_id": numbers, "title": text}
        pq.write_table(pa.table(columns | {"category": text}), path, row_group_size=n)
        assert path.stat().st_size < 1_000_000
    ran = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True)
    assert ran.stderr == ""
    assert ran.returncode == 0
    lines = ran.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") and "memory" in line for line in lines)
