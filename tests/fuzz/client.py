"""The other side of `worker`: runs cases in another process, and sees when it dies or hangs."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

LONGEST_WAIT = 60
"""Seconds after which a case hangs. Its own work is measured in processor time."""
MOST_WORK = 10
"""Seconds of processor time that a case may take."""


class Worker:
    """A process that runs cases; it is replaced when a case kills it."""

    def __init__(self) -> None:
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def run(self, kind: str, seed: int | None = None, path: Path | None = None) -> dict[str, Any]:
        """Run the case of a seed, or use what is at a path.

        Returns
        -------
        dict
            `outcome` ("loaded", "refused" or "fell"), `message`, and `seconds` of processor time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        where = str(path) if path is not None else None
        self._process.stdin.write(json.dumps([kind, seed, where]) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], LONGEST_WAIT)
        line = self._process.stdout.readline() if ready else ""
        if line:
            result: dict[str, Any] = json.loads(line)
            if result["seconds"] > MOST_WORK:
                result |= {"outcome": "fell", "message": f"took {result['seconds']:.0f} s"}
            return result
        self.stop()
        reason = f"ended with {self._process.returncode}" if ready else "hangs"
        self._process = self._start()
        return {"outcome": "fell", "message": f"the process {reason}", "seconds": 0}

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
