"""The folder of a saved index: what it may hold, and how it is written, read and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from vitrina._version import __version__
from vitrina.errors import InputError, shown
from vitrina.sealed import MIB, FolderKind, SealedFolder, require, seal
from vitrina.search.exact import Vectors
from vitrina.search.graph import Graph
from vitrina.text.normalize import as_utf8
from vitrina.untrusted import ArraySpec

GIB = 1024 * MIB

INDEX = FolderKind(
    name="vitrina index",
    format_version=1,
    files={
        "config.json": MIB,
        "vectors.safetensors": 256 * GIB,
        "rows.safetensors": 256 * GIB,
        "graph.safetensors": 256 * GIB,
    },
    required=frozenset(("config.json", "vectors.safetensors", "rows.safetensors")),
)
"""The folder of an index. All files but the first are mapped, not read into memory."""

TYPES: dict[str, pl.DataType] = {
    "text": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
}
"""What a column of an index may hold."""

MAX_COLUMNS = 64
LONGEST_NAME = 200
MAX_EXPANSION = 1 << 16
METHODS = ("auto", "exact", "usearch")

_MAX_WIDTH = 16_384
_MAX_ROWS = 1 << 31
_MAX_TEXT = (1 << 32) - 1
_MAX_SCALE = 1.0  # that of a vector with one component of 1
_NAMES = {"float32": "F32", "uint32": "U32", "int8": "I8"}


class SavedIndex(NamedTuple):
    """What a folder keeps of an index; see `TitleIndex` for the fields."""

    encoder: str
    method: str
    recall: float | None
    expansion: int
    rows: pl.DataFrame
    vectors: Vectors
    keys: npt.NDArray[np.uint32] | None = None
    graph: Graph | None = None

    def write_into(self, folder: Path) -> None:
        """Write the files of the index into an existing, empty folder.

        Raises
        ------
        InputError
            If a column has more than 4 GiB of text.
        """
        vectors = self.vectors
        _write_arrays(
            folder / "vectors.safetensors",
            {"scale": vectors.scale, "high": vectors.high, "low": vectors.low},
        )
        offsets, texts = {}, {}
        for number, column in enumerate(self.rows):
            offsets[f"offsets{number}"], texts[f"text{number}"] = _stored_text(column)
        _write_arrays(folder / "rows.safetensors", offsets | texts)
        if self.graph is not None and self.keys is not None:
            file = np.frombuffer(self.graph.to_bytes(), np.int8)
            _write_arrays(folder / "graph.safetensors", {"keys": self.keys, "file": file})
        type_of = {dtype: name for name, dtype in TYPES.items()}
        columns = [{"name": column.name, "type": type_of[column.dtype]} for column in self.rows]
        config = {
            "vitrina": __version__,
            "encoder": self.encoder,
            "method": self.method,
            "recall_at_10": self.recall,
            "expansion": self.expansion,
            "width": vectors.width,
            "rows": len(vectors),
            "columns": columns,
        }
        text = json.dumps(config, indent=1, ensure_ascii=False)
        (folder / "config.json").write_text(text + "\n", "utf-8")
        seal(folder, INDEX)

    @classmethod
    def read(cls, path: Path) -> SavedIndex:
        """Read a folder and check everything in it.

        Raises
        ------
        InputError
            If the folder is missing, incomplete, damaged or of a newer format.
        MissingExtraError
            If it has a graph and usearch is not installed.
        """
        folder = SealedFolder(path, INDEX)
        config = folder.json("config.json")
        where = path / "config.json"
        encoder = require(config, "encoder", _is_digest, "a SHA-256", where)
        expected = f"one of {', '.join(METHODS)}"
        method = require(config, "method", lambda value: value in list(METHODS), expected, where)
        recall = require(config, "recall_at_10", _is_recall, "from 0 to 1, or null", where)
        expansion = _size(config, "expansion", MAX_EXPANSION, where)
        width = _size(config, "width", _MAX_WIDTH, where)
        count = _size(config, "rows", _MAX_ROWS, where, least=0)
        arrays = folder.arrays(
            "vectors.safetensors",
            {
                "scale": ArraySpec(np.float32, (count,), smallest=0, largest=_MAX_SCALE),
                "high": ArraySpec(np.int8, (count, width)),
                "low": ArraySpec(np.int8, (count, width)),
            },
        )
        vectors = Vectors(arrays["high"], arrays["low"], arrays["scale"])
        rows = _stored_rows(folder, config, count)
        keys, graph = None, None
        if "graph.safetensors" in folder:
            keys, graph = _stored_graph(folder, count, width)
        return cls(encoder, method, recall, expansion, rows, vectors, keys, graph)


def _write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a safetensors file array by array: the package would first copy all of them."""
    header = {}
    end = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers behind it are aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _stored_text(column: pl.Series) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int8]]:
    """The offsets and the UTF-8 of a column as text; a missing value becomes the empty text."""
    text = as_utf8(column.cast(pl.String))
    if len(text.values) > _MAX_TEXT:
        raise InputError(f"column '{column.name}' has more than 4 GiB of text; leave it out")
    return text.offsets.astype(np.uint32), text.values.view(np.int8)


