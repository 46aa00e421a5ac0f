"""What titles are fitted to, after checks: classes or numbers, and the weights of the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrina.classification.saved import (
    LARGEST_ROW_WEIGHT,
    LARGEST_TARGET,
    LONGEST_CLASS,
    MAX_CLASSES,
    SMALLEST_ROW_WEIGHT,
    is_positive,
    is_storable,
)
from vitrina.columns import as_list, is_missing
from vitrina.errors import InputError, shown

Codes: TypeAlias = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.NDArray[np.float64]
Label: TypeAlias = str | int | bool
ClassWeight: TypeAlias = Mapping[Any, float] | Literal["balanced"] | None


def as_labels(column: Any) -> npt.NDArray[Any]:
    """Return labels as a 1-D array of str, int64 or bool without missing values.

    Raises
    ------
    InputError
        If a label is missing or of another type, or if labels have different types.
    """
    labels = [_as_label(row, label) for row, label in enumerate(as_list(column, "labels"))]
    for row, label in enumerate(labels):
        if type(label) is not type(labels[0]):
            raise InputError(
                f"labels: row {row} is {label!r} ({type(label).__name__}), row 0 is "
                f"{labels[0]!r} ({type(labels[0]).__name__}); convert the column to one type"
            )
    return np.array(labels)


def _as_label(row: int, label: Any) -> Label:
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, str):
        text = str(label)  # a plain str, also from a subclass
        if not is_storable(text):
            raise InputError(
                f"labels: row {row} has a label of {len(text):,} letters that can't be saved; a "
                f"label is Unicode text of at most {LONGEST_CLASS:,} letters that does not end "
                "with a null character"
            )
        return text
    if isinstance(label, int):  # or bool, which is a subclass of int
        return label
    if is_missing(label):
        raise InputError(f"labels: row {row} has no label; drop the rows without one")
    if isinstance(label, float) and label.is_integer():
        # tables with missing values store integers as floats
        return int(label)
    raise InputError(
        f"labels: row {row} is {label!r} ({type(label).__name__}); labels are strings, integers "
        "or booleans"
    )


def encode_labels(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Codes]:
    """Return the sorted classes and the number of each label's class.

    Raises
    ------
    InputError
        If there is one class only, or if there are too many.
    """
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"labels: all {len(labels):,} are {labels[0].item()!r}; give titles of at least two "
            "classes"
        )
    if len(classes) > MAX_CLASSES:
        raise InputError(
            f"labels: there are {len(classes):,} classes, more than the {MAX_CLASSES:,} that a "
            "classifier may have; is this the right column?"
        )
    return classes, codes


def as_targets(column: Any) -> Numbers:
    """Return the numbers of a column as a 1-D array of float64.

    Raises
    ------
    InputError
        If an entry is missing, not a number or too large.
    """
    return _as_numbers(column, "targets", LARGEST_TARGET)


def require_several_targets(targets: Numbers) -> None:
    """Raise an error if all targets are equal."""
    if (targets == targets[0]).all():
        raise InputError(
            f"targets: all {len(targets):,} are {targets[0]:g}; there is nothing to learn from them"
        )


def require_one_for_each_title(n: int, titles: int, what: str) -> None:
    """Raise an error unless there are titles and as many labels, targets or weights.

    Parameters
    ----------
    n : int
        Number of labels, targets or weights.
    titles : int
        Number of titles.
    what : str
        What they are, in the plural.
    """
    if titles == 0:
        raise InputError("titles: there are no rows; give at least two titles")
    if n != titles:
        raise InputError(
            f"{what}: there are {n:,} {what} for {titles:,} titles; give one for each title"
        )


def as_sample_weight(column: Any, titles: int) -> Numbers | None:
    """Return the weights of rows as a 1-D array of float64; None stays None.

    Raises
    ------
    InputError
        If a weight is missing, negative, not a number, too small or too large, if their number is
        not that of the titles, or if all are 0.
    """
    if column is None:
        return None
    weights = _as_numbers(column, "weights", LARGEST_ROW_WEIGHT)
    require_one_for_each_title(len(weights), titles, "weights")
    negative = np.flatnonzero(weights < 0)
    if len(negative):
        row = negative[0]
        raise InputError(f"weights: row {row} is {weights[row]:g}; a weight is 0 or more")
    too_small = np.flatnonzero((weights > 0) & (weights < SMALLEST_ROW_WEIGHT))
    if len(too_small):
        row = too_small[0]
        raise InputError(
            f"weights: row {row} is {weights[row]:g}; a weight is 0 or at least "
            f"{SMALLEST_ROW_WEIGHT:g}"
        )
    if not weights.any():
        raise InputError("weights: all are 0; give at least two rows a weight above 0")
    return weights


def _as_numbers(column: Any, what: str, largest: float) -> Numbers:
    numbers = [_as_number(row, value, what) for row, value in enumerate(as_list(column, what))]
    array = np.array(numbers, np.float64)
    too_large = np.flatnonzero(~(np.abs(array) <= largest))
    if len(too_large):
        row = too_large[0]
        raise InputError(
            f"{what}: row {row} is {array[row]:g}; numbers from {-largest:g} to {largest:g} can be "
            "used: choose another unit or leave the row out"
        )
    return array


def _as_number(row: int, value: Any, what: str) -> float:
    if is_missing(value):
        raise InputError(f"{what}: row {row} has no number; drop the rows without one")
    if isinstance(value, Real | Decimal) and not isinstance(value, bool | np.bool_):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    raise InputError(
        f"{what}: row {row} is {shown(repr(value))} ({type(value).__name__}), not a number; "
        "convert the column to numbers"
    )


def checked_class_weight(
    given: Any, classes: npt.NDArray[Any]
) -> dict[Any, float] | Literal["balanced"] | None:
    """Check the weights of classes and return them with those that were left out.

    Parameters
    ----------
    given : mapping of class to float, "balanced" or None
        See `vitrina.classification.classifier.TitleClassifier`.
    classes : ndarray of shape (k,)

    Returns
    -------
    dict of class to float, "balanced" or None
        A dict has all classes. The weight of a class that `given` lacks is 1.

    Raises
    ------
    InputError
        If `given` is something else, names a class that doesn't occur, or holds a weight that isn't
        a number from 1e-9 to 1e9.
    """
    if given is None:
        return None
    if isinstance(given, str) and given == "balanced":
        return "balanced"
    if not isinstance(given, Mapping):
        raise InputError(
            f"`class_weight` is {shown(repr(given))}; it must be 'balanced', a dict of classes and "
            "weights, or None"
        )
    weights = dict.fromkeys(classes.tolist(), 1.0)
    for label, weight in given.items():
        if label not in weights:
            raise InputError(
                f"`class_weight` has the class {shown(repr(label))}, which no row has; use the "
                "labels as they are, with their type"
            )
        if not is_positive(weight, LARGEST_ROW_WEIGHT) or weight < SMALLEST_ROW_WEIGHT:
            raise InputError(
                f"`class_weight` of {shown(repr(label))} is {shown(repr(weight))}; it must be a "
                f"number from {SMALLEST_ROW_WEIGHT:g} to {LARGEST_ROW_WEIGHT:g}"
            )
        weights[label] = float(weight)
    return weights


def row_weights(
    given: Any, classes: npt.NDArray[Any], codes: Codes, sample_weight: Numbers | None
) -> Numbers | None:
    """Multiply the weights of rows by those of their classes.

    Parameters
    ----------
    given : mapping of class to float, "balanced" or None
        Weights of the classes, see `checked_class_weight`.
    classes : ndarray of shape (k,)
    codes : ndarray of shape (n,), int64
        Number of each row's class.
    sample_weight : ndarray of shape (n,), float64, or None
        Above 0.

    Returns
    -------
    ndarray of shape (n,), float64, or None
        None if neither rows nor classes have weights.
    """
    checked = checked_class_weight(given, classes)
    if checked is None:
        return sample_weight
    if checked == "balanced":
        total = np.bincount(codes, sample_weight, len(classes))
        of_class = total.sum() / (len(classes) * total)
    else:
        of_class = np.array(list(checked.values()))
    weights: Numbers = of_class[codes]
    return weights if sample_weight is None else weights * sample_weight
