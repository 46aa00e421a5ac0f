"""Settings of the C library's memory allocator (glibc on Linux; no effect elsewhere)."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# parameters of glibc's mallopt(3), from malloc.h
MMAP_MAX = -4
PERTURB = -6
TRIM_THRESHOLD = -1


def set_malloc_option(parameter: int, value: int) -> bool:
    """Set a parameter of mallopt(3) for this process.

    Parameters
    ----------
    parameter : int
        `MMAP_MAX`, `PERTURB` or `TRIM_THRESHOLD`.
    value : int

    Returns
    -------
    bool
        Whether the parameter was set; False where the C library has no mallopt.
    """
    library = _c_library()
    if not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(parameter, value))


def trim_heap() -> None:
    """Return the free memory at the end of the heap to the system, if the C library can."""
    library = _c_library()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _c_library() -> Any:
    """The C library of this process; None elsewhere than on Linux."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None
