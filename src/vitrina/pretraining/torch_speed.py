"""Process-wide settings of torch and of the C library's allocator that make training faster."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def faster_torch() -> Iterator[None]:
    """Let torch choose how to multiply float32 matrices: two times as fast where the processor
    knows bfloat16, with errors about twice float32's own. And keep freed memory: to get a step's
    large arrays from the system anew, page by page, takes a fifth of a step on two cores."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    _allocate(map_at_most=0, trim_from=2**31 - 1)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        _allocate(map_at_most=65_536, trim_from=128 * 1024)  # glibc's own


def _allocate(map_at_most: int, trim_from: int) -> None:
    """How glibc gets and returns memory; nothing where the C library is another."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt") and hasattr(library, "malloc_trim"):
        library.mallopt(-4, map_at_most)  # M_MMAP_MAX
        library.mallopt(-1, trim_from)  # M_TRIM_THRESHOLD
        library.malloc_trim(0)
