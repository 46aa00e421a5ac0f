"""The cache of machine code, and the threads and locks of compiled functions."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from vitrina.compiled import (
    compiled,
    default_threads,
    fork_safe_lock,
    in_threads,
    number_of_threads,
)
from vitrina.errors import InputError


def weighted_sum(values: Any) -> Any:
    total = values[0] - values[0]
    for place in range(len(values)):
        total += (place + 1) * values[place]
    return total


WHOLE = np.array([5, 7, 9])
REAL = np.array([0.5, 0.25, 1.0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, with `weighted_sum` for two types."""
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path))
    # no other folder in its place
    locator = "UserProvidedCacheLocator"
    monkeypatch.setattr(numba.core.config, "CACHE_LOCATOR_CLASSES", locator, raising=False)
    assert hits() == 0
    assert hits() == 2
    return next(tmp_path.iterdir())


def hits() -> int:
    """Compile or load `weighted_sum` for two types, as a new process does, and call it."""
    function: Any = compiled(weighted_sum)
    assert function(WHOLE) == 46
    assert function(REAL) == 4.0
    return sum(function.stats.cache_hits.values())


def damaged(damage: Callable[[bytes], bytes], files: list[Path]) -> None:
    for file in files:
        file.write_bytes(damage(file.read_bytes()))


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_truncated_files_are_written_again(folder: Path, ending: str) -> None:
    files = sorted(folder.glob(f"*.{ending}"))
    assert len(files) == {"nbi": 1, "nbc": 2}[ending]
    size = files[0].stat().st_size
    for length in (0, 1, 5, 40, size // 2, size - 1):
        for file in files:
            file.write_bytes(file.read_bytes()[:length])
        hits()
        assert hits() == 2


def test_damaged_machine_code_never_runs(folder: Path) -> None:
    rng = random.Random(0)
    files = sorted(folder.glob("*.nbc"))

    def flipped(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[rng.randrange(len(content) // 4, len(content) // 2)] ^= 1 << rng.randrange(8)
        return bytes(changed)

    def zeroed(content: bytes) -> bytes:
        # what a file system may leave after a power failure
        place = rng.randrange(len(content) // 2)
        return content[:place] + bytes(len(content) - place)

    for damage in (flipped, zeroed) * 4:
        damaged(damage, files)
        assert hits() == 0
    assert hits() == 2


def test_files_of_other_types_are_not_taken(folder: Path) -> None:
    one, two = sorted(folder.glob("*.nbc"))
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    hits()
    assert hits() == 2


def test_a_cache_that_can_not_be_written(folder: Path) -> None:
    # a folder in place of the index: neither readable nor replaceable
    (index,) = folder.glob("*.nbi")
    index.unlink()
    index.mkdir()
    assert hits() == 0
    # the cache's folder goes while the process runs
    function: Any = compiled(weighted_sum)
    shutil.rmtree(folder)
    folder.write_text("")
    assert function(WHOLE) == 46
    # a path below a file can't be a folder
    assert hits() == 0


MODULE = """
import sys
import numpy as np
from vitrina.compiled import compiled

@compiled
def double(values):
    return 2 * values.sum()

assert double(np.ones(4)) == 8
print(sum(double.stats.cache_hits.values()))
"""


def test_a_command_after_its_cache_was_cut(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(MODULE)
    cache = tmp_path / "cache"

    def run() -> str:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
        command = [sys.executable, str(script)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    assert run() == "0"
    for file in cache.rglob("*.nb?"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert [run(), run()] == ["0", "1"]


def test_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert number_of_threads(None) == default_threads()
    assert number_of_threads(1) == 1
    assert number_of_threads(100_000) == 4 * default_threads()
    for threads in (0, -3):
        with pytest.raises(InputError, match=rf"^`threads` is {threads}; it must be 1 or more$"):
            number_of_threads(threads)
    names = set()
    done = np.zeros(50_000, int)

    def work(start: int, stop: int) -> None:
        names.add(threading.current_thread().name)
        done[start:stop] += 1

    in_threads(work, len(done), 100_000, 10)
    assert (done == 1).all()
    assert len(names) <= 4 * default_threads()


def test_parts_after_an_error_do_not_start() -> None:
    started = []
    wait = threading.Event()

    def work(start: int, stop: int) -> None:
        started.append(start)
        if start == 0:
            raise KeyError
        wait.wait(20)

    with pytest.raises(KeyError):
        in_threads(work, 1_000, 2, 1)
    wait.set()
    in_threads(lambda start, stop: None, 10, 2, 1)
    assert len(started) < 10


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_locks_are_free_in_a_forked_process() -> None:
    lock = fork_safe_lock()
    with lock:
        child = os.fork()
        if not child:
            os._exit(not lock.acquire(timeout=20))
        assert os.waitpid(child, 0)[1] == 0
        assert lock.locked()
