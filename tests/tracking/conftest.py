"""A store of MLflow and a trained encoder for the tests, which share them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vitrina import Settings, read_catalogue, sessionize


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.mlflow)
            if find_spec("mlflow") is None:
                item.add_marker(pytest.mark.skip(reason="mlflow is not installed"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an SQLite database: making its tables takes seconds.

    The files of its models are in the same folder.
    """
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(uri)
        mlflow.create_experiment("models", artifact_location=(folder / "models").as_uri())
        mlflow.set_experiment("models")
        yield uri
        mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def trained(
    grocery_titles: list[str], small_sizes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an encoder that was trained for some steps."""
    rng = np.random.default_rng(5)
    rows = [{"product_id": i, "title": grocery_titles[i], "category": "a"} for i in range(100)]
    catalogue = read_catalogue(pl.DataFrame(rows))
    visits = pl.DataFrame(
        {
            "user": np.sort(rng.integers(0, 50, 200)),
            "timestamp": 1_700_000_000 + np.arange(200),
            "product_id": rng.integers(0, 100, 200),
        }
    )
    sessions = sessionize(visits, product_ids=catalogue.product_ids)
    from vitrina.pretraining.train import train

    folder = tmp_path_factory.mktemp("trained") / "encoder"
    settings = Settings(batch_size=16, max_steps=12, **small_sizes)
    inputs = {"events": "visits.parquet", "odd name: 100 %": 1}
    train(catalogue, sessions, folder, settings, inputs=inputs, threads=1, quiet=True)
    return folder
