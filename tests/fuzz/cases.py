"""The kinds of fuzzed cases: how a case is made from a seed, and how it is used.

A case either loads and gives finite, repeatable results, or raises one `InputError` of one line.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
from safetensors import SafetensorError

from vitrina.errors import InputError
from vitrina.labelling.label_file import LabelFile

from .folders import SAVED, seal_again, seal_all
from .mutations import (
    ESCAPES,
    FLOATS,
    NUMBERS,
    any_title,
    any_value,
    change_arrays,
    change_bytes,
    change_json,
    change_model,
    json_of,
    near,
)
from .uses import (
    check_message,
    use_classifier,
    use_encoder,
    use_index,
    use_labels,
    use_model,
    use_table,
    use_tasks,
    use_times,
    use_titles,
)

MODEL_FILES = ("model.safetensors", "table.safetensors")


@dataclass(frozen=True)
class Kind:
    """A kind of case.

    Attributes
    ----------
    make : callable
        Takes the random generator and a fresh path, and writes the case to it.
    use : callable
        Takes the path, uses what is there, and checks the results by assertions.
    quick : int
        Number of cases of the short form.
    """

    make: Callable[[Random, Path], None]
    use: Callable[[Path], None]
    quick: int


def change_file(rng: Random, path: Path) -> None:
    """Change a file as fits its format, or as any bytes."""
    data = path.read_bytes()
    other = rng.choice([file for file in path.parent.iterdir() if file.is_file()]).read_bytes()
    changes = {".json": change_json, ".safetensors": change_arrays, ".model": change_model}
    changed = change_bytes(rng, data, other)
    if rng.random() < 0.7:
        # an earlier change may have left a file that has no structure any more
        with suppress(ValueError, RecursionError, IndexError, SafetensorError):
            changed = changes[path.suffix](rng, data)
    path.write_bytes(changed)


def _changed(source: str, names: tuple[str, ...]) -> Callable[[Random, Path], None]:
    """A maker of copies of a folder in which one or two of some files are changed."""

    def make(rng: Random, path: Path) -> None:
        shutil.copytree(SAVED / source, path)
        if source.startswith("classifier") and rng.random() < 0.5:
            _as_format_4(path / "config.json")
        for _ in range(rng.choice((1, 1, 1, 2))):
            change_file(rng, path / rng.choice(names))
        seal_all(path)

    return make


def _as_format_4(file: Path) -> None:
    """Rename the fields of a classifier of format 3 as format 4 calls them."""
    config = json.loads(file.read_text())
    config["params"] = config.pop("setting")
    config["use_words"] = config.pop("lexical")
    file.write_text(json.dumps(config))


def _odd_folder(source: str) -> Callable[[Random, Path], None]:
    """A maker of folders with special files, or with a changed manifest."""

    def make(rng: Random, path: Path) -> None:
        shutil.copytree(SAVED / source, path)
        inner = path / rng.choice(("", "encoder")) if (path / "encoder").is_dir() else path
        if rng.random() < 0.5:
            _change_manifest(rng, inner)
        else:
            names = sorted(file.name for file in inner.iterdir())
            _replace_by_special(rng, inner / rng.choice(names))
        if inner != path and rng.random() < 0.8:
            seal_again(path)

    return make


def _change_manifest(rng: Random, folder: Path) -> None:
    file = folder / "manifest.json"
    data = file.read_bytes()
    kind = rng.randrange(5)
    if kind == 0:
        file.write_bytes(change_bytes(rng, data))
    elif kind == 1:
        file.write_bytes(change_json(rng, data))
    else:
        manifest = json.loads(data)
        if kind == 2:
            manifest[rng.choice(("kind", "format_version", "files"))] = any_value(rng)
        elif kind == 3:
            name = rng.choice(("../x", "/etc/passwd", "x", ESCAPES, "a" * 10_000, "./config.json"))
            manifest["files"][name] = {"bytes": 1, "sha256": "0" * 64}
        else:
            name = rng.choice(sorted(manifest["files"]))
            manifest["files"][name] = rng.choice((any_value(rng), {"bytes": rng.choice(NUMBERS)}))
        file.write_text(json_of(manifest))


def _replace_by_special(rng: Random, path: Path) -> None:
    """Replace a file or folder by something that is no regular file, or by a huge one."""
    kind = rng.randrange(7)
    if kind == 0:
        with path.open("ab") if path.is_file() else (path / "new").open("ab") as file:
            file.truncate(2 ** rng.randrange(20, 42))
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        path.symlink_to(rng.choice(("/dev/zero", "/dev/tty", "/etc/passwd", str(path), "..")))
    elif kind == 4:
        path.write_bytes(b"")
    elif kind == 5:
        path.symlink_to(SAVED / "encoder-1" / path.name)


def _make_labels(rng: Random, path: Path) -> None:
    """A label file whose bytes or whose table was changed."""
    path.mkdir()
    suffix = rng.choice(("csv", "parquet"))
    source = SAVED / f"labels-1.{suffix}"
    out = path / source.name
    if rng.random() < 0.5:
        out.write_bytes(change_bytes(rng, source.read_bytes()))
        return
    table = LabelFile(source).read()
    name = rng.choice(table.columns)
    kind = rng.randrange(5)
    if kind == 0:
        table = table.drop(name)
    elif kind == 1:
        table = table.rename({name: rng.choice(("", "x", ESCAPES, "a\0", "titles"))}, strict=False)
    elif kind == 2:
        table = table.with_columns(pl.lit(rng.choice((None, 1, 0.5, True))).alias(name))
    elif kind == 3:
        table = pl.concat([table, table.reverse(), table])
    else:
        text = any_title(rng).encode("utf-8", "replace").decode()
        table = table.with_columns(pl.lit(rng.choice((text, ESCAPES, "a" * 2_000))).alias(name))
    if suffix == "csv":
        table.write_csv(out)
    else:
        table.write_parquet(out)


def _make_titles(rng: Random, path: Path) -> None:
    titles = [any_title(rng) for _ in range(rng.choice((1, 5, 20)))]
    titles += [near(rng, title) for title in titles[:3]]
    path.write_bytes(json.dumps(titles).encode())


def _make_tokenizer(rng: Random, path: Path) -> None:
    shutil.copytree(SAVED / "encoder-1", path)
    model = path / "tokenizer.model"
    model.write_bytes(change_model(rng, model.read_bytes()))
    seal_again(path)


_TASKS = """
[sessions.shop]
events = "events.csv"
products = "products.csv"
gap = "30m"
language = "es"

