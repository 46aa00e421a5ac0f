"""Vectors and predictions by Spark against those of the encoder and the files of vitrina."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.predict import predict_file
from vitrina.classification.regressor import TitleRegressor
from vitrina.encoder.embed import embed_file
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.vector_file import ENCODER_METADATA
from vitrina.errors import InputError
from vitrina.spark import embed, predict


@pytest.fixture(scope="module")
def table(grocery_titles: list[str]) -> pl.DataFrame:
    """More titles than Spark sends at once, some missing or odd, and columns of many types."""
    n = 12_000
    titles: list[str | None] = [grocery_titles[i % len(grocery_titles)] for i in range(n)]
    titles[::97] = [None] * len(titles[::97])
    titles[1], titles[2] = "", "line\nbreak \N{SNOWMAN} Ñandú " * 20
    return pl.DataFrame(
        {
            "row": pl.Series(range(n), dtype=pl.Int64),
            "title": titles,
            "day": date(2024, 3, 10),
            "price": pl.Series([i / 7 if i % 5 else None for i in range(n)]),
            "tags": [[str(i % 3)] * (i % 4) for i in range(n)],
            "shop": [{"id": i % 9, "name": None} for i in range(n)],
        },
        schema_overrides={"shop": pl.Struct({"id": pl.Int64, "name": pl.String})},
    )


@pytest.fixture(scope="module")
def folder(lexical_encoder: TitleEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved encoder."""
    path = tmp_path_factory.mktemp("saved") / "encoder"
    lexical_encoder.save(path)
    return path


def frame(spark: Any, table: pl.DataFrame, parts: int = 3) -> Any:
    made = spark.createDataFrame(table.to_arrow(compat_level=pl.CompatLevel.oldest()))
    return made.repartition(parts)


def written(result: Any, path: Path) -> pl.DataFrame:
    """The rows that Spark writes to Parquet, in their first order."""
    result.write.parquet(str(path))
    return pl.read_parquet(path / "*.parquet").sort("row")


def bits(vectors: pl.Series, width: int) -> npt.NDArray[np.uint32]:
    return vectors.list.to_array(width).to_numpy().view(np.uint32)


def test_vectors_are_those_of_the_encoder(
    spark: Any,
    lexical_encoder: TitleEncoder,
    table: pl.DataFrame,
    folder: Path,
    tmp_path: Path,
) -> None:
    result = embed(frame(spark, table), folder)
    assert result.columns == [*table.columns, "vector", "encoder"]
    rows = written(result, tmp_path / "vectors")
    width = lexical_encoder.weights.width
    assert rows.select(table.columns).equals(table)
    expected = lexical_encoder.encode(table["title"])
    np.testing.assert_array_equal(bits(rows["vector"], width), expected.view(np.uint32))

    embed_file(lexical_encoder, table, tmp_path / "file.parquet", quiet=True)
    file = pl.read_parquet(tmp_path / "file.parquet")
    assert rows.with_columns(pl.col("vector").list.to_array(width)).equals(file)
    read = spark.read.parquet(str(tmp_path / "vectors"))
    digest = lexical_encoder.weights.digest
    assert read.schema["vector"].metadata == {ENCODER_METADATA: digest}
    assert rows["encoder"].unique().to_list() == [digest]


