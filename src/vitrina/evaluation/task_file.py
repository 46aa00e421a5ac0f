"""Tasks and sessions as a TOML file names them, read and checked before anything expensive."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from vitrina.data.catalogue import CatalogueColumns
from vitrina.data.sessions import EventColumns, parse_gap
from vitrina.data.tables import readable, require_columns, scan
from vitrina.errors import InputError, error_prefix
from vitrina.evaluation.protocol import split_titles, unit_hash
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.metrics import Kind
from vitrina.text.normalize import Normalizer, as_titles


@dataclass(frozen=True)
class TaskSpec:
    """A task as its file describes it; what a reader of the file sees, before any data."""

    name: str
    file: Path
    label: str
    kind: Kind
    title: str = "title"
    positive: tuple[Any, ...] | None = None
    negative: tuple[Any, ...] | None = None
    threshold: float | None = None
    leave_out: tuple[Any, ...] = ()
    log: bool = False
    group: str | None = None
    product: str | None = None
    category: str | None = None
    sessions: str | None = None
    language: str | None = None
    rows: int | None = None
    note: str = ""


def read_tasks(
    file: str | Path, *, rows: int | None = None, seed: int = 0
) -> tuple[list[Task], dict[str, Shop]]:
    """The tasks and the sessions that a TOML file names.

    Paths are relative to the file. Each ``[[task]]`` has

    - ``name``, ``file`` (Parquet, CSV or JSON lines), ``label`` (a column), ``kind`` ("binary",
      "multiclass" or "regression"), and ``title`` (a column, by default "title");
    - binary: ``positive``, a list of label values, all others being negative unless ``negative``
      lists them too; or ``threshold``, labels from it on being positive; or neither, for labels
      that are booleans, or 0 and 1;
    - multi-class: ``leave_out``, classes that don't take part;
    - regression: ``log = true`` for the natural logarithm of the label;
    - optional: ``group``, a column whose values stay together in a second, grouped split;
      ``product`` and ``category``, columns that models with product ids and metadata use;
      ``sessions``, the sessions of the same shop, of which pre-training doesn't see the products
      that have a validation or test title; ``language``, of the titles (that of the sessions by
      default); ``rows``, to draw so many at random; ``note``, for the report.

    Each ``[sessions.NAME]`` has ``events``, ``products`` (files), and as they differ from their
    defaults ``gap``, ``language``, ``user_column``, ``time_column``, ``product_column``,
    ``title_column`` and ``category_column``, like the options of `vitrina train`.

    Rows without title or label don't take part.

    Parameters
    ----------
    file
    rows : int, optional
        A bound on the rows of every task.
    seed : int
        Of splits and of drawn rows.

    Returns
    -------
    tasks, the grouped split of a task right behind it, and sessions by name

    Raises
    ------
    InputError
        for anything that can't be used, before models take any time
    """
    path = Path(file)
    content = _toml(path)
    unknown = sorted(content.keys() - {"task", "sessions"})
    if unknown:
        raise InputError(f"{path}: '{unknown[0]}' is unknown; it may have [[task]] and [sessions]")
    tables = content.get("sessions", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise InputError(f"{path}: sessions should be written as [sessions.NAME]")
    shops = {name: _shop(path, name, table) for name, table in tables.items()}
    listed = content.get("task", [])
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path}: names no task; begin each with a line [[task]]")
    specs = [_spec(path, number, table) for number, table in enumerate(listed, 1)]
    names = [spec.name for spec in specs]
    for spec in specs:
        where = f"{path}: task '{spec.name}'"
        if names.count(spec.name) > 1:
            raise InputError(f"{where} is there twice; give each task a name of its own")
        if spec.sessions is not None and spec.sessions not in shops:
            raise InputError(
                f"{where}: sessions '{spec.sessions}' are not in the file; add "
                f"[sessions.{spec.sessions}]"
            )
    tasks = [task for spec in specs for task in _open(path, spec, shops, rows, seed)]
    for name, shop in shops.items():
        own = [task for task in tasks if task.sessions == name]
        judged = (task.titles_of(part) for task in own for part in (task.validation, task.test))
        keys = Normalizer(shop.language)(list(chain.from_iterable(judged)))
        shops[name] = replace(shop, held_out=frozenset(keys))
    return tasks, shops


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = (error.strerror or "can't be read").lower()
        raise InputError(f"{path}: {reason}; give a TOML file that names tasks") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; give a TOML file that names tasks") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not valid TOML: {error}") from None


def _shop(path: Path, name: str, table: Mapping[str, Any]) -> Shop:
    where = f"{path}: [sessions.{name}]"
    columns = {f"{role}_column": role for role in ("user", "time", "product", "title", "category")}
    _known(where, table, {"events", "products", "gap", "language", *columns})
    files = {role: _files(path, where, role, table) for role in ("events", "products")}
    named = {
        role: _typed(where, key, table[key], str) for key, role in columns.items() if key in table
    }
    gap = str(_typed(where, "gap", table.get("gap", "30m"), str | int))
    language = _typed(where, "language", table["language"], str) if "language" in table else None
    with error_prefix(where):
        parse_gap(gap)
        Normalizer(language)
    shop = Shop(
        name,
        files["events"],
        files["products"],
        gap,
        language,
        EventColumns(**{r: c for r, c in named.items() if r in ("user", "time", "product")}),
        CatalogueColumns(**{r: c for r, c in named.items() if r not in ("user", "time")}),
    )
    for role, needed in (("events", shop.event_columns), ("products", shop.catalogue_columns)):
        with error_prefix(where):
            frame = scan(list(files[role]), role)
            require_columns(frame, asdict(needed).values(), list(files[role]))
    return shop


def _files(path: Path, where: str, role: str, table: Mapping[str, Any]) -> tuple[Path, ...]:
    given = table.get(role)
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not listed or not all(isinstance(f, str) for f in listed):
        raise InputError(f"{where}: {role} should name a file, or list several")
    return tuple(path.parent / name for name in listed)


def _spec(path: Path, number: int, table: Any) -> TaskSpec:
    name = table.get("name") if isinstance(table, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise InputError(f'{path}: task number {number} has no name; add name = "..."')
    where = f"{path}: task '{name}'"
    _known(where, table, {column.name for column in fields(TaskSpec)})
    for key in ("file", "label", "kind"):
        if key not in table:
            raise InputError(f"{where}: {key} is missing; add {key} = ...")
    if table["kind"] not in get_args(Kind):
        raise InputError(
            f"{where}: kind is '{table['kind']}'; it should be one of {', '.join(get_args(Kind))}"
        )
    types = {"rows": int, "threshold": int | float, "log": bool} | dict.fromkeys(
        ("positive", "negative", "leave_out"), list
    )
    values = {key: _typed(where, key, value, types.get(key, str)) for key, value in table.items()}
    only = {"positive": "binary", "negative": "binary", "threshold": "binary"}
    only |= {"leave_out": "multiclass", "log": "regression"}
    for key, kind in only.items():
        if key in values and values["kind"] != kind:
            raise InputError(f'{where}: {key} is for kind = "{kind}"; take it out')
    if "threshold" in values and "positive" in values:
        raise InputError(f"{where}: give positive or threshold, not both")
    if "negative" in values and "positive" not in values:
        raise InputError(f"{where}: negative needs positive = [...] beside it")
    if values.get("rows", 1) < 1:
        raise InputError(f"{where}: rows should be 1 or more")
    values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return TaskSpec(**values | {"file": path.parent / values["file"]})


def _known(where: str, table: Mapping[str, Any], keys: set[str]) -> None:
    for key in sorted(table.keys() - keys):
        near = get_close_matches(key, keys, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(keys))}"
        raise InputError(f"{where}: '{key}' is unknown; {meant}")


def _typed(where: str, key: str, value: Any, expected: Any) -> Any:
    valid = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    if not valid:
        names = {
            str: "text in quotes",
            bool: "true or false",
            list: "a list",
            int: "a whole number",
        }
        raise InputError(
            f"{where}: {key} is {value!r}; it should be {names.get(expected, 'a number')}"
        )
    return value


def _open(
    path: Path,
    spec: TaskSpec,
    shops: Mapping[str, Shop],
    limit: int | None,
    seed: int,
) -> Iterator[Task]:
    """The task of a spec, and behind it the one of its grouped split."""
    where = f"{path}: task '{spec.name}'"
    roles = ("title", "label", "group", "product", "category")
    named = {role: getattr(spec, role) for role in roles if getattr(spec, role) is not None}
    language = spec.language or (shops[spec.sessions].language if spec.sessions else None)
    with error_prefix(where):
        normalizer = Normalizer(language)
        frame = scan(spec.file, "titles and labels")
        require_columns(frame, named.values(), spec.file)
        with readable(spec.file):
            table = frame.select(**{role: pl.col(name) for role, name in named.items()}).collect()
    table = _labelled(where, spec, table)
    keys = pl.Series("key", normalizer(as_titles(table["title"])), pl.String)
    table = table.with_columns(keys).filter(pl.col("key") != "")
    rows = min(filter(None, (spec.rows, limit, len(table))))
    # by the titles' hashes, so that the rows drawn don't change with the order of the file
    order = np.argsort([unit_hash(f"rows {seed}", key) for key in table["key"]], kind="stable")
    table = table[np.sort(order[:rows])]
    if spec.kind == "regression":
        labels, classes = table["value"].to_numpy(), ()
    elif spec.kind == "binary":
        labels, classes = table["value"].cast(pl.Boolean).to_numpy(), ()
    else:
        names = table["value"].unique().sort()
        codes = table["value"].replace_strict(names, pl.int_range(len(names), eager=True))
        labels, classes = codes.cast(pl.Int64).to_numpy(), tuple(names)
    splits = {"title": table["key"].to_list()}
    if spec.group is not None:
        # a title of several groups stays together too: it goes with the first of them
        first = pl.col("group").cast(pl.String).first().over("key")
        splits[spec.group] = table.select(first.fill_null(pl.col("key")))["group"].to_list()
    columns = {
        role: table[role].cast(pl.String).to_list() if role in table.columns else None
        for role in ("product", "category")
    }
    for split, split_keys in splits.items():
        with error_prefix(where):
            parts = split_titles(split_keys, seed=seed)
        for part, numbers in parts.items():
            if spec.kind != "regression" and len(np.unique(labels[numbers])) < 2:
                raise InputError(
                    f"{where}: all {len(numbers):,} labels of the {part} rows (split by {split}) "
                    f"are the same; check '{spec.label}'"
                    + (" and positive, threshold" * (spec.kind == "binary"))
                )
        yield Task(
            spec.name,
            spec.kind,
            table["title"].to_list(),
            labels,
            parts["train"],
            parts["validation"],
            parts["test"],
            split,
            classes,
            columns["product"],
            columns["category"],
            spec.sessions or "",
            spec.note,
        )


def _labelled(where: str, spec: TaskSpec, table: pl.DataFrame) -> pl.DataFrame:
    """Rows with a title and a label, the label as `value`."""
    table = table.drop_nulls(["title", "label"])
    label, text = pl.col("label"), pl.col("label").cast(pl.String)
    if spec.kind == "multiclass":
        left_out = [str(value) for value in spec.leave_out]
        return table.with_columns(value=text).filter(~pl.col("value").is_in(left_out))
    if spec.kind == "binary" and spec.positive is not None:
        positive, negative = (_as_text(values) for values in (spec.positive, spec.negative))
        for values in (positive, negative):
            for value in sorted(set(values) - set(table["label"].cast(pl.String).unique())):
                raise InputError(f"{where}: no row has the label '{value}' in '{spec.label}'")
        if spec.negative is not None:
            table = table.filter(text.is_in([*positive, *negative]))
        return table.with_columns(value=text.is_in(positive))
    if spec.kind == "binary" and spec.threshold is None:
        words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
        named = text.str.to_lowercase()
        for value in table.filter(~named.is_in(list(words)))["label"].head(1):
            raise InputError(
                f"{where}: '{spec.label}' holds '{value}', which is neither true nor false; say "
                "which labels are positive = [...], or give a threshold"
            )
        return table.with_columns(value=named.replace_strict(words, return_dtype=pl.Boolean))
    number = label.cast(pl.Float64, strict=False)
    bad = table.filter(number.is_null() | ~number.is_finite())
    for value in bad["label"].head(1):
        raise InputError(f"{where}: '{spec.label}' holds '{value}', which is not a number")
    if spec.threshold is not None:
        return table.with_columns(value=number >= spec.threshold)
    if spec.log:
        for value in table.filter(number <= 0)["label"].head(1):
            raise InputError(
                f"{where}: '{spec.label}' holds {value}, which has no logarithm; remove such rows "
                "or log = true"
            )
        number = number.log()
    return table.with_columns(value=number)


def _as_text(values: Sequence[Any] | None) -> list[str]:
    """Values as polars writes them, so that true in TOML is true in a table."""
    return [str(v).lower() if isinstance(v, bool) else str(v) for v in values or ()]
