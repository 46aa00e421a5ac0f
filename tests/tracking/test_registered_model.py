"""Encoders and classifiers as models of MLflow: loaded, registered, served, and in Spark."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.regressor import TitleRegressor
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.tracking import log_model


@pytest.fixture(scope="session")
def titles(grocery_titles: list[str]) -> list[str | None]:
    return [*grocery_titles[1:60], None, ""]


@pytest.fixture(scope="session")
def encoder_uri(
    lexical_encoder: TitleEncoder, store: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = tmp_path_factory.mktemp("encoder") / "an encoder"
    lexical_encoder.save(folder)
    return str(log_model(folder, name="encoder", registered_model_name="titles").model_uri)


@pytest.fixture(scope="session")
def classifier(lexical_encoder: TitleEncoder, grocery_titles: list[str]) -> TitleClassifier:
    titles = grocery_titles[100:300]
    return TitleClassifier(lexical_encoder).fit(titles, ["a", "b", "c", "d"] * 50)


@pytest.fixture(scope="session")
def classifier_uri(
    classifier: TitleClassifier, store: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = tmp_path_factory.mktemp("classifier") / "classifier"
    classifier.save(folder)
    return str(log_model(folder, name="classifier").model_uri)


def frame(titles: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame({"title": pd.Series(titles, dtype=object)})


def bits(vectors: Any) -> bytes:
    return np.asarray(vectors, dtype=np.float32).tobytes()


def test_a_registered_encoder(
    lexical_encoder: TitleEncoder, encoder_uri: str, titles: list[str | None]
) -> None:
    import mlflow

    version = mlflow.MlflowClient().get_model_version("titles", "1")
    for uri in (encoder_uri, f"models:/{version.name}/{version.version}"):
        model = mlflow.pyfunc.load_model(uri)
        vectors = model.predict(frame(titles))
        assert vectors.dtype == np.float32
        assert bits(vectors) == bits(lexical_encoder.encode(titles))
        assert model.metadata.metadata["vitrina_encoder"] == lexical_encoder.weights.digest
    folder = Path(mlflow.artifacts.download_artifacts(encoder_uri))
    assert not list(folder.rglob("*.pkl"))
    (sealed,) = folder.rglob("manifest.json")
    assert TitleEncoder.load(sealed.parent).weights.digest == lexical_encoder.weights.digest


def test_a_classifier(
    classifier: TitleClassifier, classifier_uri: str, titles: list[str | None]
) -> None:
    import mlflow

    model = mlflow.pyfunc.load_model(classifier_uri)
    table = model.predict(frame(titles))
    names = ["prediction", *(f"probability_{label}" for label in "abcd")]
    assert table.columns.tolist() == names == model.metadata.get_output_schema().input_names()
    known = [row for row, title in enumerate(titles) if title is not None]
    chosen = [title for title in titles if title is not None]
    np.testing.assert_array_equal(table["prediction"][known], classifier.predict(chosen))
    np.testing.assert_array_equal(table[names[1:]].iloc[known], classifier.predict_proba(chosen))
    assert table.loc[titles.index(None)].isna().all()


@pytest.mark.parametrize("labels", [[True, False], [1, 2]])
def test_classes_that_are_no_text(
    encoder: TitleEncoder, store: str, grocery_titles: list[str], tmp_path: Path, labels: list[Any]
) -> None:
    import mlflow

    classifier = TitleClassifier(encoder).fit(grocery_titles[1:101], labels * 50)
    classifier.save(tmp_path / "classifier")
    model = mlflow.pyfunc.load_model(log_model(tmp_path / "classifier").model_uri)
    table = model.predict(frame([*grocery_titles[1:5]]))
    assert table["prediction"].tolist() == classifier.predict(grocery_titles[1:5]).tolist()


def test_a_regressor(
    encoder: TitleEncoder, store: str, grocery_titles: list[str], tmp_path: Path
) -> None:
    import mlflow

    regressor = TitleRegressor(encoder).fit(grocery_titles[1:101], np.arange(100.0))
    regressor.save(tmp_path / "regressor")
    model = mlflow.pyfunc.load_model(log_model(tmp_path / "regressor").model_uri)
    table = model.predict(frame([grocery_titles[3], None]))
    assert table["prediction"][0] == regressor.predict([grocery_titles[3]])[0]
    assert np.isnan(table["prediction"][1])


def test_mistakes(encoder: TitleEncoder, store: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        log_model(tmp_path / "nothing")
    encoder.save(tmp_path / "encoder")
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="is damaged"):
        log_model(tmp_path / "encoder")


@contextmanager
def served(uri: str, store: str, log: Path) -> Iterator[str]:
    """`mlflow models serve` on a free port; gives the address for predictions."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", uri]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"MLFLOW_TRACKING_URI": store, "PATH": path}
    with log.open("w") as file:
        server = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        for _ in range(600):
            if server.poll() is not None:
                pytest.fail(log.read_text())
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def test_a_served_encoder(
    lexical_encoder: TitleEncoder,
    encoder_uri: str,
    store: str,
    titles: list[str | None],
    tmp_path: Path,
) -> None:
    body = {"dataframe_split": {"columns": ["title"], "data": [[title] for title in titles]}}
    with served(encoder_uri, store, tmp_path / "log") as address:
        request = urllib.request.Request(
            address, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            predictions = json.load(answer)["predictions"]
    assert bits(predictions) == bits(lexical_encoder.encode(titles))


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if shutil.which("java") is None:
        pytest.skip("there is no Java")
    sql = pytest.importorskip("pyspark.sql")
    session = sql.SparkSession.getActiveSession()
    if session is not None:  # other tests have one, and stop it themselves
        yield session
        return
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    warehouse = str(tmp_path_factory.mktemp("warehouse"))
    session = builder.config("spark.sql.warehouse.dir", warehouse).getOrCreate()
    yield session
    session.stop()


@pytest.mark.spark
def test_in_spark(
    lexical_encoder: TitleEncoder,
    classifier: TitleClassifier,
    encoder_uri: str,
    classifier_uri: str,
    titles: list[str | None],
    spark: Any,
) -> None:
    import mlflow

    products = spark.createDataFrame(list(enumerate(titles)), "row int, title string").repartition(
        2
    )
    vector = mlflow.pyfunc.spark_udf(spark, encoder_uri, "array<float>", env_manager="local")
    score = mlflow.pyfunc.spark_udf(
        spark, classifier_uri, "prediction string, probability_b double", env_manager="local"
    )
    rows = products.select("row", vector("title").alias("vector")).collect()
    vectors = dict(sorted(tuple(row) for row in rows))
    assert bits(list(vectors.values())) == bits(lexical_encoder.encode(titles))
    # MLflow would write the text 'nan' for a missing label: the guide leaves such rows out
    scored = products.where("title is not null").select("title", score("title").alias("score"))
    rows = [(row["title"], *row["score"]) for row in scored.collect()]
    chosen = [title for title, _, _ in rows]
    assert sorted(chosen) == sorted(title for title in titles if title is not None)
    assert [label for _, label, _ in rows] == classifier.predict(chosen).tolist()
    assert [value for _, _, value in rows] == classifier.predict_proba(chosen)[:, 1].tolist()
