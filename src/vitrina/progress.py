"""Progress of long work on stderr: a live bar in a terminal, plain lines in a log."""

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
from rich.table import Column

_SECONDS_BETWEEN_LINES = 15.0


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console that prints text as it is.

    Brackets in titles and paths are not taken for markup, and long lines are not wrapped.

    Parameters
    ----------
    stderr : bool, default False
        Whether to print to stderr instead of stdout.
    quiet : bool, default False
        Whether to print nothing.

    Returns
    -------
    rich.console.Console
    """
    return Console(stderr=stderr, quiet=quiet, markup=False, highlight=False, soft_wrap=True)


class Progress:
    """A context manager that shows the progress of one task on stderr.

    Parameters
    ----------
    description : str
        Caption of the task.
    total : int or None
        Units of work; None if unknown.
    done : int, default 0
        Units of work done before, by a run that is now resumed.
    quiet : bool, default False
        Whether to show warnings only.
    """

    def __init__(self, description: str, total: int | None, *, done: int = 0, quiet: bool = False):
        self._console = console(stderr=True)
        self._quiet = quiet
        self._description = description
        self._total = total
        self._done_before = done
        self._start = time.monotonic()
        self._last_line = time.monotonic()
        self._live: RichProgress | None = None
        if self._console.is_terminal and not quiet:
            # a narrow terminal shortens the bar and the detail, never the numbers between them
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=None, table_column=Column(ratio=2, min_width=4)),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn(
                    "{task.fields[detail]}",
                    markup=False,
                    table_column=Column(ratio=3, no_wrap=True, overflow="ellipsis"),
                ),
            )
            self._live = RichProgress(*columns, console=self._console, transient=True, expand=True)
            self._task = self._live.add_task(description, total=total, completed=done, detail="")

    def update(self, done: int, detail: str = "") -> None:
        """Report the work done so far.

        Parameters
        ----------
        done : int
            Units of work done, including those of the run that was resumed.
        detail : str, optional
            Text to show after the numbers.
        """
        if self._live:
            self._live.update(self._task, completed=done, detail=detail)
            return
        now = time.monotonic()
        # in a log, a line at every step would be too many
        if not self._quiet and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._console.print(self._line(done, now, detail))

    def _line(self, done: int, now: float, detail: str) -> str:
        """A line for a log: 'training: 300 of 1,000, 42 s left  loss 1.5'."""
        text = f"{self._description}: {done:,}"
        if self._total:
            text += f" of {self._total:,}"
        if self._total and done > self._done_before:
            seconds_per_unit = (now - self._start) / (done - self._done_before)
            text += f", {seconds_per_unit * (self._total - done):,.0f} s left"
        return f"{text}  {detail}"

    def note(self, message: str) -> None:
        """Print a line that stays above the progress, unless `quiet`."""
        if not self._quiet:
            self.warn(message)

    def warn(self, message: str) -> None:
        """Print a line that stays above the progress, even if `quiet`."""
        output = self._live.console if self._live else self._console
        output.print(message)

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
    """Format counts as one line, without those that are zero.

    Parameters
    ----------
    counts : mapping of str to int

    Returns
    -------
    str
        For example 'events 1,469,307 · null user 3'.
    """
    shown = []
    for name, count in counts.items():
        if count:
            shown.append(f"{name.replace('_', ' ')} {count:,}")
    return " · ".join(shown)
