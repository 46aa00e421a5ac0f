"""The folders of saved classifiers and regressors: what they may hold, and how they are written,
read and checked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import sklearn

from vitrina._version import __version__
from vitrina.classification.linear import LinearParams
from vitrina.classification.tfidf import HashedTfidf
from vitrina.encoder.weights import ENCODER, EncoderWeights
from vitrina.errors import InputError
from vitrina.sealed import MANIFEST, MIB, FolderKind, SealedFolder, require, seal
from vitrina.untrusted import ArraySpec


def _kind(name: str, format_version: int, arrays: str) -> FolderKind:
    """The kind of folder that holds a model, with its arrays in a file of the given name."""
    own = {"config.json": 16 * MIB, arrays: 1024 * MIB, f"encoder/{MANIFEST}": MIB}
    of_encoder = {f"encoder/{file}": limit for file, limit in ENCODER.files.items()}
    required = {f"encoder/{file}" for file in ENCODER.required}
    return FolderKind(name, format_version, own | of_encoder, frozenset(own) | required)


# Formats of a classifier's folder:
# 1: vectors only.
# 2: adds TF-IDF features ("lexical" in config.json); the weight of the vectors is always 1.5.
# 3: adds the chosen weight and C ("setting" in config.json).
# 4: config.json calls them "use_words" and "params".
# 5: adds "class_weight".
CLASSIFIER = _kind("vitrina classifier", 5, "classifier.safetensors")
"""The folder of a classifier. It holds the classifier's own encoder."""

REGRESSOR = _kind("vitrina regressor", 1, "regressor.safetensors")
"""The folder of a regressor. It holds the regressor's own encoder."""

_ARRAYS = {CLASSIFIER.name: "classifier.safetensors", REGRESSOR.name: "regressor.safetensors"}

MAX_CLASSES = 10_000
"""A batch of 16,384 titles then has 1.3 GB of probabilities at most."""

LONGEST_CLASS = 1_000
"""Characters. All classes take as much memory as the longest: together 40 MB at most."""

LARGEST_TARGET = 1e12
"""Of a regressor's numbers, without their sign."""

SMALLEST_ROW_WEIGHT, LARGEST_ROW_WEIGHT = 1e-9, 1e9
"""Of a row or a class; the weight of a row may also be 0."""

LARGEST_WEIGHT = 1e6
"""Of the vectors, relative to the TF-IDF features."""

_LARGEST_COEFFICIENT = 1e12
_LARGEST_OF_REGRESSOR = 1e18
_LARGEST_C = sys.float_info.max  # JSON has larger integers
_WEIGHT_BEFORE_FORMAT_3 = 1.5


class SavedModel(NamedTuple):
    """What a folder keeps of a classifier or regressor.

    See `TitleClassifier` and `TitleRegressor` for the fields. `classes` is None for a regressor.
    `class_weight` has all classes if it is a mapping.
    """

    weights: EncoderWeights
    C: float | None
    use_words: bool
    params: LinearParams
    coef: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]
    tfidf: HashedTfidf | None
    classes: npt.NDArray[Any] | None = None
    class_weight: dict[Any, float] | Literal["balanced"] | None = None

    def write_into(self, folder: Path) -> None:
        """Write the files of the model into a folder that doesn't exist yet.

        Raises
        ------
        InputError
            If a file would be larger than its kind allows, or a coefficient couldn't be loaded.
        """
        kind = REGRESSOR if self.classes is None else CLASSIFIER
        arrays = {"coef": self.coef, "intercept": self.intercept}
        _require_loadable(arrays, _largest(kind))
        (folder / "encoder").mkdir(parents=True)
        self.weights.write_into(folder / "encoder")
        if self.tfidf is not None:
            arrays |= self.tfidf._asdict()
        (folder / _ARRAYS[kind.name]).write_bytes(safetensors.numpy.save(arrays))
        text = json.dumps(self._config(), indent=1, ensure_ascii=False)
        (folder / "config.json").write_text(text + "\n", "utf-8")
        seal(folder, kind)

    def _config(self) -> dict[str, Any]:
        config = {
            "vitrina": __version__,
            "encoder": self.weights.digest,
            "scikit_learn": sklearn.__version__,
            "C": None if self.C is None else float(self.C),  # json can't write numpy's numbers
            "params": self.params._asdict(),
            "use_words": bool(self.use_words),
        }
        if self.classes is None:
            return config
        classes = self.classes.tolist()
        class_weight: Any = self.class_weight
        if isinstance(class_weight, Mapping):  # the keys of a JSON object are strings
            class_weight = [class_weight[label] for label in classes]
        return config | {"class_weight": class_weight, "classes": classes}

    @classmethod
    def read(cls, path: Path, kind: FolderKind) -> SavedModel:
        """Read a folder and check everything in it.

        Parameters
        ----------
        path : Path
        kind : FolderKind
            `CLASSIFIER` or `REGRESSOR`.

        Raises
        ------
        InputError
            If the folder is missing, incomplete, damaged, of another kind or of a newer format.
        """
        folder = SealedFolder(path, kind)
        config = folder.json("config.json")
        where = path / "config.json"
        classes, class_weight = None, None
        if kind is CLASSIFIER:
            classes = _stored_classes(config, where)
            class_weight = _stored_class_weight(config, classes, where)
        params = _stored_params(config, where)
        C = require(config, "C", _is_C, "a number above 0, or null", where)
        weights = EncoderWeights.load(path / "encoder")
        n_models = 1 if classes is None or len(classes) == 2 else len(classes)
        arrays = _stored_arrays(folder, n_models, weights)
        tfidf = HashedTfidf(arrays["hashes"], arrays["idf"]) if "hashes" in arrays else None
        use_words = _stored_use_words(config, where)
        coef, intercept = arrays["coef"], arrays["intercept"]
        return cls(weights, C, use_words, params, coef, intercept, tfidf, classes, class_weight)


