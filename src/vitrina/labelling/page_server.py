"""Runs the labelling page until it is stopped: `vitrina label`."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from vitrina.labelling.page_routes import standalone_app
from vitrina.labelling.page_state import PageState

_STOP_SECONDS = 5
"""Time for answers that are on their way when the page is stopped."""


def serve_page(state: PageState, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Show the page to browsers until SIGINT or SIGTERM comes.

    Parameters
    ----------
    state : PageState
    listener : socket
        Bound to an address of this machine.
    ready : callable
        Called once when the page can be opened.

    Raises
    ------
    KeyboardInterrupt
        When the page is stopped; all labels are in the file.
    """
    config = uvicorn.Config(
        standalone_app(state),
        log_config=None,
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    _Server(config, ready).run([listener])


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
