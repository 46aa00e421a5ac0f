"""The state of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vitrina.compiled import default_threads
from vitrina.serving.served_models import ServedModels
from vitrina.serving.service_options import ServiceOptions

T = TypeVar("T")

_FEW_TITLES = 16
"""A request of so many titles doesn't wait for larger ones."""


class Service:
    """The state of a worker.

    Attributes
    ----------
    options : ServiceOptions
    models : ServedModels
        A reload replaces it. A request keeps the ones that it came for.
    draining : bool
        Whether the worker is about to stop: its clients are told to connect again elsewhere.
    """

    def __init__(self, options: ServiceOptions, models: ServedModels) -> None:
        self.options = options
        self.models = models
        self.draining = False
        threads = options.threads or max(1, default_threads() // options.workers)
        self._few = ThreadPoolExecutor(threads, "few")
        self._many = ThreadPoolExecutor(threads, "many")

    async def compute(self, titles: int | None, work: Callable[[], T]) -> T:
        """Run work in a thread: the event loop goes on, because encoding is compiled code.

        Parameters
        ----------
        titles : int or None
            Number of titles of the request; None for a batch that is not read yet.
        work : callable
        """
        is_small = titles is not None and titles <= _FEW_TITLES
        pool = self._few if is_small else self._many
        return await asyncio.get_running_loop().run_in_executor(pool, work)
