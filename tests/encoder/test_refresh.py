"""A refreshed file is the file of a full run, and its changes lead from one to the other."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.data import keyed_rows, stream
from vitrina.encoder import refresh
from vitrina.encoder.embed import embed_file
from vitrina.encoder.refresh import refresh_file
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.errors import InputError
from vitrina.text.tokenizer import TitleTokenizer

ROWS = 12_000  # three batches
SCHEMA = {"id": pl.Int64, "title": pl.String, "price": pl.Float64}


class CountingEncoder(TitleEncoder):
    """An encoder that counts the titles it encodes."""

    count = 0

    def encode(self, titles: Any) -> Any:
        self.count += len(titles)
        return super().encode(titles)


@pytest.fixture(scope="module")
def catalogue(grocery_titles: list[str]) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    first, second = rng.choice(grocery_titles, (2, ROWS))
    titles = [f"{a} {b}" for a, b in zip(first, second, strict=True)]
    return pl.DataFrame({"id": range(ROWS), "title": titles, "price": rng.random(ROWS)}, SCHEMA)


def vectors_by_key(file: Path) -> dict[Any, bytes]:
    rows = pl.read_parquet(file)
    vectors = rows["vector"].to_numpy()
    return {key: vector.tobytes() for key, vector in zip(rows["id"], vectors, strict=True)}


def applied(before: dict[Any, bytes], changes: Path) -> dict[Any, bytes]:
    """What a store has after the operations of a change file."""
    store = dict(before)
    for row in pl.read_parquet(changes).rows(named=True):
        if row["operation"] == "delete":
            del store[row["id"]]
            assert row["title"] is None
        else:
            store[row["id"]] = np.array(row["vector"], np.float32).tobytes()
    return store


def refreshed(
    encoder: TitleEncoder, new: pl.DataFrame, file: Path, changes: Path
) -> dict[str, int]:
    """Refresh a file, and compare it with a full run and its changes with the difference."""
    before = vectors_by_key(file)
    counts = refresh_file(encoder, new, file, changes=changes, force=True, quiet=True)
    full = file.with_name("full.parquet")
    embed_file(encoder, new, full, key_column="id", force=True, quiet=True)
    assert file.read_bytes() == full.read_bytes()
    after = vectors_by_key(file)
    assert applied(before, changes) == after

    both = before.keys() & after.keys()
    changed = {key for key in both if before[key] != after[key]}
    assert counts == {
        "unchanged": len(both) - len(changed),
        "changed": len(changed),
        "added": len(after.keys() - before.keys()),
        "deleted": len(before.keys() - after.keys()),
    }
    rows = pl.read_parquet(changes)
    assert set(rows.filter(operation="upsert")["id"]) == changed | (after.keys() - before.keys())
    return counts


@pytest.fixture
def small_batches() -> Iterator[None]:
    """Batches and row groups of a few rows, so that small tables have many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_BATCH_ROWS", 5)
        patch.setattr(keyed_rows, "_PARTS", 3)
        patch.setattr(refresh, "_LEAST_COPIED", 2)
        patch.setattr(refresh, "_KEPT_GROUPS", 2)
        yield


# titles of equal and of different pieces, of punctuation alone, and none
TITLES = st.none() | st.sampled_from(
    [
        "MILK 12 OZ",
        "milk, 12 oz!",
        "MILK 12OZ",
        "APPLE-JUICE",
        "APPLE JUICE",
        "",
        "...",
        "ñandú",
        "?",
    ]
)
EDITS = st.one_of(
    st.tuples(st.just("insert"), st.integers(0, 40), TITLES, st.integers(0, 40)),
    st.tuples(st.just("delete"), st.integers(0, 40)),
    st.tuples(st.just("title"), st.integers(0, 40), TITLES),
    st.tuples(st.just("price"), st.integers(0, 40)),
    st.tuples(st.just("order"), st.randoms(use_true_random=False)),
)


def edit(rows: list[tuple[int, str | None, float]], what: Any) -> None:
    """Apply one edit to a catalogue; those of keys that it lacks, or has already, do nothing."""
    keys = [row[0] for row in rows]
    if what[0] == "order":
        what[1].shuffle(rows)
    elif what[0] == "insert":
        if what[1] not in keys:
            rows.insert(what[3], (what[1], what[2], 1.0))
    elif what[1] in keys:
        place = keys.index(what[1])
        key, title, price = rows[place]
        if what[0] == "delete" and len(rows) > 1:
            del rows[place]
        elif what[0] == "title":
            rows[place] = (key, what[2], price)
        elif what[0] == "price":
            rows[place] = (key, title, price + 1)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("kind", ["contextual", "lexical"])