def _largest(kind: FolderKind) -> float:
    return _LARGEST_OF_REGRESSOR if kind is REGRESSOR else _LARGEST_COEFFICIENT


def _require_loadable(arrays: Mapping[str, npt.NDArray[np.float64]], largest: float) -> None:
    """Raise an error if a coefficient is larger than loading allows."""
    for array in arrays.values():
        if not (np.abs(array) <= largest).all():
            raise InputError(
                f"coefficients: some are beyond {largest:g} and can't be saved; fit with a smaller "
                "`C` or with smaller numbers"
            )


def _stored_arrays(
    folder: SealedFolder, n_models: int, weights: EncoderWeights
) -> dict[str, npt.NDArray[Any]]:
    """Read the coefficients and the TF-IDF features of a model on the vectors of an encoder."""
    file = _ARRAYS[folder.kind.name]
    shapes = folder.shapes(file)
    has_words = "hashes" in shapes
    n_words = shapes["hashes"][0] if has_words and len(shapes["hashes"]) == 1 else 0
    n_features = weights.contextual_dim + n_words if has_words else weights.width

    limits = {"smallest": -_largest(folder.kind), "largest": _largest(folder.kind)}
    specs = {
        "coef": ArraySpec(np.float64, (n_models, n_features), **limits),
        "intercept": ArraySpec(np.float64, (n_models,), **limits),
    }
    if has_words:
        specs["hashes"] = ArraySpec(np.uint32, (n_words,))
        # `HashedTfidf` adds 1 to a logarithm that is 0 or more. A title's features are divided by
        # their length, which must not be 0.
        specs["idf"] = ArraySpec(np.float64, (n_words + 1,), smallest=1)
    arrays = folder.arrays(file, specs)
    # they are found by bisection
    if has_words and not (arrays["hashes"][:-1] < arrays["hashes"][1:]).all():
        raise InputError(
            f"{folder.folder / file}: hashes are not sorted; copy or save the "
            f"{folder.kind.name} again"
        )
    return arrays


def _stored_class_weight(
    config: Mapping[str, Any], classes: npt.NDArray[Any], where: Path
) -> dict[Any, float] | Literal["balanced"] | None:
    """Read `class_weight` from the config.json of any format; the first four had none."""
    if "class_weight" not in config:
        return None

    def is_valid(value: Any) -> bool:
        if value is None or value == "balanced":
            return True
        if not isinstance(value, list) or len(value) != len(classes):
            return False
        return all(is_positive(weight, LARGEST_ROW_WEIGHT) for weight in value)

    expected = "null, 'balanced', or a list with a weight above 0 for each class"
    value = require(config, "class_weight", is_valid, expected, where)
    if isinstance(value, list):
        return dict(zip(classes.tolist(), map(float, value), strict=True))
    return None if value is None else "balanced"


def is_positive(value: Any, largest: float) -> bool:
    """Whether a value is a number above 0 and at most `largest`."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return bool(0 < value <= largest)  # type: ignore[operator]


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
            expected = f"a number above 0 and up to {LARGEST_WEIGHT:,.0f}"
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
    return is_positive(value, LARGEST_WEIGHT)


def _is_strength(value: Any) -> bool:
    return is_positive(value, _LARGEST_C)


def _is_C(value: Any) -> bool:
    return value is None or _is_strength(value)