[[task]]
name = "one"
file = "labels.csv"
label = "label"
kind = "binary"
positive = ["a"]
rows = 50

[[task]]
name = "two"
file = "labels.csv"
label = "size"
kind = "regression"
log = true
group = "brand"
sessions = "shop"

[[task]]
name = "three"
file = "labels.csv"
label = "label"
kind = "multiclass"
leave_out = ["c"]
"""


def _make_tasks(rng: Random, path: Path) -> None:
    path.mkdir()
    rows = "".join(f"title {i % 60},{'abc'[i % 7 % 3]},{i + 1},{i % 30}\n" for i in range(120))
    (path / "labels.csv").write_text("title,label,size,brand\n" + rows)
    (path / "events.csv").write_text("user,timestamp,product_id\nu,2024-01-01,1\n")
    (path / "products.csv").write_text("product_id,title,category\n1,x,y\n")
    text = _TASKS
    for _ in range(rng.choice((1, 1, 2))):
        text = _change_toml(rng, text)
    (path / "tasks.toml").write_bytes(text.encode("utf-8", "surrogatepass"))


def _change_toml(rng: Random, text: str) -> str:
    """Replace a value, remove a line, add a key, or change any letters."""
    lines = text.split("\n")
    at = rng.choice([i for i, line in enumerate(lines) if " = " in line] or [0])
    kind = rng.randrange(5)
    if kind <= 1:
        key = lines[at].partition(" = ")[0]
        value = json_of(any_value(rng))
        odd: tuple[str, ...] = (
            "1979-05-27T07:32:00Z",
            "nan",
            "'''a\nb'''",
            "[" * 2_000,
            '"\\u0000"',
            "{a = 1}",
        )
        odd += ('"**/*"', '"/dev/zero"', '"."', '"labels.csv"', '["a", "b"]', "true", "0", "1e400")
        lines[at] = f"{key} = {value if rng.random() < 0.4 else rng.choice(odd)}"
    elif kind == 2:
        del lines[at]
    elif kind == 3:
        key = rng.choice(("threshold", "rows", "note", "group", "negative", "language", "x", "log"))
        lines.insert(at, f"{key} = {rng.choice(('1', '[]', 'true', json.dumps(ESCAPES), '-1'))}")
    else:
        return change_bytes(rng, text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
    return "\n".join(lines)


_TABLES = ("csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz")


def _write_table(rng: Random, table: pl.DataFrame, folder: Path) -> None:
    """Write a table in any format, and change its bytes."""
    suffix = rng.choice(_TABLES)
    buffer = io.BytesIO()
    if suffix.startswith("jsonl"):
        table.write_ndjson(buffer)
    elif suffix == "parquet":
        table.write_parquet(buffer, compression=rng.choice(("zstd", "snappy", "uncompressed")))
    else:
        table.write_csv(buffer, separator="\t" if suffix == "tsv" else ",")
    data = buffer.getvalue()
    changed = change_bytes(rng, data) if rng.random() < 0.9 else data
    if suffix.endswith(".gz"):
        changed = gzip.compress(changed)
        if rng.random() < 0.3:
            changed = change_bytes(rng, changed)
    folder.mkdir()
    (folder / f"table.{suffix}").write_bytes(changed)


def _make_table(rng: Random, path: Path) -> None:
    titles = [any_title(rng).encode("utf-8", "replace").decode() for _ in range(50)]
    price = rng.choice((range(50), [None] * 50, [0.5] * 50))
    table = pl.DataFrame({"id": range(50), "title": titles, "price": price})
    _write_table(rng, table, path)


_STARTS = (20240101, 202401010000, 20240101000000, 1_704_000_000, 1_704_000_000_000, 45_292, 0)


def _make_times(rng: Random, path: Path) -> None:
    start = rng.choice(_STARTS)
    steps = (0, 1, 7, 60, 3_600, 86_400, 10**6)
    times: list[Any] = [start + rng.choice(steps) * rng.randrange(30) for _ in range(60)]
    if rng.random() < 0.3:
        times = [f"2024-01-{1 + i % 28:02} {i % 24:02}:00:00" for i in range(60)]
    for _ in range(rng.choice((0, 1, 5, 40))):
        odd = (*NUMBERS[:12], *FLOATS, "", "x", "9999-12-31", "0001-01-01", "2024-02-30", ESCAPES)
        times[rng.randrange(60)] = rng.choice(odd)
    columns = {
        "user": [i % 5 for i in range(60)],
        "timestamp": [str(time) for time in times] if rng.random() < 0.9 else range(60),
        "product_id": [i % 11 for i in range(60)],
    }
    _write_table(rng, pl.DataFrame(columns), path)


_ENCODER = ("config.json", "model.safetensors", "table.safetensors", "tokenizer.model")
_INNER = tuple(f"encoder/{name}" for name in _ENCODER)
_CLASSIFIER = ("config.json", "classifier.safetensors")

KINDS: dict[str, Kind] = {
    "encoder-config": Kind(_changed("encoder-1", ("config.json",)), use_encoder, 40),
    "encoder-arrays": Kind(_changed("encoder-1", MODEL_FILES), use_encoder, 40),
    "encoder-any-file": Kind(_changed("encoder-1", _ENCODER), use_encoder, 40),
    "encoder-odd-folder": Kind(_odd_folder("encoder-1"), use_encoder, 40),
    "tokenizer": Kind(_make_tokenizer, use_model, 40),
    "classifier-config": Kind(_changed("classifier-3", ("config.json",)), use_classifier, 40),
    "classifier-arrays": Kind(
        _changed("classifier-3", ("classifier.safetensors",)), use_classifier, 40
    ),
    "classifier-of-vectors": Kind(
        _changed("classifier-3-vectors", _CLASSIFIER), use_classifier, 30
    ),
    "classifier-any-file": Kind(_changed("classifier-3", _CLASSIFIER + _INNER), use_classifier, 40),
    "classifier-odd-folder": Kind(_odd_folder("classifier-3"), use_classifier, 40),
    "lexical-part": Kind(
        _changed("encoder-2", ("config.json", "lexical.safetensors", "lexical.safetensors")),
        use_encoder,
        40,
    ),
    "golden-vectors": Kind(_changed("encoder-2", ("golden.json",)), use_encoder, 30),
    "index-config": Kind(_changed("index-1", ("config.json",)), use_index, 40),
    "index-arrays": Kind(
        _changed("index-1", ("vectors.safetensors", "rows.safetensors")), use_index, 40
    ),
    "index-graph": Kind(_changed("index-1-graph", ("graph.safetensors",)), use_index, 40),
    "index-odd-folder": Kind(_odd_folder("index-1-graph"), use_index, 40),
    "labels": Kind(_make_labels, use_labels, 40),
    "titles": Kind(_make_titles, use_titles, 40),
    "tables": Kind(_make_table, use_table, 40),
    "times": Kind(_make_times, use_times, 40),
    "tasks": Kind(_make_tasks, use_tasks, 40),
}


def run(kind: str, seed: int, folder: Path) -> tuple[str, str]:
    """Make one case in a folder and use it; see `use`."""
    KINDS[kind].make(Random(f"{kind} {seed}"), folder / "case")
    return use(kind, folder / "case")


def use(kind: str, path: Path) -> tuple[str, str]:
    """Use what is at a path.

    Returns
    -------
    outcome : {"loaded", "refused"}
    message : str
        Why it was refused.

    Raises
    ------
    Exception
        Of any other type than `InputError`, if the case fell.
    """
    try:
        KINDS[kind].use(path)
    except InputError as error:
        check_message(str(error), path)
        return "refused", str(error)
    return "loaded", ""
