"""The process that starts the workers, starts dead ones again, and passes signals on to them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from vitrina.errors import InputError
from vitrina.progress import console
from vitrina.serving.messages import FAILED, READY, RELOAD
from vitrina.serving.service_options import ServiceOptions, listening_socket
from vitrina.serving.telemetry import say, set_up_logs

_SPAWN = multiprocessing.get_context("spawn")  # a forked process could inherit locks that are held
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SECONDS_TO_RESTART = 1.0
_SECONDS_TO_STOP = 40.0
_NICE = 10  # an index that is built again must not slow down the answers


def serve(options: ServiceOptions) -> None:
    """Serve until SIGTERM or SIGINT comes. SIGHUP loads everything again.

    Parameters
    ----------
    options : ServiceOptions

    Raises
    ------
    InputError
        If an option is wrong, the address is taken, or a folder can't be loaded at the start.
    """
    options.check()
    set_up_logs(options.quiet)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vitrina-serve-")))
        (work / "metrics").mkdir()
        # the workers' metrics meet in this folder
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(work / "metrics")
        listener = stack.enter_context(listening_socket(options.host, options.port))
        _Supervisor(options, listener, work).run()


@dataclass(eq=False)
class _Child:
    """A process and our end of its pipe."""

    process: BaseProcess
    pipe: Connection
    is_ready: bool = False
    failure: str | None = None


class _Supervisor:
    def __init__(self, options: ServiceOptions, listener: socket.socket, work: Path) -> None:
        self._options = options
        self._listener = listener
        self._index = work / "index"
        if options.catalogue is not None:
            self._options = replace(options, index=self._index)
        self._workers: list[_Child] = []
        self._builder: _Child | None = None
        self._build_again = False
        self._restart_at: list[float] = []
        self._announced = False
        self._signals: list[int] = []

    def run(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, ExitStack() as stack:
            ours.setblocking(False)
            theirs.setblocking(False)
            # a signal makes `ours` readable, which ends the wait below
            before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            stack.callback(signal.set_wakeup_fd, before)
            for number in _SIGNALS:
                stack.callback(signal.signal, number, signal.signal(number, self._on_signal))
            stack.callback(self._stop)
            self._begin()
            while not {signal.SIGTERM, signal.SIGINT} & set(self._signals):
                if signal.SIGHUP in self._signals:
                    self._signals.remove(signal.SIGHUP)
                    self._reload()
                self._wait(ours)

    def _on_signal(self, number: int, frame: Any) -> None:
        self._signals.append(number)

    def _begin(self) -> None:
        if self._options.catalogue is not None:
            self._start_builder()
        else:
            self._start_workers()

    def _start_builder(self) -> None:
        self._build_again = False
        self._builder = self._started(_build, self._options, self._index)

    def _start_workers(self) -> None:
        for _ in range(self._options.workers):
            self._start_worker()

    def _start_worker(self) -> None:
        self._workers.append(self._started(_work, self._options, self._listener))

    def _started(self, target: Callable[..., None], *arguments: Any) -> _Child:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=target, args=(*arguments, theirs), daemon=True)
        process.start()
        theirs.close()
        return _Child(process, ours)

    def _reload(self) -> None:
        """Tell all workers to load everything again, after a new index of the catalogue."""
        say("reload")
        if self._options.catalogue is None:
            self._tell_workers()
        elif self._builder is None:
            self._start_builder()
        else:
            self._build_again = True  # the tables may have changed since it read them

    def _tell_workers(self) -> None:
        for worker in self._workers:
            with suppress(OSError):  # a dead one is started again, and loads what there is
                worker.pipe.send(RELOAD)

    def _wait(self, wakeup: socket.socket) -> None:
        """Wait for a signal, a message or the end of a process, and act on it."""
        children = [*self._workers, *([self._builder] if self._builder else [])]
        pipes = [child.pipe for child in children if not child.pipe.closed]
        sentinels = [child.process.sentinel for child in children]
        timeout = min(self._restart_at) - time.monotonic() if self._restart_at else None
        ready = wait([wakeup, *pipes, *sentinels], None if timeout is None else max(timeout, 0))
        if wakeup in ready:
            with suppress(BlockingIOError):
                wakeup.recv(4096)
        for child in children:
            if child.pipe in ready:
                self._read(child)
            if child.process.sentinel in ready:
                self._ended(child)
        due = [moment for moment in self._restart_at if moment <= time.monotonic()]
        for moment in due:
            self._restart_at.remove(moment)
            self._start_worker()

    def _read(self, child: _Child) -> None:
        try:
            kind, text = child.pipe.recv()
        except (EOFError, OSError):
            child.pipe.close()
            return
        if kind == FAILED:
            child.failure = text
            return
        child.is_ready = True
        if child is not self._builder:
            say("a worker is ready", worker=child.process.pid, encoder=text)
            self._announce(text)

    def _announce(self, digest: str) -> None:
        """Say the address once, when the first worker is ready."""
        if self._announced:
            return
        self._announced = True
        host, port = self._listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        count = self._options.workers
        console().print(
            f"vitrina serves http://{host}:{port} (encoder {digest[:12]}, "
            f"{count} worker{'s' if count > 1 else ''})"
        )

    def _ended(self, child: _Child) -> None:
        """Clean up after a process that has ended; start a worker again."""
        while not child.pipe.closed:  # what it said before it ended
            self._read(child)
        child.process.join()
        if child is self._builder:
            self._builder = None
            self._built(child)
            return
        self._workers.remove(child)
        mark_process_dead(child.process.pid)  # type: ignore[no-untyped-call]
        if not self._announced:
            raise InputError(child.failure or _ended_early(child))
        say(
            "a worker has ended and is started again",
            logging.ERROR,
            code=child.process.exitcode,
            message=child.failure,
        )
        delay = 0.0 if child.is_ready else _SECONDS_TO_RESTART
        self._restart_at.append(time.monotonic() + delay)

    def _built(self, builder: _Child) -> None:
        """Go on after the index of the catalogue was built."""
        if not self._announced and not self._workers:
            if not builder.is_ready:
                raise InputError(builder.failure or _ended_early(builder))
            self._start_workers()
        elif builder.is_ready:
            self._tell_workers()
        else:
            message = builder.failure or _ended_early(builder)
            say("the reload failed, the old models stay", logging.ERROR, message=message)
        if self._build_again:
            self._start_builder()

    def _stop(self) -> None:
        """Let the workers finish their requests, and end them."""
        self._listener.close()  # the last worker that closes its own ends the listening
        children = [*self._workers, *([self._builder] if self._builder else [])]
        for child in children:
            child.pipe.close()
        if self._builder is not None:
            self._builder.process.terminate()
        ends = time.monotonic() + _SECONDS_TO_STOP
        for child in children:
            child.process.join(max(ends - time.monotonic(), 0))
            if child.process.is_alive():
                child.process.kill()


# The supervisor itself imports neither the encoder nor the web framework: it stays small.


def _work(options: ServiceOptions, listener: socket.socket, pipe: Connection) -> None:
    """Be a worker, in a process of its own."""
    from vitrina.serving.worker import run_worker

    run_worker(options, listener, pipe)


def _build(options: ServiceOptions, folder: Path, pipe: Connection) -> None:
    """Index the catalogue, in a process of its own."""
    from vitrina.serving.service import build_index

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.nice(_NICE)
    try:
        build_index(options, folder)
    except InputError as error:
        pipe.send((FAILED, str(error)))
    else:
        pipe.send((READY, ""))


def _ended_early(child: _Child) -> str:
    return (
        f"a process of the service has ended with code {child.process.exitcode} before it was ready"
    )