def loads(spark: Any) -> dict[int, int]:
    """How often each Python process of the executors has loaded a model."""

    def of_process(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import os

        from vitrina.spark.shipping import model_at

        row = {"process": [os.getpid()], "loads": [model_at.cache_info().misses]}
        for _ in batches:
            yield pa.RecordBatch.from_pydict(row)

    rows = spark.range(0, 64, 1, 16).mapInArrow(of_process, "process long, loads long").collect()
    return {row.process: row.loads for row in rows}


def test_each_process_loads_the_encoder_once(
    spark: Any, encoder: TitleEncoder, table: pl.DataFrame, tmp_path: Path
) -> None:
    encoder.save(tmp_path / "encoder")  # no process has met it
    before = loads(spark)
    for _ in range(3):
        rows = embed(frame(spark, table, 8), tmp_path / "encoder")
        rows.write.format("noop").mode("overwrite").save()
    loaded = [count - before.get(process, 0) for process, count in loads(spark).items()]
    assert max(loaded) == 1
    assert len(loaded) <= 2  # as many processes as threads


def models(encoder: TitleEncoder, table: pl.DataFrame) -> dict[str, Any]:
    titles = table["title"].drop_nulls()[:120]
    number = np.arange(len(titles))
    return {
        "text": TitleClassifier(encoder).fit(titles, np.array(["a", "b.c", "d e"])[number % 3]),
        "numbers": TitleClassifier(encoder, use_words=False).fit(titles, number % 2),
        "booleans": TitleClassifier(encoder).fit(titles, number % 3 == 0),
        "regressor": TitleRegressor(encoder).fit(titles, number),
    }


@pytest.mark.parametrize("kind", ["text", "numbers", "booleans", "regressor"])
def test_predictions_are_those_of_a_file(
    spark: Any, lexical_encoder: TitleEncoder, table: pl.DataFrame, tmp_path: Path, kind: str
) -> None:
    model = models(lexical_encoder, table)[kind]
    model.save(tmp_path / "model")
    titles = table.select("row", "title")
    result = predict(frame(spark, titles), tmp_path / "model")
    rows = written(result, tmp_path / "predictions")
    predict_file(model, titles, tmp_path / "file.parquet", quiet=True)
    assert rows.equals(pl.read_parquet(tmp_path / "file.parquet"))
    assert rows.schema == pl.read_parquet_schema(tmp_path / "file.parquet")
    assert rows["prediction"].null_count() == table["title"].null_count() > 0
    digest = lexical_encoder.weights.digest
    assert result.schema["prediction"].metadata == {ENCODER_METADATA: digest}


def test_a_shared_folder_must_stay_the_same(
    spark: Any, encoder: TitleEncoder, table: pl.DataFrame, folder: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "encoder"
    shutil.copytree(folder, shared)
    few = frame(spark, table.select("row", "title").head(10), 1)
    result = embed(few, shared, shared=True)
    assert result.collect() == embed(few, folder).collect()

    encoder.save(shared, force=True)
    other = embed(few, shared, shared=True)
    shutil.rmtree(shared)
    shutil.copytree(folder, shared)
    errors = pytest.importorskip("pyspark.errors")
    with pytest.raises(errors.PythonException, match="is not the folder that the driver has read"):
        other.collect()


def test_other_names_and_a_column_without_values(
    spark: Any, encoder: TitleEncoder, folder: Path
) -> None:
    rows = spark.sql("select null as name, 1 as row union all select null, 2")
    vectors = [row.vector for row in embed(rows, folder, title_column="name").collect()]
    assert vectors[0] == vectors[1] == TitleEncoder.load(folder).encode([""])[0].tolist()
    assert embed(rows.limit(0), folder, title_column="name").collect() == []


def test_mistakes_are_told_before_a_job_starts(
    spark: Any, lexical_encoder: TitleEncoder, table: pl.DataFrame, folder: Path, tmp_path: Path
) -> None:
    few = frame(spark, table.head(10), 1)
    cases: list[tuple[str, Any, Any, dict[str, Any]]] = [
        (
            "`df`: no column 'name'; there are: row, title, .*: name it with `title_column`",
            few,
            folder,
            {"title_column": "name"},
        ),
        (
            "`df`: column 'day' .date. holds no text; name the column of titles",
            few,
            folder,
            {"title_column": "day"},
        ),
        (
            "the columns 'Vector' and 'vector', which are one for Spark: rename one, or set",
            few.withColumnRenamed("price", "Vector"),
            folder,
            {},
        ),
        ("no such folder", few, tmp_path / "nothing", {}),
        ("`df` is of type DataFrame; it must be a Spark data frame", table, folder, {}),
    ]
    for message, df, encoder, options in cases:
        with pytest.raises(InputError, match=message) as error:
            embed(df, encoder, **options)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="holds an encoder; give the folder of a classifier"):
        predict(few, folder)
    titles = table["title"].drop_nulls()[:40]
    labels = ["new", "New"] * 20
    TitleClassifier(lexical_encoder).fit(titles, labels).save(tmp_path / "model")
    with pytest.raises(InputError, match="holds a TitleClassifier; give the folder of an encoder"):
        embed(few, tmp_path / "model")
    with pytest.raises(InputError, match="'probability_New' and 'probability_new', which are one"):
        predict(few, tmp_path / "model")


def test_without_pyspark_the_message_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['pyspark'] = None\n"
        "from vitrina import MissingExtraError\n"
        "from vitrina.spark import embed, predict, sessionize\n"
        "for function in (embed, predict, sessionize):\n"
        "    try: function(None, 'encoder')\n"
        "    except MissingExtraError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message = "this needs the package 'pyspark': install it with: pip install 'vitrina[spark]'\n"
    assert done.stdout == message * 3


CLUSTER = """
import os
import sys

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from vitrina import TitleEncoder
from vitrina.spark import embed

folder, titles = sys.argv[1:]
quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
settings = {
    "spark.driver.extraJavaOptions": quick,
    "spark.executor.extraJavaOptions": quick,
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
builder = SparkSession.builder.master("local-cluster[2,1,1024]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()


def executors(batches):
    for batch in batches:
        yield batch.append_column("executor", pa.array([os.getcwd()] * len(batch)))


rows = spark.read.parquet(titles).repartition(4)
result = embed(rows, folder).mapInArrow(
    executors, "row long, title string, vector array<float>, encoder string, executor string"
).collect()
encoder = TitleEncoder.load(folder)
vectors = np.array([row.vector for row in result], np.float32)
expected = encoder.encode([row.title for row in result])
assert np.array_equal(vectors.view(np.uint32), expected.view(np.uint32))
assert {row.encoder for row in result} == {encoder.weights.digest}
print(len(result), len({row.executor for row in result}))
spark.stop()
"""


def test_two_executor_processes_get_the_encoder(
    table: pl.DataFrame, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executors of a cluster find the archive in a folder of their own each."""
    pytest.importorskip("pyspark")
    table.select("row", "title").head(4_000).write_parquet(tmp_path / "titles.parquet")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_WORKER_DIR", str(tmp_path / "work"))
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, folder, tmp_path / "titles.parquet"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout.split() == ["4000", "2"], done.stderr[-2_000:]
