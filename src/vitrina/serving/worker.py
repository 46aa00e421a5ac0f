"""A worker: one process that loads the models, answers requests, reloads and stops gracefully."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vitrina.errors import InputError
from vitrina.serving.application import make_app
from vitrina.serving.messages import FAILED, READY
from vitrina.serving.service import ServedModels, Service
from vitrina.serving.service_options import ServiceOptions
from vitrina.serving.telemetry import ENCODER, RELOADS, say, set_up_logs

_DRAIN_SECONDS = 1.0
"""How long a stopping worker takes requests, so that clients learn to connect elsewhere."""

_STOP_SECONDS = 30
"""Time for answers that are on their way when the worker stops."""

_HEADER_BYTES = 64 * 1024
_HEADER_SECONDS = 75
"""Time for the headers of a request, from the connection or the answer before.

Proxies keep connections for 60 seconds. If the service closed one first, the proxy's next request
would be lost.
"""

# Python's threads take turns after 5 ms, which a short request would have to wait for.
_SWITCH_SECONDS = 0.0005


def run_worker(options: ServiceOptions, listener: socket.socket, pipe: Connection) -> None:
    """Load the models and serve until the pipe ends or SIGTERM comes.

    Parameters
    ----------
    options : ServiceOptions
    listener : socket
        Bound to the address of the service, and shared with the other workers.
    pipe : Connection
        To the supervisor, see `vitrina.serving.supervisor`.
    """
    # Ctrl-C and the end of a terminal go to all processes; the supervisor decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    set_up_logs(options.quiet)
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        models = ServedModels.load(options)
        while pipe.poll():  # told to load again, or to stop, before it was ready
            pipe.recv()
            models = ServedModels.load(options)
    except InputError as error:
        pipe.send((FAILED, str(error)))
        return
    except EOFError:
        return
    ENCODER.labels(models.digest).set(1)
    service = Service(options, models)
    config = uvicorn.Config(
        make_app(service),
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_HEADER_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    _Server(config, service, pipe).run([listener])


class _Server(uvicorn.Server):
    """Uvicorn's server, which listens to the supervisor and tells clients before it stops."""

    def __init__(self, config: uvicorn.Config, service: Service, pipe: Connection) -> None:
        super().__init__(config)
        self._service = service
        self._pipe = pipe
        self._drained_at = 0.0
        self._reloads: set[asyncio.Task[None]] = set()
        self._one_reload = asyncio.Lock()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._read_message)
        with suppress(OSError):  # the supervisor stops: the reader will find the end of the pipe
            self._pipe.send((READY, self._service.models.digest))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._drain()

    async def on_tick(self, counter: int) -> bool:
        """Decide whether to stop; uvicorn calls this ten times a second."""
        if self._service.draining:
            is_over = time.monotonic() > self._drained_at
            self.should_exit = is_over or not self.server_state.connections
        return await super().on_tick(counter)

    def _drain(self) -> None:
        if not self._service.draining:
            self._drained_at = time.monotonic() + _DRAIN_SECONDS
            self._service.draining = True

    def _read_message(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._pipe.recv()  # RELOAD, the only one
        except (EOFError, OSError):
            # the supervisor has closed the pipe, or was killed
            loop.remove_reader(self._pipe.fileno())
            self._drain()
            return
        task = loop.create_task(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        """Load everything again, and replace the models at once; keep them if that fails."""
        try:
            async with self._one_reload:  # the last one asked for is the last one loaded
                models = await asyncio.to_thread(ServedModels.load, self._service.options)
        except Exception as error:
            RELOADS.labels("kept").inc()
            message = str(error) if isinstance(error, InputError) else type(error).__name__
            say("the reload failed, the old models stay", logging.ERROR, message=message)
            return
        RELOADS.labels("done").inc()
        ENCODER.labels(self._service.models.digest).set(0)
        ENCODER.labels(models.digest).set(1)
        self._service.models = models
        say("reloaded", encoder=models.digest)


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, with bounds on the size of a request's headers and on their time.

    A client that opens connections and sends nothing, or a byte now and then, would use them up.
    """

    _header_bytes = 0
    _in_headers = True
    _deadline: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > _HEADER_BYTES:
            self.send_400_response("The headers are too large.")

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._deadline.cancel()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # no further request has come yet
            self._wait_for_headers()

    def _wait_for_headers(self) -> None:
        self._deadline = self.loop.call_later(_HEADER_SECONDS, self.transport.close)
