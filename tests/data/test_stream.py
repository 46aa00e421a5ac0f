"""Adding columns to tables, from real files to real Parquet files."""

from __future__ import annotations

import datetime
import gzip
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from vitrina.data.stream import add_columns, title_batches
from vitrina.errors import InputError

ROWS = 40_001  # three batches


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def lengths(titles: pl.Series) -> dict[str, pa.Array]:
    """A vector of two numbers: the length of the title, and whether there is a title."""
    numbers = pl.select(
        pl.concat_list(titles.str.len_chars().fill_null(-1), titles.is_not_null().cast(pl.UInt32))
    ).to_series()
    flat = pa.array(numbers.explode().cast(pl.Float32).to_numpy())
    return {"vector": pa.FixedSizeListArray.from_arrays(flat, 2)}


def run(source: object, out: Path, title_column: str = "title", *, force: bool = False) -> int:
    return add_columns(
        source,  # type: ignore[arg-type]
        out,
        title_column,
        lengths,
        description="lengths",
        force=force,
        quiet=True,
    )


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    """Columns of many types; every third title is missing."""
    n = pl.int_range(ROWS)
    return pl.select(
        pl.format("id-{}", n).alias("id"),
        pl.when(n % 3 > 0).then(pl.format("title {}", n % 1000)).alias("title"),
        (n / 7).alias("price"),
        (n % 2 == 0).alias("new"),
        pl.concat_list(n % 5, n % 7).alias("tags"),
        pl.struct(n.alias("w"), pl.concat_list(n % 3).alias("h")).alias("size.cm"),
        pl.lit(datetime.date(2024, 2, 29)).alias("day"),
        pl.format("shop {}", n % 9).cast(pl.Categorical).alias("shop"),
    )


def test_columns_rows_and_order_are_kept(table: pl.DataFrame, tmp_path: Path) -> None:
    table.write_parquet(tmp_path / "in.parquet")
    out = tmp_path / "deeper" / "out.parquet"
    assert run(tmp_path / "in.parquet", out) == ROWS
    result = pl.read_parquet(out)
    assert result.columns == [*table.columns, "vector"]
    assert_frame_equal(result.drop("vector"), table, categorical_as_str=True)
    assert result.schema["vector"] == pl.Array(pl.Float32, 2)
    expected = table["title"].str.len_chars().cast(pl.Float32).fill_null(-1)
    assert result["vector"].arr.get(0).equals(expected, check_names=False)
    assert pq.read_schema(out).field("vector").type == pa.list_(pa.float32(), 2)
    assert [p.name for p in out.parent.iterdir()] == ["out.parquet"]


def test_batches_are_bounded_and_in_order(table: pl.DataFrame, tmp_path: Path) -> None:
    table.write_parquet(tmp_path / "in.parquet", row_group_size=ROWS)  # a single row group
    table.drop("tags", "size.cm").write_csv(tmp_path / "in.csv")
    for source in (tmp_path / "in.parquet", tmp_path / "in.csv", table, table.lazy()):
        batches = list(title_batches(source, "title"))
        assert len(batches) > 1
        assert max(map(len, batches)) <= 4_096
        assert all(batch.schema["title"] == pl.String for batch in batches)
        assert pl.concat(batches)["title"].equals(table["title"])


def test_how_columns_are_stored(table: pl.DataFrame, tmp_path: Path) -> None:
    run(table, tmp_path / "out.parquet")
    group = pq.read_metadata(tmp_path / "out.parquet").row_group(0)
    columns = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
    assert {"tags.list.element", "size.cm.w", "size.cm.h.list.element"} <= set(columns)
    for path, column in columns.items():
        own = path.startswith("vector")
        assert column.compression == ("UNCOMPRESSED" if own else "ZSTD"), path
        if own or path == "shop":
            assert column.has_dictionary_page == (not own)


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz", "in.tsv", "in.jsonl", "in.jsonl.gz"])
def test_text_formats(name: str, tmp_path: Path) -> None:
    table = pl.DataFrame(
        {"id": ["007", "8", "9"], "title": ["a, «b»", None, 'ñ "x"'], "note": ["", "x", None]}
    )
    if "json" in name:
        content = table.write_ndjson().encode()
    else:
        separator = "," if "csv" in name else "\t"
        content = table.write_csv(separator=separator).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert run(tmp_path / name, tmp_path / "out.parquet") == 3
    result = pl.read_parquet(tmp_path / "out.parquet")
    assert result["id"].to_list() == ["007", "8", "9"]
    assert result["title"].to_list() == ["a, «b»", None, 'ñ "x"']
    assert result["vector"].to_list() == [[6, 1], [-1, 0], [5, 1]]


def test_several_files_and_a_title_column_of_another_name(tmp_path: Path) -> None:
    for part, titles in enumerate((["a"], ["bb", None])):
        pl.DataFrame({"nombre": titles}, {"nombre": pl.String}).write_parquet(
            tmp_path / f"part-{part}.parquet"
        )
    assert run(tmp_path / "part-*.parquet", tmp_path / "out.parquet", "nombre") == 3
    assert pl.read_parquet(tmp_path / "out.parquet")["nombre"].to_list() == ["a", "bb", None]


def test_titles_that_are_categories_or_all_missing(tmp_path: Path) -> None:
    for dtype, titles in (
        (pl.Categorical, ["a", None]),
        (pl.Enum(["b", "a"]), ["a", None]),
        (pl.Null, [None, None]),
    ):
        frame = pl.DataFrame({"title": pl.Series(titles, dtype=dtype)})
        run(frame, tmp_path / "out.parquet", force=True)
        assert pl.read_parquet(tmp_path / "out.parquet")["title"].to_list() == titles


