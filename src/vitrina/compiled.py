"""Functions compiled to machine code with numba, and the threads that run them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from typing import Any, overload

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@overload
def compiled(function: Callable[..., Any]) -> Callable[..., Any]: ...


@overload
def compiled(
    *, fastmath: set[str] | bool = ...
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...


def compiled(
    function: Callable[..., Any] | None = None, *, fastmath: set[str] | bool = False
) -> Callable[..., Any]:
    """Compile a function to machine code at its first call.

    Use it as ``@compiled`` or as ``@compiled(fastmath={"reassoc"})``. The compiled function
    releases Python's global interpreter lock. The machine code is cached on disk where possible.

    Parameters
    ----------
    function : callable
        A function that numba can compile.
    fastmath : set of str or bool, default False
        LLVM's fast-math flags that the floating-point operations may use; True allows them all.

    Returns
    -------
    callable
        The compiled function, or a decorator if only `fastmath` was given.
    """
    if function is None:
        return partial(compiled, fastmath=fastmath)
    compiled_function: Callable[..., Any]
    try:
        compiled_function = njit(nogil=True, fastmath=fastmath, cache=True)(function)
    except RuntimeError:
        # numba found no folder to write its cache to: compile again in each process
        compiled_function = njit(nogil=True, fastmath=fastmath)(function)
    return compiled_function


def _prefetch(_: Any, array: Any, index: Any) -> Any:
    """Prefetch ``array[index]`` into the processor's caches, for reading.

    For use in compiled functions. The call does not wait for the memory. The array must have one
    dimension and be C-contiguous.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        values = context.make_array(signature.args[0])(context, builder, arguments[0])
        item = builder.gep(values.data, [arguments[1]])
        address = builder.bitcast(item, ir.IntType(8).as_pointer())
        int32 = ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [address.type, int32, int32, int32])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [address.type], form)
        # the meaning of the three numbers is in LLVM's reference, under llvm.prefetch
        for_reading = int32(0)
        into_all_caches = int32(3)
        of_data = int32(1)
        builder.call(instruction, [address, for_reading, into_all_caches, of_data])

    return types.void(array, types.int64), generate


prefetch: Any = intrinsic(_prefetch)


def in_threads(
    work: Callable[[int, int], None], size: int, threads: int, block: int | None = None
) -> None:
    """Run ``work(start, stop)`` on consecutive parts of the range [0, size).

    Parameters
    ----------
    work : callable
        Is called with the bounds of a part, in several threads at once.
    size : int
    threads : int
    block : int, optional
        Largest number of items in a part. Each thread then gets the same number of parts. By
        default each thread gets one part.
    """
    parts = max(1, min(threads, size))
    if block is not None:
        parts *= -(-size // (block * parts))
    limits = np.linspace(0, size, parts + 1).astype(int).tolist()
    bounds = list(pairwise(limits))
    # one part or one thread needs no pool
    if len(bounds) == 1 or threads == 1:
        for start, stop in bounds:
            work(start, stop)
        return
    pool = _pool_of(threads)
    futures = [pool.submit(work, start, stop) for start, stop in bounds]
    for future in futures:
        future.result()


@cache
def _pool_of(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="vitrina")


# a forked process inherits the pool but not its threads, so it must start its own
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool_of.cache_clear)


def default_threads() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
