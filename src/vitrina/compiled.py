"""Functions as machine code, and threads to run them in."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, free of the interpreter's lock; kept on disk where possible."""
    try:
        compiled_function: Callable[..., Any] = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # nowhere to keep the machine code: compile it in each process
        compiled_function = njit(nogil=True)(function)
    return compiled_function


def _prefetch(_: Any, array: Any, index: Any) -> Any:
    """For compiled functions: have array[index] come nearer, without waiting; of one axis, in C's
    order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        values = context.make_array(signature.args[0])(context, builder, arguments[0])
        item = builder.gep(values.data, [arguments[1]])
        place, number = builder.bitcast(item, ir.IntType(8).as_pointer()), ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [place.type], form)
        to_read, into_all_caches, of_data = number(0), number(3), number(1)
        builder.call(instruction, [place, to_read, into_all_caches, of_data])

    return types.void(array, types.int64), generate


prefetch: Any = intrinsic(_prefetch)


def in_threads(
    work: Callable[[int, int], None], size: int, threads: int, block: int | None = None
) -> None:
    """Run work(start, stop) over [0, size): in as many equal parts as threads, or in blocks."""
    parts = max(1, min(threads, size))
    if block is not None:  # as many for each thread
        parts *= -(-size // (block * parts))
    bounds = list(pairwise(np.linspace(0, size, parts + 1).astype(int).tolist()))
    if len(bounds) == 1 or threads == 1:
        for part in bounds:
            work(*part)
    else:
        for future in [_pool_of(threads).submit(work, *part) for part in bounds]:
            future.result()


@cache
def _pool_of(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="vitrina")


if hasattr(os, "register_at_fork"):  # a forked server worker starts threads of its own
    os.register_at_fork(after_in_child=_pool_of.cache_clear)


def default_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
