"""How the threads of torch wait for each other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SPINS = "GOMP_SPINCOUNT"
# GNU's own default for more threads than processors, tens of microseconds. Without any spinning, a
# training alone on two processors loses 8 %; with this it loses 1 %.
_FEW_SPINS = "1000"


@contextmanager
def sleeping_openmp() -> Iterator[None]:
    """Let OpenMP threads sleep that wait long for each other; torch is to be imported inside.

    By default they spin for milliseconds. On a busy machine they then take the processor from the
    thread that they wait for: two trainings on two cores would each be many times slower.

    GNU's OpenMP, which torch uses on Linux, reads its settings from the environment when it is
    loaded. The environment is therefore changed during the import only. There is no effect if torch
    is imported already or if the user has made such a setting.
    """
    if "torch" in sys.modules or "OMP_WAIT_POLICY" in os.environ or _SPINS in os.environ:
        yield
        return
    os.environ[_SPINS] = _FEW_SPINS
    try:
        yield
    finally:
        del os.environ[_SPINS]