def test_an_output_may_replace_its_input(table: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table.write_parquet(path)
    with pytest.raises(InputError) as error:
        run(path, path)
    assert one_line(error).startswith(f"{path}: exists already")
    assert_frame_equal(pl.read_parquet(path), table)
    assert run(path, path, force=True) == ROWS
    assert pl.read_parquet(path).columns[-1] == "vector"


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            pl.DataFrame({"name": ["a"]}),
            "no column 'title'; there are: name: name it with `title_column`",
        ),
        (pl.DataFrame({"title": [1]}), "column 'title' (Int64) holds no text; name the column"),
        (pl.DataFrame({"title": [["a"]]}), "column 'title' (List(String)) holds no text; name"),
        (pl.DataFrame({"title": [b"a"]}), "column 'title' (Binary) holds no text; name"),
        (
            pl.DataFrame({"title": ["a"], "vector": [1]}),
            "has a column 'vector' already, which the output needs; rename it",
        ),
        (
            pl.DataFrame({"title": []}, {"title": pl.String}),
            "has no rows; give a table with titles",
        ),
    ],
)
def test_tables_that_will_not_do(tmp_path: Path, frame: pl.DataFrame, expected: str) -> None:
    frame.write_parquet(tmp_path / "in.parquet")
    out = tmp_path / "out" / "out.parquet"
    out.parent.mkdir()
    with pytest.raises(InputError) as error:
        run(tmp_path / "in.parquet", out)
    assert one_line(error).startswith(f"{tmp_path / 'in.parquet'}: {expected}")
    with pytest.raises(InputError) as error:
        run(frame, out)
    assert one_line(error).startswith(f"the table given: {expected}")
    assert not list(out.parent.iterdir())
    with pytest.raises(InputError):
        run(frame, tmp_path / "new" / "out.parquet")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["scores", "scores.csv", "scores.parquet.gz"])
def test_an_output_is_named_as_what_it_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as error:
        run(pl.DataFrame({"title": ["a"]}), tmp_path / name)
    expected = "the output is Parquet; give a name that ends in .parquet"
    assert one_line(error) == f"{tmp_path / name}: {expected}"
    assert not list(tmp_path.iterdir())


def test_a_tilde_in_an_output_is_a_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(pl.DataFrame({"title": ["a"]}), Path("~", "out.parquet"))
    assert pl.read_parquet(tmp_path / "~" / "out.parquet", glob=False)["title"].to_list() == ["a"]


def test_a_header_alone(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,title\n")
    with pytest.raises(InputError) as error:
        run(tmp_path / "in.csv", tmp_path / "out.parquet")
    assert one_line(error) == f"{tmp_path / 'in.csv'}: has no rows; give a table with titles"


@pytest.mark.parametrize("name", ["in.parquet", "in.csv.gz", "in.jsonl"])
def test_half_a_file_leaves_no_output(table: pl.DataFrame, tmp_path: Path, name: str) -> None:
    source, out = tmp_path / name, tmp_path / "out" / "out.parquet"
    out.parent.mkdir()
    out.write_bytes(b"old")
    if name == "in.parquet":
        table.write_parquet(source, row_group_size=5_000)
        whole = bytearray(source.read_bytes())
        # the footer stays undamaged, so only reading the later pages fails
        whole[len(whole) // 2 : len(whole) * 3 // 4] = bytes(len(whole) * 3 // 4 - len(whole) // 2)
        source.write_bytes(whole)
    elif name == "in.csv.gz":
        whole_csv = gzip.compress(table.drop("tags", "size.cm").write_csv().encode())
        source.write_bytes(whole_csv[: len(whole_csv) // 2])
    else:
        text = table.select("id", "title").write_ndjson()
        source.write_text(text[: len(text) * 3 // 4] + '\n{"id": 3, "tit')
    with pytest.raises(InputError) as error:
        run(source, out, force=True)
    assert one_line(error).startswith(f"{source}: can't be read (")
    assert [p.name for p in out.parent.iterdir()] == ["out.parquet"]
    assert out.read_bytes() == b"old"


def test_an_error_of_the_function_leaves_no_output(table: pl.DataFrame, tmp_path: Path) -> None:
    seen = 0

    def fail_later(titles: pl.Series) -> dict[str, pa.Array]:
        nonlocal seen
        seen += len(titles)
        if seen > 20_000:
            raise ZeroDivisionError
        return lengths(titles)

    with pytest.raises(ZeroDivisionError):
        add_columns(
            table, tmp_path / "out.parquet", "title", fail_later, description="x", quiet=True
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX's")
def test_a_full_disk(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
import polars as pl, pyarrow as pa
from vitrina.data.stream import add_columns
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
def numbers(titles):
    return {"n": pa.array(pl.int_range(len(titles), eager=True).to_numpy())}
try:
    table = pl.DataFrame({"title": [str(i) for i in range(40_000)]})
    add_columns(table, sys.argv[1], "title", numbers, description="x", quiet=True)
except Exception as error:
    print(type(error).__name__, error)
"""
    out = tmp_path / "out.parquet"
    ran = subprocess.run(
        [sys.executable, "-c", program, out], capture_output=True, text=True, check=True
    )
    expected = f"InputError {out}: the disk is full; free some space and run the command again\n"
    assert ran.stdout == expected
    assert not list(tmp_path.iterdir())
