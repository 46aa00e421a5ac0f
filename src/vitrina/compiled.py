"""Functions compiled to machine code with numba, and the threads that run them."""

# numba's classes have no types
# mypy: allow-untyped-calls

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from itertools import pairwise
from typing import Any, overload
from weakref import WeakSet

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.extending import intrinsic

from vitrina.errors import InputError

_THREADS_PER_PROCESSOR = 4


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
    releases Python's global interpreter lock. The machine code is cached on disk where possible: a
    damaged cache is written again, and without a cache each process compiles anew.

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
    compiled_function: Any = njit(nogil=True, fastmath=fastmath)(function)
    # numba raises RuntimeError if it finds no folder for its cache
    with suppress(RuntimeError, OSError):
        # what `njit(cache=True)` does, with numba's own class
        compiled_function._cache = _Cache(function)
    return compiled_function  # type: ignore[no-any-return]


class _CheckedResult(CompileResultCacheImpl):
    """Writes machine code with a checksum, because running damaged code would end the process."""

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        """The start of the files' names, other than that of files without a checksum."""
        return f"{super().get_filename_base(fullname, abiflags)}-sha256"

    def reduce(self, result: Any) -> tuple[bytes, bytes]:
        """The form of a compiled function in the cache."""
        content = dumps(super().reduce(result))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context: Any, stored: tuple[bytes, bytes]) -> Any:
        """The compiled function from its form in the cache."""
        checksum, content = stored
        if hashlib.sha256(content).digest() != checksum:
            raise ValueError("damaged")
        return super().rebuild(target_context, pickle.loads(content))


class _Cache(FunctionCache):
    """Numba's cache on disk. A cache that can't be read or written doesn't stop the program."""

    _impl_class = _CheckedResult

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for the types of `sig`; None if it must be compiled."""
        # reading damaged files raises errors of any kind
        try:
            result = super().load_overload(sig, target_context)
        except Exception:
            # an empty index lets the function be stored again
            with suppress(Exception):
                self.flush()
            return None
        # processes that write at the same time may exchange the files of two types
        if result is not None and tuple(result.signature.args) != normalize_signature(sig)[0]:
            return None
        return result

    def save_overload(self, sig: Any, result: Any) -> None:
        """Store a compiled function if the disk allows it."""
        with suppress(Exception):
            super().save_overload(sig, result)


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
        There are never more than 4 threads per processor.
    block : int, optional
        Largest number of items in a part. Each thread then gets the same number of parts. By
        default each thread gets one part.
    """
    threads = number_of_threads(threads)
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
    try:
        for future in futures:
            future.result()
    finally:
        # after an error or a signal, the parts that nobody waits for don't start
        for future in futures:
            future.cancel()


@cache
def _pool_of(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="vitrina")


_fork_safe_locks: WeakSet[Any] = WeakSet()


def fork_safe_lock() -> threading.Lock:
    """Return a lock that is free in a forked process.

    The thread that holds a lock doesn't exist in a process forked meanwhile, so an ordinary lock
    would never be released there. The state that the lock guards may be half-written in the child:
    its owner must recognise that.

    Returns
    -------
    threading.Lock
        A plain lock, because a signal can't interrupt its ``with`` statement between taking the
        lock and entering the block.
    """
    lock = threading.Lock()
    _fork_safe_locks.add(lock)
    return lock


def _after_fork() -> None:
    # the child inherits the pools but not their threads, so it must start its own
    _pool_of.cache_clear()
    for lock in _fork_safe_locks:
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def number_of_threads(threads: int | None) -> int:
    """Return how many threads to use.

    Parameters
    ----------
    threads : int or None
        The user's choice; None for one thread per processor.

    Returns
    -------
    int
        At most 4 threads per processor: more only take memory, and the system may not have them.

    Raises
    ------
    InputError
        If `threads` is less than 1.
    """
    if threads is None:
        return default_threads()
    if threads < 1:
        raise InputError(f"`threads` is {threads}; it must be 1 or more")
    return min(threads, _THREADS_PER_PROCESSOR * default_threads())


def default_threads() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
