"""Hash functions: for keys of stored results, for random splits, and for compiled kernels."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from vitrina.compiled import compiled

FNV_START = np.uint64(14695981039346656037)
"""The 64-bit FNV-1a hash of no bytes: the value that `fnv1a` starts from."""

_FNV_PRIME = np.uint64(1099511628211)


def content_key(content: Any) -> str:
    """Return the SHA-256 of a value's JSON form, in hexadecimal.

    Parameters
    ----------
    content : dict, list, str, float, int, bool or None
        A value that JSON can hold. The order of the keys in its dictionaries does not matter.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def unit_hash(salt: str, key: str) -> float:
    """Map a key to a number from 0 to 1.

    The numbers are uniformly distributed over keys. Use one salt for each purpose: the numbers of
    different salts are independent.

    Parameters
    ----------
    salt : str
    key : str

    Returns
    -------
    float
        It depends on `salt` and `key` only, on every machine.
    """
    digest = hashlib.blake2b(f"{salt} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


@compiled
def fnv1a(value: Any, byte: Any) -> Any:
    """Add one byte to a 64-bit FNV-1a hash. Compiled, for use in other compiled functions.

    Parameters
    ----------
    value : uint64
        Hash of the bytes before, `FNV_START` if there are none.
    byte : uint8

    Returns
    -------
    uint64
    """
    return (value ^ np.uint64(byte)) * _FNV_PRIME
