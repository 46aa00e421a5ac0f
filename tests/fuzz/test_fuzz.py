"""Fuzzed folders, models, titles and task files: refused with one line, or used without harm.

`make fuzz MINUTES=n` runs the long form. FUZZ_SEED sets its first seed, to repeat a run.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from .cases import KINDS
from .client import Worker

MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
FIRST_SEED = int(os.environ.get("FUZZ_SEED", int(time.time()) % 10**6 * 10**6 if MINUTES else 0))

MOST_FALLS = 20
"""Cases that are shown before a kind is given up."""


def seeds_of(quick: int) -> Iterator[int]:
    """The first seeds in the short form; seeds for a share of the minutes in the long one."""
    if not MINUTES:
        yield from range(quick)
        return
    end = time.monotonic() + 60 * MINUTES / len(KINDS)
    seed = FIRST_SEED
    while time.monotonic() < end:
        yield seed
        seed += 1


@pytest.mark.parametrize("kind", KINDS)
def test_cases_are_refused_or_harmless(
    worker: Worker, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes: Counter[str] = Counter()
    falls = []
    for seed in seeds_of(KINDS[kind].quick):
        result = worker.run(kind, seed)
        outcomes[result["outcome"]] += 1
        if result["outcome"] == "fell":
            command = f"{sys.executable} -m tests.fuzz.worker {kind} {seed}"
            falls.append(f"{command}\n{result['message'][-1_500:]}")
        if len(falls) >= MOST_FALLS:
            break
    if MINUTES:
        with capsys.disabled():
            sys.stdout.write(
                f"\n{kind}: tried {outcomes.total():,} from seed {FIRST_SEED}, "
                f"refused {outcomes['refused']:,}, loaded {outcomes['loaded']:,}, "
                f"fell {outcomes['fell']:,}\n"
            )
    assert not falls, "\n\n".join(falls)
    # cases that only ever load, or are only ever refused, would test little
    assert outcomes["loaded"]
    assert outcomes["refused"] or kind == "titles"
