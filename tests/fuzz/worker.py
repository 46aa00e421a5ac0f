"""Runs fuzzed cases in a process of its own, so that a crash or a hang shows as one.

`python -m tests.fuzz.worker KIND SEED` repeats one case and shows its traceback.

Without arguments, it reads lines of JSON, [kind, seed, null] or [kind, null, path], and writes one
for each.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from vitrina import TitleClassifier, TitleEncoder, TitleIndex

from .cases import KINDS, run, use
from .folders import SAVED
from .uses import TITLES

MOST_MEMORY = 1 << 30
"""Bytes that a case may take beyond what the process had."""

MOST_ADDRESSES = 4 << 30
"""Bytes that all cases may reserve, for which the process need not have memory: threads do."""

_STATUS = Path("/proc/self/status")


def memory(name: str) -> int:
    """A figure of the process in bytes, such as VmHWM, the most memory that it had; or 0."""
    if not _STATUS.exists():
        return 0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def limit_memory() -> None:
    """Let an allocation fail before the machine runs out of memory."""
    if used := memory("VmData"):
        limit = used + MOST_ADDRESSES
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def forget_peak() -> int:
    """Count VmHWM from now on, and return what the process has."""
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def result_of(kind: str, seed: int, folder: Path, path: str | None = None) -> dict[str, Any]:
    """Run the case of a seed, or use a path, and describe what happened."""
    start = time.process_time()
    used = forget_peak()
    case = folder / "case"
    try:
        if path is None:
            outcome, message = run(kind, seed, folder)
        else:
            outcome, message = use(kind, Path(path))
    except BaseException:
        outcome, message = "fell", traceback.format_exc()
    taken = memory("VmHWM") - used
    if taken > MOST_MEMORY:
        outcome, message = "fell", f"took {taken / 2**20:,.0f} MiB"
    for left in (case, folder / "saved"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif os.path.lexists(left):
            left.unlink()
    return {"outcome": outcome, "message": message, "seconds": time.process_time() - start}


def answer(line: str) -> None:
    """Write a line to the parent at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the case of the arguments, or the cases that stdin names."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="vitrina-fuzz-") as name:
        folder = Path(name)
        # a first use compiles and imports, which takes time and memory of its own
        TitleClassifier.load(SAVED / "classifier-3").predict(TITLES)
        encoder = TitleEncoder.load(SAVED / "encoder-2")
        TitleIndex.load(SAVED / "index-1-graph", encoder).query(TITLES)
        TitleIndex.load(SAVED / "index-1", encoder).query(TITLES)
        limit_memory()
        if len(sys.argv) == 3:
            assert sys.argv[1] in KINDS, f"kinds: {', '.join(KINDS)}"
            outcome = result_of(sys.argv[1], int(sys.argv[2]), folder)
            sys.stdout.write(
                f"{outcome['outcome']} after {outcome['seconds']:.1f} s\n{outcome['message']}\n"
            )
            sys.exit(outcome["outcome"] == "fell")
        answer("ready")
        for line in sys.stdin:
            kind, seed, path = json.loads(line)
            answer(json.dumps(result_of(kind, seed, folder, path)))


if __name__ == "__main__":
    main()
