"""Reading tables from real files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest

from vitrina.data.catalogue import read_catalogue
from vitrina.data.stream import add_columns
from vitrina.data.tables import readable, require_columns, scan
from vitrina.errors import InputError

TABLE = pl.DataFrame({"id": ["1", "2", "3"], "title": ["uno", "dos, más", 'tres "3"']})
CSV = TABLE.write_csv().encode()
TSV = TABLE.write_csv(separator="\t").encode()
JSON_LINES = TABLE.write_ndjson().encode()


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.CSV", CSV),
        ("a.csv.gz", gzip.compress(CSV)),
        ("a.tsv", TSV),
        ("a.tsv.gz", gzip.compress(TSV)),
        ("a.jsonl", JSON_LINES),
        ("a.ndjson", JSON_LINES),
        ("a.jl", JSON_LINES),
        ("a.json-lines", JSON_LINES),
        ("a.jl.gz", gzip.compress(JSON_LINES)),
    ],
)
def test_every_format_gives_the_same_table(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert scan(tmp_path / name, "events").collect().equals(TABLE)
    assert scan(str(tmp_path / name), "events").collect().equals(TABLE)


def test_parquet_and_frames(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "a.parquet")
    for source in (tmp_path / "a.parquet", TABLE, TABLE.lazy()):
        assert scan(source, "events").collect().equals(TABLE)


def test_several_files_and_globs_keep_their_order(tmp_path: Path) -> None:
    for i in (2, 10, 1):
        (tmp_path / f"part-{i:02}.csv").write_text(f"id\n{i}\n")
    given_order = [tmp_path / "part-10.csv", tmp_path / "part-01.csv"]
    assert scan(given_order, "events").collect()["id"].to_list() == ["10", "1"]
    for pattern in ("part-*.csv", "part-[0-9]?.csv"):
        assert scan(tmp_path / pattern, "events").collect()["id"].to_list() == ["1", "2", "10"]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "part-02.csv").write_text("id\n22\n")
    assert scan(f"{tmp_path}/*/part-02.csv", "x").collect()["id"].to_list() == ["22"]
    assert scan(f"{tmp_path}/**/part-02.csv", "x").collect()["id"].to_list() == ["22", "2"]


def test_a_file_named_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_text("id\n7\n")
    (tmp_path / "a1.csv").write_text("id\n8\n")
    assert scan(tmp_path / "a[1].csv", "events").collect()["id"].to_list() == ["7"]


def test_ids_in_csv_keep_leading_zeros_and_may_turn_to_text_late(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n" + "0525514023\n" * 20_000 + "B07PXGQC1Q\n")
    column = scan(tmp_path / "a.csv", "events").collect()["id"]
    assert column[0] == "0525514023"
    assert column[-1] == "B07PXGQC1Q"


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        scan(tmp_path / "no.csv", "events")
    assert one_line(error) == f"events: {tmp_path / 'no.csv'}: no such file: check the path"
    with pytest.raises(InputError, match=r"catalogue: no file matches .*no\*\.csv"):
        scan(tmp_path / "no*.csv", "catalogue")
    with pytest.raises(InputError, match="titles: no file given"):
        scan([], "titles")


def test_unknown_extensions_folders_empty_and_mixed_files(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.xlsx: unknown extension: use \.parquet, .*\.csv"):
        scan(tmp_path / "a.xlsx", "events")
    (tmp_path / "a.parquet.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"all but Parquet also with .gz"):
        scan(tmp_path / "a.parquet.gz", "events")
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "1.jsonl.gz").write_bytes(gzip.compress(JSON_LINES))
    with pytest.raises(InputError, match=r"parts is a folder: .*parts/\*\.jsonl\.gz"):
        scan(folder, "events")
    for suffix in ("csv", "parquet", "jsonl"):
        (tmp_path / f"empty.{suffix}").touch()
        with pytest.raises(InputError, match=rf"empty\.{suffix} is empty"):
            scan(tmp_path / f"empty.{suffix}", "events")
    (tmp_path / "b.csv").write_bytes(CSV)
    TABLE.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"different formats: .*b\.csv \(CSV\), .*\(Parquet\)"):
        scan(tmp_path / "b.*", "events")


def damaged(folder: Path) -> dict[str, Path]:
    """Files that are truncated or hold garbage, each of another kind."""
    numbers = pl.DataFrame({"id": range(50_000), "title": "x"})
    numbers.write_parquet(folder / "whole.parquet")
    parquet = (folder / "whole.parquet").read_bytes()
    zipped = gzip.compress(numbers.write_csv().encode())
    lines = numbers.head(100).write_ndjson().encode()
    middle = len(parquet) // 4
    files = {
        "truncated.parquet": parquet[:-100],
        "rubbish.parquet": parquet[:100] + b"\xff" * middle + parquet[100 + middle :],
        "notparquet.parquet": b"user,timestamp,product_id\n",
        "truncated.csv.gz": zipped[: len(zipped) // 2],
        "rubbish.csv.gz": zipped[:200] + b"\0" * 500 + zipped[700:],
        "truncated.jsonl": lines[:-10],
        "truncated.jsonl.gz": gzip.compress(lines * 50)[:-100],
        "ragged.csv": b"id,title\n1,a\n2,b,c\n",
        "latin1.csv": "id,title\n1,más\n".encode("latin1"),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


def test_damaged_files_are_named_in_one_line(tmp_path: Path) -> None:
    for name, path in damaged(tmp_path).items():
        with pytest.raises(InputError) as error, readable(path):
            scan(path, "events").collect()
        assert f"{path}: can't be read (" in one_line(error), name


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl"])
def test_latin_1_is_told_apart_from_damage(tmp_path: Path, name: str) -> None:
    table = pl.DataFrame({"product_id": ["1", "2"], "title": ["más", "año"]})
    text = table.write_ndjson() if "json" in name else None
    content = (text or table.write_csv(separator="\t" if "tsv" in name else ",")).encode("latin1")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputError) as error:
        read_catalogue(tmp_path / name)
    assert one_line(error).startswith(f"{tmp_path / name}: can't be read (")
    assert one_line(error).endswith("): save it as UTF-8 (in Excel: 'CSV UTF-8')")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("título,id\n".encode("latin1"), "save it as UTF-8 (in Excel: 'CSV UTF-8')"),
        ("id,título\n1,más\n".encode("utf-16"), "is in UTF-16 or no text: save it as UTF-8"),
        ("id,título\n1,más\n".encode("utf-16-le"), "is in UTF-16 or no text: save it as UTF-8"),
        (
            "id;título\n1;más, muy\n".encode(),
            "no column 'título'; there are: id;título: save it wi",
        ),
        ("id\ttítulo\n1\tmás\n".encode(), "tabs are between the columns: rename it to .tsv"),
    ],
)
def test_a_header_that_shows_how_a_text_was_saved(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        require_columns(scan(path, "catalogue"), {"title": "título"}, path)
    message = one_line(error)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\0" not in message


def test_files_that_may_not_be_read() -> None:
    with TemporaryDirectory() as name:  # other users can't read pytest's folders
        folder, closed = Path(name), Path(name) / "closed"
        closed.mkdir()
        (closed / "a.csv").write_bytes(CSV)
        (folder / "a.csv").write_bytes(CSV)
        (folder / "a.csv").chmod(0)
        closed.chmod(0)
        folder.chmod(0o755)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            for path in (folder / "a.csv", closed / "a.csv", closed):
                with pytest.raises(InputError, match="right to read it") as error:
                    add_columns(
                        path, folder / "out.parquet", "title", dict, description="x", quiet=True
                    )
                assert f"{path}: can't be read (Permission denied" in one_line(error)
        finally:
            if was_root:
                os.seteuid(0)
            closed.chmod(0o700)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"events: .*xx\.csv: can't be read \(File name too long\)"
    ):
        scan(tmp_path / ("x" * 300 + ".csv"), "events")


def test_the_damaged_one_among_several_is_named(tmp_path: Path) -> None:
    bad = damaged(tmp_path)["truncated.csv.gz"]
    (tmp_path / "a.csv").write_bytes(CSV)
    files = [tmp_path / "a.csv", bad]
    with pytest.raises(InputError, match=r"truncated\.csv\.gz: can't be read"), readable(files):
        scan(files, "events").collect()
    # the same for a lazy frame, whose plan names its files
    frame = pl.scan_csv(files, infer_schema=False).filter(pl.col("id") != "0")
    with pytest.raises(InputError, match=r"truncated\.csv\.gz: can't be read"), readable(frame):
        frame.collect()


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "1.parquet")
    TABLE.rename({"title": "name"}).write_parquet(tmp_path / "2.parquet")
    files = tmp_path / "*.parquet"
    with pytest.raises(InputError) as error, readable(files):
        scan(files, "events").collect()
    assert "1.parquet and 1 more can't be read together" in one_line(error)


def test_require_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CSV)
    frame = scan(path, "events")
    require_columns(frame, {"product": "id", "title": "title"}, path)
    require_columns(frame, ["id"], path)
    with pytest.raises(InputError) as error:
        require_columns(frame, {"product": "id", "time": "timestamp"}, path)
    assert one_line(error) == (
        f"{path}: no column 'timestamp'; there are: id, title: name it with `time_column`"
    )
    with pytest.raises(InputError) as error:
        require_columns(frame, {"product": "sku", "time": "timestamp", "title": "title"}, path)
    assert one_line(error) == (
        f"{path}: no columns 'sku' and 'timestamp'; there are: id, title: name them with "
        "`product_column` and `time_column`"
    )
    with pytest.raises(InputError, match=r"no columns 'a', 'b' and 'c'; .*: rename yours"):
        require_columns(frame, ["a", "id", "b", "c", "a"], path, "rename yours")
    with pytest.raises(InputError, match="the table given: no column 'x'"):
        require_columns(TABLE.lazy(), ["x"], TABLE)