def _stored_rows(folder: SealedFolder, config: Mapping[str, Any], count: int) -> pl.DataFrame:
    """The products, titles and other columns of an index."""
    where = folder.folder / "config.json"
    expected = f"a list of 2 to {MAX_COLUMNS} different names with their types"
    columns = require(config, "columns", _are_columns, expected, where)
    shapes = folder.shapes("rows.safetensors")
    specs = {}
    for number in range(len(columns)):
        shape = shapes.get(f"text{number}", (0,))
        specs[f"offsets{number}"] = ArraySpec(np.uint32, (count + 1,))
        specs[f"text{number}"] = ArraySpec(np.int8, shape if len(shape) == 1 else (0,))
    arrays = folder.arrays("rows.safetensors", specs)
    series = []
    for number, column in enumerate(columns):
        try:
            text = _text(arrays[f"offsets{number}"], arrays[f"text{number}"])
            series.append(_typed(text, column["type"]).alias(column["name"]))
        except (ValueError, pl.exceptions.PolarsError):  # pyarrow's errors are ValueErrors too
            raise _damaged(folder, "rows.safetensors", f"column {number}") from None
    product, title = series[:2]
    if product.null_count() or product.n_unique() != count or title.null_count():
        raise _damaged(folder, "rows.safetensors", "products and titles")
    return pl.DataFrame(series)


def _text(offsets: npt.NDArray[np.uint32], values: npt.NDArray[np.int8]) -> pl.Series:
    """A column of text whose bytes stay mapped; ValueError if it is none."""
    if offsets[0] != 0 or offsets[-1] != len(values):
        raise ValueError
    array = pa.LargeStringArray.from_buffers(
        len(offsets) - 1, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(values)
    )
    array.validate(full=True)
    text = pl.Series(array)
    return text.set(text == "", None)


def _typed(text: pl.Series, name: str) -> pl.Series:
    """Values from their text; an error if one is none of the type."""
    if name != "boolean":
        return text.cast(TYPES[name])
    if not text.drop_nulls().is_in(["true", "false"]).all():
        raise ValueError
    return text == "true"


def _stored_graph(
    folder: SealedFolder, count: int, width: int
) -> tuple[npt.NDArray[np.uint32], Graph]:
    shape = folder.shapes("graph.safetensors").get("file", (0,))
    specs = {
        "keys": ArraySpec(np.uint32, (count,)),
        "file": ArraySpec(np.int8, shape if len(shape) == 1 else (0,)),
    }
    arrays = folder.arrays("graph.safetensors", specs)
    keys = arrays["keys"]
    # a row is found from its key by bisection
    if not (keys[:-1] < keys[1:]).all():
        raise _damaged(folder, "graph.safetensors", "keys")
    try:
        return keys, Graph.view(arrays["file"].view(np.uint8), count, width)
    except ValueError as error:
        if isinstance(error, InputError):  # usearch is missing
            raise
        raise _damaged(folder, "graph.safetensors", f"the graph {error}") from None


def _damaged(folder: SealedFolder, name: str, what: str) -> InputError:
    return InputError(f"{folder.folder / name}: is damaged ({what}); build the {INDEX.name} again")


def _size(config: Mapping[str, Any], name: str, most: int, where: Path, *, least: int = 1) -> int:
    def is_size(value: Any) -> bool:
        return type(value) is int and least <= value <= most

    expected = f"a whole number from {least} to {most:,}"
    return int(require(config, name, is_size, expected, where))


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_recall(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= 1)


def _are_columns(value: Any) -> bool:
    """Whether a value is a list of columns, the product and the title first."""
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_COLUMNS:
        return False
    names = []
    for column in value:
        if not isinstance(column, dict) or column.get("type") not in list(TYPES):
            return False
        name = column.get("name")
        if not isinstance(name, str) or not name or shown(name, LONGEST_NAME) != name:
            return False
        names.append(name)
    are_right = value[0]["type"] in ("text", "integer") and value[1]["type"] == "text"
    return are_right and len(set(names)) == len(names)
