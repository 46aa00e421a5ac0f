"""Lengths of vectors in compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np

from vitrina.compiled import compiled

_PARTS = 16


@compiled
def scale_to_length(vector: Any, length: Any) -> None:
    """Scale a vector in place to a length (Euclidean norm). Compiled, for compiled functions.

    Parameters
    ----------
    vector : ndarray of shape (dim,), float32
        A vector of zeros stays as it is.
    length : float32
    """
    dim = len(vector)
    # 16 partial sums, each in a fixed order: the processor adds them side by side, and the result
    # has the same bits on every machine
    parts = np.zeros(_PARTS, np.float32)
    whole = dim - dim % _PARTS
    for start in range(0, whole, _PARTS):
        for part in range(_PARTS):
            value = vector[start + part]
            parts[part] += value * value
    for column in range(whole, dim):
        parts[column - whole] += vector[column] * vector[column]
    squared = np.float32(0)
    for part in range(_PARTS):
        squared += parts[part]
    if squared > 0:
        factor = length / np.sqrt(squared)
        for column in range(dim):
            vector[column] *= factor
