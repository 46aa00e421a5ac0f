"""Vectors and predictions of a Spark data frame's titles, computed by its executors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vitrina.classification.any_model import load_model
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.vector_file import ENCODER, ENCODER_METADATA, VECTOR
from vitrina.errors import InputError
from vitrina.spark.frames import require_frame, require_new_columns, require_spark_columns
from vitrina.spark.shipping import ModelPlace, model_at, place_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructField

    from vitrina.classification.classifier import TitleClassifier
    from vitrina.classification.regressor import TitleRegressor

_PREDICTION = "prediction"

# Spark sends 10,000 rows at once. Arrays of vectors for so many take longer: the C library reuses
# the memory of smaller ones, and asks the system anew for larger ones.
_BATCH_ROWS = 4_096
_SENT_AT_ONCE = 1 << 22  # titles times classes

# From a model and a batch of titles to new columns, by name.
Compute: TypeAlias = Callable[[Any, pa.Array], dict[str, pa.Array]]


def embed(
    df: DataFrame, encoder: str | Path, *, title_column: str = "title", shared: bool = False
) -> DataFrame:
    """Add the vectors of titles to a data frame, as `vitrina embed` adds them to a file.

    The vectors are those of `TitleEncoder.encode`, to the last bit. Each Python process of an
    executor loads the encoder once. No job starts before the result is used.

    Parameters
    ----------
    df : DataFrame
    encoder : str or Path
        Folder of a saved encoder, on the driver.
    title_column : str, default "title"
        Column of the titles, of type string. A missing title is embedded as the empty title.
    shared : bool, default False
        Whether all executors can read the folder under the same path. Otherwise Spark sends it to
        them as an archive.

    Returns
    -------
    DataFrame
        All columns of `df` and two new ones:

        - ``vector`` (array of float): n numbers, the width of the encoder's vectors.
        - ``encoder`` (string): the digest of the encoder, ``EncoderWeights.digest``. The metadata
          of the column `vector` holds it, too.

    Raises
    ------
    InputError
        If `df` has no such column or has one of the new columns already, the column holds no text,
        or `encoder` is no folder of an encoder.
    MissingExtraError
        If pyspark is not installed.

    Examples
    --------
    >>> from vitrina.spark import embed
    >>> products = spark.read.parquet("products")  # doctest: +SKIP
    >>> embed(products, "encoder").write.parquet("vectors")  # doctest: +SKIP
    """
    require_frame(df, "df")
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, FloatType, StructField

    model = load_model(Path(encoder))
    if not isinstance(model, TitleEncoder):
        raise InputError(
            f"{encoder}: holds a {type(model).__name__}; give the folder of an encoder"
        )
    digest = model.weights.digest
    vector = StructField(VECTOR, ArrayType(FloatType(), False), False, {ENCODER_METADATA: digest})
    require_new_columns(df, [VECTOR, ENCODER], "df")
    place = place_model(df.sparkSession, encoder, shared=shared)
    with_vectors = _with_columns(df, title_column, _vectors, [vector], place, _BATCH_ROWS)
    return with_vectors.withColumn(ENCODER, F.lit(digest))


def predict(
    df: DataFrame, model: str | Path, *, title_column: str = "title", shared: bool = False
) -> DataFrame:
    """Add predictions for titles to a data frame, as `vitrina classify predict` does to a file.

    Each Python process of an executor loads the model once. No job starts before the result is
    used.

    Parameters
    ----------
    df : DataFrame
    model : str or Path
        Folder of a saved classifier or regressor, on the driver.
    title_column : str, default "title"
        Column of the titles, of type string. A row without a title gets no prediction: its new
        columns are null.
    shared : bool, default False
        Whether all executors can read the folder under the same path. Otherwise Spark sends it to
        them as an archive.

    Returns
    -------
    DataFrame
        All columns of `df`, `prediction`, and for a classifier `probability_CLASS` (double) for
        each class. The metadata of the column `prediction` holds the digest of the encoder.

    Raises
    ------
    InputError
        If `df` has no such column or has one of the new columns already, the column holds no text,
        two columns would differ only in upper and lower case, or `model` is no folder of a
        classifier or regressor.
    MissingExtraError
        If pyspark is not installed.

    Examples
    --------
    >>> from vitrina.spark import predict
    >>> predict(products, "classifier").write.parquet("scores")  # doctest: +SKIP
    """
    require_frame(df, "df")
    from vitrina.classification.prediction_columns import prediction_columns

    loaded = load_model(Path(model))
    if isinstance(loaded, TitleEncoder):
        raise InputError(f"{model}: holds an encoder; give the folder of a classifier or regressor")
    fields = _prediction_fields(loaded)
    rows = max(1, min(_BATCH_ROWS, _SENT_AT_ONCE // len(fields)))
    require_new_columns(df, [field.name for field in fields], "df")
    place = place_model(df.sparkSession, model, shared=shared)
    return _with_columns(df, title_column, prediction_columns, fields, place, rows)


def _prediction_fields(model: TitleClassifier | TitleRegressor) -> list[StructField]:
    """The columns that a model predicts."""
    from pyspark.sql.types import BooleanType, DoubleType, LongType, StringType, StructField

    prediction: DataType = DoubleType()
    probabilities = []
    classes: npt.NDArray[Any] | None = getattr(model, "classes_", None)
    if classes is not None:
        types: dict[str, DataType] = {"U": StringType(), "i": LongType(), "b": BooleanType()}
        prediction = types[classes.dtype.kind]
        for name in classes.tolist():
            probabilities.append(StructField(f"probability_{name}", DoubleType()))
    metadata = {ENCODER_METADATA: model.encoder.weights.digest}
    return [StructField(_PREDICTION, prediction, True, metadata), *probabilities]


def _with_columns(
    df: DataFrame,
    title_column: str,
    compute: Compute,
    fields: list[StructField],
    place: ModelPlace,
    rows: int,
) -> DataFrame:
    """A data frame with new columns that executors compute from its titles."""
    from pyspark.sql.types import StructType

    _require_titles(df, title_column)
    task = partial(
        _add_to_batches,
        compute=compute,
        place=place,
        title=df.columns.index(title_column),
        rows=rows,
    )
    return df.mapInArrow(task, StructType([*df.schema.fields, *fields]))


def _require_titles(df: DataFrame, title_column: str) -> None:
    """Check the column of the titles."""
    from pyspark.sql.types import NullType, StringType

    require_spark_columns(df, {"title_column": title_column}, "df")
    dtype = df.schema[title_column].dataType
    if not isinstance(dtype, StringType | NullType):
        raise InputError(
            f"`df`: column '{title_column}' ({dtype.simpleString()}) holds no text; name the "
            "column of titles with `title_column`"
        )


# The functions below run in the Python processes of the executors.


def _add_to_batches(
    batches: Iterator[pa.RecordBatch], *, compute: Compute, place: ModelPlace, title: int, rows: int
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `rows` rows with the new columns; `title` is the titles' column."""
    model = model_at(place)
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            part = batch.slice(start, rows)
            new = compute(model, part.column(title))
            columns = [*part.columns, *new.values()]
            yield pa.RecordBatch.from_arrays(columns, [*part.schema.names, *new])


def _vectors(encoder: TitleEncoder, titles: pa.Array) -> dict[str, pa.Array]:
    """The vectors of titles as lists: Spark reads no lists of a fixed size."""
    vectors = encoder.encode(titles)
    n, width = vectors.shape
    offsets = pa.array(np.arange(0, (n + 1) * width, width, dtype=np.int32))
    number = pa.field("element", pa.float32(), nullable=False)
    values = pa.array(vectors.ravel())
    return {VECTOR: pa.ListArray.from_arrays(offsets, values, type=pa.list_(number))}
