"""Hashes: of content that identifies a result, of keys that decide a split, of bytes in kernels."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from vitrina.compiled import compiled

FNV_START = np.uint64(14695981039346656037)
"""The hash of no bytes, for `fnv1a`."""

_FNV_PRIME = np.uint64(1099511628211)


def content_key(content: Any) -> str:
    """SHA-256 of plain values (what JSON can hold) in hexadecimal, whatever the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def unit_hash(salt: str, key: str) -> float:
    """A number from 0 to 1, uniform over keys, that depends on salt and key alone."""
    digest = hashlib.blake2b(f"{salt} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


@compiled
def fnv1a(value: Any, byte: Any) -> Any:
    """The 64-bit FNV-1a hash of some bytes and one more, given that of the bytes before it."""
    return (value ^ np.uint64(byte)) * _FNV_PRIME
