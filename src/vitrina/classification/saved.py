"""The folder of a saved classifier: what it may hold, and how it is written, read and checked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import sklearn

from vitrina._version import __version__
from vitrina.classification.linear import LinearParams
from vitrina.classification.tfidf import HashedTfidf
from vitrina.encoder.weights import ENCODER, EncoderWeights
from vitrina.errors import InputError
from vitrina.sealed import MANIFEST, MIB, ArraySpec, FolderKind, SealedFolder, require, seal

# Formats of the saved folder:
# 1: vectors only.
# 2: adds TF-IDF features ("lexical" in config.json); the weight of the vectors is always 1.5.
# 3: adds the chosen weight and C ("setting" in config.json).
# 4: config.json calls them "use_words" and "params".
CLASSIFIER = FolderKind(
    name="vitrina classifier",
    format_version=4,
    files={
        "config.json": 16 * MIB,
        "classifier.safetensors": 1024 * MIB,
        f"encoder/{MANIFEST}": MIB,
        **{f"encoder/{name}": limit for name, limit in ENCODER.files.items()},
    },
    required=frozenset(
        (
            "config.json",
            "classifier.safetensors",
            f"encoder/{MANIFEST}",
            *(f"encoder/{name}" for name in ENCODER.required),
        )
    ),
)
"""The folder of a classifier. It holds the classifier's own encoder."""

MAX_CLASSES = 10_000
"""A batch of 16,384 titles then has 1.3 GB of probabilities at most."""

LONGEST_CLASS = 1_000
"""Characters. All classes take as much memory as the longest: together 40 MB at most."""

_LARGEST_COEFFICIENT = 1e12
_LARGEST_WEIGHT = 1e6
_LARGEST_C = sys.float_info.max  # JSON has larger integers
_WEIGHT_BEFORE_FORMAT_3 = 1.5

_ARRAYS = "classifier.safetensors"


class SavedClassifier(NamedTuple):
    """What a folder keeps of a classifier; see `TitleClassifier` for the fields."""

    weights: EncoderWeights
    C: float | None
    use_words: bool
    classes: npt.NDArray[Any]
    params: LinearParams
    coef: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]
    tfidf: HashedTfidf | None

    def write_into(self, folder: Path) -> None:
        """Write the files of the classifier into a folder that doesn't exist yet.

        Raises
        ------
        InputError
            If a file would be larger than `CLASSIFIER` allows.
        """
        (folder / "encoder").mkdir(parents=True)
        self.weights.write_into(folder / "encoder")
        arrays = {"coef": self.coef, "intercept": self.intercept}
        if self.tfidf is not None:
            arrays |= self.tfidf._asdict()
        (folder / _ARRAYS).write_bytes(safetensors.numpy.save(arrays))
        config = {
            "vitrina": __version__,
            "scikit_learn": sklearn.__version__,
            "C": None if self.C is None else float(self.C),  # json can't write numpy's numbers
            "params": self.params._asdict(),
            "use_words": bool(self.use_words),
            "classes": self.classes.tolist(),
        }
        text = json.dumps(config, indent=1, ensure_ascii=False)
        (folder / "config.json").write_text(text + "\n", "utf-8")
        seal(folder, CLASSIFIER)

    @classmethod
    def read(cls, path: Path) -> SavedClassifier:
        """Read a folder and check everything in it.

        Raises
        ------
        InputError
            If the folder is missing, incomplete, damaged or of a newer format.
        """
        folder = SealedFolder(path, CLASSIFIER)
        config = folder.json("config.json")
        where = path / "config.json"
        classes = _stored_classes(config, where)
        params = _stored_params(config, where)
        C = require(config, "C", _is_C, "a number above 0, or null", where)
        weights = EncoderWeights.load(path / "encoder")
        arrays = _stored_arrays(folder, len(classes), len(weights.bias))
        tfidf = HashedTfidf(arrays["hashes"], arrays["idf"]) if "hashes" in arrays else None
        use_words = _stored_use_words(config, where)
        return cls(
            weights, C, use_words, classes, params, arrays["coef"], arrays["intercept"], tfidf
        )


