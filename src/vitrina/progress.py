"""What a person sees while long work runs: a live line in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

_SECONDS_BETWEEN_LINES = 15.0


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console for users' text: titles and paths are shown as they are, unwrapped when logged."""
    return Console(stderr=stderr, quiet=quiet, markup=False, highlight=False, soft_wrap=True)


class Progress:
    """Progress of one task on stderr. A context manager; `quiet` shows warnings alone.

    Parameters
    ----------
    description : str
    total : int or None
        Units of work, None if unknown.
    done : int
        Units done before (a resumed run).
    """

    def __init__(self, description: str, total: int | None, *, done: int = 0, quiet: bool = False):
        self._console, self._quiet = console(stderr=True), quiet
        self._description, self._total = description, total
        self._start, self._first, self._last_line = time.monotonic(), done, time.monotonic()
        self._live: RichProgress | None = None
        if self._console.is_terminal and not quiet:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
            )
            self._live = RichProgress(*columns, console=self._console, transient=True)
            self._task = self._live.add_task(description, total=total, completed=done, detail="")

    def update(self, done: int, detail: str = "") -> None:
        """So many units are done; `detail` is shown beside them."""
        if self._live:
            self._live.update(self._task, completed=done, detail=detail)
            return
        now = time.monotonic()
        if not self._quiet and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            of = f" of {self._total:,}" if self._total else ""
            left = ""
            if self._total and done > self._first:
                seconds = (now - self._start) / (done - self._first) * (self._total - done)
                left = f", {seconds:,.0f} s left"
            self._console.print(f"{self._description}: {done:,}{of}{left}  {detail}")

    def note(self, message: str) -> None:
        """A line that stays, unless `quiet`."""
        if not self._quiet:
            self.warn(message)

    def warn(self, message: str) -> None:
        """A line that stays."""
        (self._live.console if self._live else self._console).print(message)

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()


def counted(counts: Mapping[str, Any]) -> str:
    """Counts that are not zero, as one line: 'events 1,469,307 · null user 3'."""
    shown = (f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items() if n)
    return " · ".join(shown)
