"""Settings of the C library's memory allocator (glibc on Linux; elsewhere nothing happens)."""

from __future__ import annotations

import ctypes
import sys

MMAP_MAX, PERTURB, TRIM_THRESHOLD = -4, -6, -1
"""Parameters of glibc's mallopt(3)."""


def set_malloc_option(parameter: int, value: int) -> bool:
    """Set a parameter of mallopt(3) for this process; False where the C library has none."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(parameter, value))  # type: ignore[union-attr]


def trim_heap() -> None:
    """Return free memory at the heap's end to the system, where the C library can."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)  # type: ignore[union-attr]
