"""Small sessions of real titles to train on."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from vitrina.data.catalogue import Catalogue, read_catalogue
from vitrina.data.sessions import Sessions, sessionize
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.settings import Settings


@pytest.fixture(scope="session")
def catalogue(grocery_titles: list[str]) -> Catalogue:
    """200 products of 12 categories; every fifth without one, every seventh with two titles."""
    rows = [
        {"product_id": i, "title": title, "category": None if i % 5 == 0 else f"c{i % 12}"}
        for i, title in enumerate(grocery_titles[:200])
    ]
    rows += [{**row, "title": f"{row['title']} new"} for row in rows[::7]]
    return read_catalogue(pl.DataFrame(rows))


@pytest.fixture(scope="session")
def sessions(catalogue: Catalogue) -> Sessions:
    """150 users, one session each, of up to 6 products."""
    rng = np.random.default_rng(5)
    users = np.sort(rng.integers(0, 150, 500))
    events = pl.DataFrame(
        {
            "user": users,
            "timestamp": 1_700_000_000 + np.arange(500),
            "product_id": rng.integers(0, 200, 500),
        }
    )
    return sessionize(events, "1h", 6, product_ids=catalogue.product_ids)


@pytest.fixture(scope="session")
def data(catalogue: Catalogue, sessions: Sessions) -> TrainingData:
    return TrainingData.prepare(catalogue, sessions, Settings(vocab_size=300))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks on several threads wait for each other, for seconds on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def bert_copy(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the model that a test may change."""
    return shutil.copytree(tiny_bert, tmp_path / "bert")
