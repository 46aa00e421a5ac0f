"""Process-wide settings of torch and of the memory allocator that make training faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vitrina.allocator import MMAP_MAX, TRIM_THRESHOLD, set_malloc_option, trim_heap


@contextmanager
def faster_torch() -> Iterator[None]:
    """Speed up torch while the context is open, by two process-wide settings.

    Matrix products of float32 may use bfloat16: twice as fast on processors that support it, with
    about twice float32's own error. The allocator keeps freed memory: fetching a step's large
    arrays from the system anew, page by page, takes a fifth of a step on two cores.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    # large arrays come from the heap, and the heap keeps what is freed
    _set_allocator(max_mapped_blocks=0, trim_threshold=2**31 - 1)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        _set_allocator(max_mapped_blocks=65_536, trim_threshold=128 * 1024)  # glibc's defaults


def _set_allocator(max_mapped_blocks: int, trim_threshold: int) -> None:
    """Set how glibc obtains and returns memory; has no effect with another C library.

    Parameters
    ----------
    max_mapped_blocks : int
        How many blocks may be mapped from the system directly.
    trim_threshold : int
        Free bytes at the top of the heap from which they are returned to the system.
    """
    set_malloc_option(MMAP_MAX, max_mapped_blocks)
    set_malloc_option(TRIM_THRESHOLD, trim_threshold)
    trim_heap()