def test_any_sequence_of_edits(
    kind: str,
    encoder: TitleEncoder,
    lexical_encoder: TitleEncoder,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = encoder if kind == "contextual" else lexical_encoder

    @settings(max_examples=25, deadline=None)
    @given(
        start=st.lists(TITLES, min_size=1, max_size=25),
        runs=st.lists(st.lists(EDITS, max_size=12), min_size=1, max_size=3),
    )
    def check(start: list[str | None], runs: list[list[Any]]) -> None:
        folder = tmp_path_factory.mktemp("edits")
        rows = [(number, title, 1.0) for number, title in enumerate(start)]
        file = folder / "vectors.parquet"
        table = pl.DataFrame(rows, SCHEMA, orient="row")
        embed_file(model, table, file, key_column="id", quiet=True)
        for edits in runs:
            for what in edits:
                edit(rows, what)
            table = pl.DataFrame(rows, SCHEMA, orient="row")
            refreshed(model, table, file, folder / "changes.parquet")

    check()


def test_unchanged_vectors_are_copied(
    encoder: TitleEncoder, catalogue: pl.DataFrame, tmp_path: Path
) -> None:
    file, changes = tmp_path / "vectors.parquet", tmp_path / "changes.parquet"
    embed_file(encoder, catalogue, file, key_column="id", quiet=True)
    is_changed = pl.col("id") % 100 == 7
    is_respelled = pl.col("id") % 100 == 8
    new = catalogue.with_columns(
        title=pl.when(is_changed)
        .then(pl.col("title") + " NEW")
        .when(is_respelled)
        .then(pl.col("title").str.to_lowercase() + " !")
        .otherwise("title"),
        price=pl.col("price") * 2,
    )
    new = pl.concat([new[:50], new[70:], new[:9].with_columns(id=pl.col("id") + ROWS)])
    counting = CountingEncoder(encoder.weights)
    counts = refresh_file(counting, new, file, changes=changes, quiet=True)
    # changed and respelled titles and those before them, new ones, a check of each row group, and
    # what a batch has of a row group that the next batch reads
    assert counting.count <= 3 * 120 + 2 * 120 + 9 + 3 + 2 * 20
    assert counts == {"unchanged": 11_860, "changed": 120, "added": 9, "deleted": 20}
    embed_file(encoder, new, tmp_path / "full.parquet", key_column="id", quiet=True)
    assert file.read_bytes() == (tmp_path / "full.parquet").read_bytes()
    rows = pl.read_parquet(changes)
    assert rows.columns == ["operation", *catalogue.columns, "vector", "encoder"]
    assert rows["operation"].to_list() == ["upsert"] * 129 + ["delete"] * 20
    assert rows.filter(operation="delete")["id"].to_list() == list(range(50, 70))
    assert rows["encoder"].unique().to_list() == [encoder.weights.digest]

    again = refresh_file(encoder, new, file, changes=changes, force=True, quiet=True)
    assert again == {"unchanged": len(new), "changed": 0, "added": 0, "deleted": 0}
    assert pl.read_parquet(changes).is_empty()


def test_any_order_and_format(
    encoder: TitleEncoder, catalogue: pl.DataFrame, tmp_path: Path
) -> None:
    file, changes = tmp_path / "vectors.parquet", tmp_path / "changes.parquet"
    embed_file(encoder, catalogue, file, key_column="id", quiet=True)
    refreshed(encoder, catalogue.sample(fraction=1, shuffle=True, seed=1), file, changes)
    refreshed(encoder, catalogue.reverse(), file, changes)
    # keys of text, from a file of another format
    text = catalogue.with_columns(id=pl.format("00{}", "id"))
    text.write_csv(tmp_path / "one.csv")
    embed_file(encoder, tmp_path / "one.csv", file, key_column="id", force=True, quiet=True)
    text[5:].write_csv(tmp_path / "two.csv")
    counts = refresh_file(encoder, tmp_path / "two.csv", file, quiet=True)
    assert (counts["unchanged"], counts["deleted"]) == (ROWS - 5, 5)


def test_keys_of_other_types(encoder: TitleEncoder, tmp_path: Path) -> None:
    file, changes = tmp_path / "vectors.parquet", tmp_path / "changes.parquet"
    table = pl.DataFrame({"id": [-1, 2, 3], "title": ["milk", "tea", "tea 2"]})
    for key, dtype in (("id", pl.Int16), ("id", pl.Float64), ("title", pl.Int64)):
        embed_file(encoder, table, file, key_column=key, force=True, quiet=True)
        new = table[1:].cast({"id": dtype})
        counts = refresh_file(encoder, new, file, changes=changes, force=True, quiet=True)
        assert (counts["unchanged"], counts["deleted"]) == (2, 1)
        assert pl.read_parquet(changes)[key].to_list() == [table[key][0]]
        embed_file(encoder, new, tmp_path / "full.parquet", key_column=key, force=True, quiet=True)
        assert file.read_bytes() == (tmp_path / "full.parquet").read_bytes()
    embed_file(encoder, table, file, key_column="id", force=True, quiet=True)
    with pytest.raises(InputError, match=r"column 'id' \(UInt8\) can't hold all keys of"):
        refresh_file(
            encoder, table[1:].cast({"id": pl.UInt8}), file, changes=changes, force=True, quiet=True
        )


def test_mistakes_leave_everything_as_it_is(
    encoder: TitleEncoder, tokenizer: TitleTokenizer, tmp_path: Path
) -> None:
    table = pl.DataFrame({"id": [1, 2], "title": ["a", "b"]})
    file, out = tmp_path / "vectors.parquet", tmp_path / "changes.parquet"
    embed_file(encoder, table, file, key_column="id", quiet=True)
    content = file.read_bytes()

    def line(
        model: TitleEncoder = encoder, new: pl.DataFrame = table, to: Path = file, **options: Any
    ) -> str:
        with pytest.raises(InputError) as error:
            refresh_file(model, new, to, quiet=True, **options)
        assert file.read_bytes() == content
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []
        return str(error.value)

    other = TitleEncoder(initial_weights(tokenizer, dim=32, filters=16, seed=1))
    found, wanted = encoder.weights.digest[:12], other.weights.digest[:12]
    assert f"vectors of the encoder {found}, not of {wanted}; give that encoder" in line(other)
    exact = TitleEncoder(encoder.weights, table="float32")
    assert "table of int8, not of float32" in line(exact)
    assert "no column 'id'; there are: title" in line(new=table.drop("id"))
    assert "no column 'title'; there are: id" in line(new=table.drop("title"))
    twice = pl.concat([table, table[1:]])
    assert "column 'id' has '2' in row 1 and in row 2; a key must be unique" in line(new=twice)
    missing = table.with_columns(id=pl.Series([None, 1]))
    assert "column 'id' has no value in row 0" in line(new=missing)
    text = table.with_columns(id=pl.col("id").cast(pl.String))
    assert "column 'id' is String, but Int64 in" in line(new=text)
    assert "has no rows; give a table with titles" in line(new=table.clear())
    assert "has a column 'vector' already" in line(new=table.with_columns(vector=1))
    operation = table.with_columns(operation=pl.lit("x"))
    assert "has a column 'operation' already" in line(new=operation, changes=out)
    assert "is the file of vectors" in line(changes=file, force=True)
    assert "give a name that ends in .parquet" in line(changes=tmp_path / "changes.csv")
    assert not out.exists()
    out.write_text("precious")
    assert "exists already" in line(changes=out)
    assert out.read_text() == "precious"

    assert "no such file" in line(to=tmp_path / "nowhere.parquet")
    embed_file(encoder, table, tmp_path / "keyless.parquet", quiet=True)
    assert "has no key; embed the catalogue again" in line(to=tmp_path / "keyless.parquet")
    pl.read_parquet(file).write_parquet(tmp_path / "bare.parquet")  # polars drops the metadata
    assert "doesn't say which encoder" in line(to=tmp_path / "bare.parquet")
    (tmp_path / "cut.parquet").write_bytes(content[:-50])
    assert "can't be read" in line(to=tmp_path / "cut.parquet")


def test_keys_are_checked_before_a_file_is_embedded(encoder: TitleEncoder, tmp_path: Path) -> None:
    table = pl.DataFrame({"id": ["a", "b", "a"], "title": ["x", "y", "z"]})
    for column, message in (("id", "has 'a' in row 0 and in row 2"), ("sku", "name it with `key_")):
        with pytest.raises(InputError, match=message):
            embed_file(
                encoder, table, tmp_path / "new" / "out.parquet", key_column=column, quiet=True
            )
    assert not list(tmp_path.iterdir())


def test_a_file_with_rows_of_two_encoders(
    encoder: TitleEncoder, tokenizer: TitleTokenizer, tmp_path: Path
) -> None:
    other = TitleEncoder(initial_weights(tokenizer, dim=32, filters=16, seed=1))
    table = pl.DataFrame({"id": [1, 2], "title": ["milk", "tea"]})
    parts = []
    for number, model in enumerate((encoder, other)):
        part = tmp_path / f"{number}.parquet"
        embed_file(model, table[number : number + 1], part, key_column="id", quiet=True)
        parts.append(pq.read_table(part))
    # joined files have the metadata of the first
    pq.write_table(pa.concat_tables(parts), tmp_path / "both.parquet")
    first, second = (model.weights.digest[:12] for model in (encoder, other))
    with pytest.raises(InputError, match=f"encoder {second} among those of {first}; embed"):
        refresh_file(encoder, table, tmp_path / "both.parquet", quiet=True)


def test_a_vector_that_is_not_its_title_s_is_not_copied(
    encoder: TitleEncoder, catalogue: pl.DataFrame, tmp_path: Path
) -> None:
    file = tmp_path / "vectors.parquet"
    embed_file(encoder, catalogue, file, key_column="id", quiet=True)
    table = pq.read_table(file)
    moved = table.set_column(
        table.schema.get_field_index("vector"), "vector", table["vector"].combine_chunks()[::-1]
    )
    pq.write_table(moved, file, row_group_size=4_096)
    before = file.read_bytes()
    with pytest.raises(InputError, match="has another vector than the encoder"):
        refresh_file(encoder, catalogue, file, quiet=True)
    assert file.read_bytes() == before


def test_a_catalogue_that_changes_while_it_is_read(
    encoder: TitleEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, source = tmp_path / "vectors.parquet", tmp_path / "catalogue.csv"
    table = pl.DataFrame({"id": ["1", "2"], "title": ["milk", "tea"]})
    embed_file(encoder, table, file, key_column="id", quiet=True)
    before = file.read_bytes()
    for later in (
        table.with_columns(title=pl.lit("beer")),
        table.reverse(),
        table[:1],
        pl.concat([table, pl.DataFrame({"id": ["3"], "title": ["bread"]})]),
    ):
        table.write_csv(source)
        compared = keyed_rows.compared

        def change(*args: Any, later: pl.DataFrame = later, compared: Any = compared) -> Any:
            later.write_csv(source)
            return compared(*args)

        with monkeypatch.context() as patch:
            patch.setattr(refresh, "compared", change)
            with pytest.raises(InputError, match="has changed while it was read; run this again"):
                refresh_file(encoder, source, file, changes=tmp_path / "c.parquet", quiet=True)
        assert file.read_bytes() == before
        assert not (tmp_path / "c.parquet").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_stopped_refresh(
    name: str, encoder: TitleEncoder, catalogue: pl.DataFrame, tmp_path: Path
) -> None:
    encoder.save(tmp_path / "encoder")
    file, changes = tmp_path / "vectors.parquet", tmp_path / "changes.parquet"
    embed_file(encoder, catalogue, file, key_column="id", quiet=True)
    before = file.read_bytes()
    new = catalogue.with_columns(title=pl.col("title") + " NEW")
    new.write_parquet(tmp_path / "new.parquet")
    program = (
        "import sys, time\n"
        "from vitrina.encoder import refresh\n"
        "columns_of, rows = refresh._Plan.columns_of, 0\n"
        "def slow(self, titles):\n"
        "    global rows\n"
        "    rows += len(titles)\n"
        "    if rows > 5_000: print('half', flush=True); time.sleep(2)\n"
        "    return columns_of(self, titles)\n"
        "refresh._Plan.columns_of = slow\n"
        "from vitrina.cli import main\n"
        "main(['refresh', 'encoder', 'new.parquet', '--vectors', 'vectors.parquet',\n"
        "      '--changes', 'changes.parquet'])\n"
    )
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(getattr(signal, name))
        code = process.wait()
    assert code == (-9 if name == "SIGKILL" else 1)
    assert file.read_bytes() == before
    assert not changes.exists()
    # the next run removes what a killed one left
    refresh_file(encoder, new, file, changes=changes, quiet=True)
    embed_file(encoder, new, tmp_path / "full.parquet", key_column="id", quiet=True)
    assert file.read_bytes() == (tmp_path / "full.parquet").read_bytes()
    assert not list(tmp_path.glob(".*"))
