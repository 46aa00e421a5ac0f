"""vitrina on Apache Spark: sessions, vectors and predictions of Spark data frames."""

from vitrina.spark.session_queries import sessionize as sessionize
from vitrina.spark.title_columns import embed as embed
from vitrina.spark.title_columns import predict as predict

__all__ = ["embed", "predict", "sessionize"]
