"""Fixtures of the fuzzing tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .client import Worker


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """A process that runs cases."""
    worker = Worker()
    yield worker
    worker.stop()