def _stored_arrays(folder: SealedFolder, n_classes: int, width: int) -> dict[str, npt.NDArray[Any]]:
    """Read coefficients and word features; `width` is the length of the encoder's vectors."""
    shapes = folder.shapes(_ARRAYS)
    has_words = "hashes" in shapes
    n_words = shapes["hashes"][0] if has_words and len(shapes["hashes"]) == 1 else 0
    n_models = 1 if n_classes == 2 else n_classes

    limits = {"smallest": -_LARGEST_COEFFICIENT, "largest": _LARGEST_COEFFICIENT}
    specs = {
        "coef": ArraySpec(np.float64, (n_models, width + n_words), **limits),
        "intercept": ArraySpec(np.float64, (n_models,), **limits),
    }
    if has_words:
        specs["hashes"] = ArraySpec(np.uint32, (n_words,))
        # `HashedTfidf` adds 1 to a logarithm that is 0 or more. A title's features are divided by
        # their length, which must not be 0.
        specs["idf"] = ArraySpec(np.float64, (n_words + 1,), smallest=1)
    arrays = folder.arrays(_ARRAYS, specs)
    # they are found by bisection
    if has_words and not (arrays["hashes"][:-1] < arrays["hashes"][1:]).all():
        raise InputError(
            f"{folder.folder / _ARRAYS}: hashes are not sorted; copy or save the "
            f"{CLASSIFIER.name} again"
        )
    return arrays


def _stored_classes(config: Mapping[str, Any], where: Path) -> npt.NDArray[Any]:
    expected = (
        f"a sorted list of 2 to {MAX_CLASSES:,} different classes of one type, with at most "
        f"{LONGEST_CLASS:,} letters"
    )
    classes = require(config, "classes", _are_classes, expected, where)
    # JSON has strings, integers and booleans, so numpy restores the type of the classes.
    return np.array(classes)


def _are_classes(value: Any) -> bool:
    """Whether a value is a sorted list of at least two different classes of one type."""
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_CLASSES:
        return False
    kind = type(value[0])
    if kind not in (str, int, bool) or any(type(label) is not kind for label in value):
        return False
    if kind is str and not all(map(is_storable, value)):
        return False
    if kind is int and not -(2**63) <= value[0] <= value[-1] < 2**63:
        return False
    return all(before < after for before, after in pairwise(value))


def is_storable(label: str) -> bool:
    """Whether the text of a class can be kept in a numpy array, and written as UTF-8."""
    # numpy drops zeros at the end of a text, so that two classes could become one
    if len(label) > LONGEST_CLASS or label.endswith("\0"):
        return False
    return not any("\ud800" <= char <= "\udfff" for char in label)


def _stored_params(config: Mapping[str, Any], where: Path) -> LinearParams:
    """Read `best_params_` from the config.json of any format."""
    for key in ("params", "setting"):
        if key in config:
            params = require(config, key, lambda value: isinstance(value, dict), "an object", where)
            expected = f"a number above 0 and up to {_LARGEST_WEIGHT:,.0f}"
            weight = require(params, "weight", _is_weight, expected, where)
            strength = require(params, "C", _is_strength, "a number above 0", where)
            return LinearParams(float(weight), float(strength))
    strength = require(config, "C", _is_strength, "a number above 0", where)
    return LinearParams(_WEIGHT_BEFORE_FORMAT_3, float(strength))


def _stored_use_words(config: Mapping[str, Any], where: Path) -> bool:
    """Read `use_words` from the config.json of any format; the first had vectors only."""
    for key in ("use_words", "lexical"):
        if key in config:
            return bool(require(config, key, _is_bool, "true or false", where))
    return False


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_weight(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= _LARGEST_WEIGHT


def _is_strength(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= _LARGEST_C


def _is_C(value: Any) -> bool:
    return value is None or _is_strength(value)
