"""Tasks and sessions from a TOML file, read and checked before any expensive work starts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from vitrina.classification.linear import Labels
from vitrina.data.catalogue import CatalogueColumns
from vitrina.data.sessions import EventColumns, parse_gap
from vitrina.data.tables import readable, require_columns, scan
from vitrina.errors import InputError, error_prefix
from vitrina.evaluation.protocol import split_titles
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.hashing import unit_hash
from vitrina.metrics import Kind
from vitrina.text.normalize import Normalizer, as_titles

# types of the keys of [[task]] that are not text
_TYPES: Mapping[str, Any] = {
    "rows": int,
    "threshold": int | float,
    "log": bool,
    "positive": list,
    "negative": list,
    "leave_out": list,
}
# keys of [[task]] that only one kind of task may have
_ONLY_FOR: Mapping[str, Kind] = {
    "positive": "binary",
    "negative": "binary",
    "threshold": "binary",
    "leave_out": "multiclass",
    "log": "regression",
}
# labels of a binary task that say by themselves whether they are positive
_BOOLEANS: Mapping[str, bool] = {
    "true": True,
    "1": True,
    "1.0": True,
    "false": False,
    "0": False,
    "0.0": False,
}


@dataclass(frozen=True)
class TaskSpec:
    """A task as its file describes it, before any data is read; `read_tasks` lists the fields."""

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
    """Read the tasks and the sessions that a TOML file describes.

    Paths are relative to the file. Rows without a title or without a label are left out. Each
    ``[[task]]`` has

    - ``name``, ``file`` (Parquet, CSV or JSON lines), ``label`` (a column), ``kind`` ("binary",
      "multiclass" or "regression"), and ``title`` (a column, by default "title");
    - binary: ``positive``, a list of label values. All other labels are negative, unless
      ``negative`` lists the negative ones. Or ``threshold``: labels at or above it are positive.
      Or neither, if the labels are booleans or 0 and 1;
    - multi-class: ``leave_out``, classes that are left out;
    - regression: ``log = true`` for the natural logarithm of the label;
    - optional: ``group``, a column for a second, grouped split, which keeps rows of a group in the
      same part; ``product`` and ``category``, columns for models that use product ids and
      metadata; ``sessions``, the sessions of the same shop (pre-training on them leaves out the
      products with a validation or test title); ``language`` of the titles, by default that of the
      sessions; ``rows``, a number of rows to draw at random; ``note``, for the report.

    Each ``[sessions.NAME]`` has ``events`` and ``products`` (files) and, where they differ from the
    defaults, ``gap``, ``time_unit``, ``language``, ``teacher``, ``user_column``, ``time_column``,
    ``product_column``, ``title_column`` and ``category_column``, like the options of
    `vitrina train`.

    Parameters
    ----------
    file : path
    rows : int, optional
        Maximum number of rows of every task.
    seed : int, default 0
        Random seed of the splits and of the drawn rows.

    Returns
    -------
    tasks : list of Task
        A task with a grouped split is followed by a second task with that split.
    shops : dict of str to Shop
        The sessions by name.

    Raises
    ------
    InputError
        If anything can't be used.
    """
    path = Path(file)
    content = _parse_toml(path)
    for key in sorted(content.keys() - {"task", "sessions"}):
        raise InputError(f"{path}: '{key}' is unknown; it may have [[task]] and [sessions]")
    shops = _read_shops(path, content.get("sessions", {}))
    # check the whole file before reading any table of a task
    specs = _read_specs(path, content.get("task", []), shops)
    tasks: list[Task] = []
    for spec in specs:
        tasks += _open_tasks(f"{path}: task '{spec.name}'", spec, shops, rows, seed)
    # pre-training on a shop must not see the validation and test titles of its tasks
    for name, shop in shops.items():
        own = [task for task in tasks if task.sessions == name]
        shops[name] = replace(shop, held_out=_evaluation_titles(own, shop.language))
    return tasks, shops


def _evaluation_titles(tasks: Iterable[Task], language: str | None) -> frozenset[str]:
    """Return the normalised validation and test titles of tasks."""
    titles: list[str] = []
    for task in tasks:
        titles += task.titles_of(task.validation)
        titles += task.titles_of(task.test)
    return frozenset(Normalizer(language)(titles))


def _parse_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = (error.strerror or "can't be read").lower()
        raise InputError(f"{path}: {reason}; give a TOML file that names tasks") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; give a TOML file that names tasks") from None
    except RecursionError:
        raise InputError(f"{path}: nests too deeply; give a TOML file that names tasks") from None
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise InputError(f"{path}: is not valid TOML: {error}") from None


def _read_shops(path: Path, tables: Any) -> dict[str, Shop]:
    """Read all [sessions.NAME]."""
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise InputError(f"{path}: sessions must be written as [sessions.NAME]")
    return {name: _read_shop(path, name, table) for name, table in tables.items()}


def _read_shop(path: Path, name: str, table: Mapping[str, Any]) -> Shop:
    where = f"{path}: [sessions.{name}]"
    roles = ("user", "time", "product", "title", "category")
    options = {"events", "products", "gap", "language", "time_unit", "teacher"}
    _check_keys(where, table, options | {f"{role}_column" for role in roles})
    # the files are relative to the task file
    events = _files(path, where, "events", table)
    products = _files(path, where, "products", table)
    # the columns that have other names than the default ones
    columns = {}
    for role in roles:
        key = f"{role}_column"
        if key in table:
            columns[role] = _typed(where, key, table[key], str)
    gap = str(_typed(where, "gap", table.get("gap", "30m"), str | int))
    language = None
    if "language" in table:
        language = _typed(where, "language", table["language"], str)
    time_unit = None
    if "time_unit" in table:
        time_unit = _typed(where, "time_unit", table["time_unit"], str)
    teacher = None
    if "teacher" in table:
        teacher = _typed(where, "teacher", table["teacher"], str)
        # a folder, relative to the task file like all others; or else a name on the hub
        if (path.parent / teacher).is_dir():
            teacher = str(path.parent / teacher)
    # both raise an error for a value that can't be used
    with error_prefix(where):
        parse_gap(gap)
        Normalizer(language)
    # both tables have the product ids
    event_roles = ("user", "time", "product")
    catalogue_roles = ("product", "title", "category")
    shop = Shop(
        name,
        events,
        products,
        gap,
        language,
        EventColumns(**{role: columns[role] for role in event_roles if role in columns}),
        CatalogueColumns(**{role: columns[role] for role in catalogue_roles if role in columns}),
        time_unit=time_unit,
        teacher=teacher,
    )
    # a mistake in a column's name shows now, not when pre-training starts
    _check_columns(where, "events", events, asdict(shop.event_columns).values())
    names = [shop.catalogue_columns.product, shop.catalogue_columns.title]
    # products may have no categories, unless their column is named
    if "category" in columns:
        names.append(columns["category"])
    _check_columns(where, "products", products, names)
    return shop


def _files(path: Path, where: str, role: str, table: Mapping[str, Any]) -> tuple[Path, ...]:
    given = table.get(role)
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise InputError(f"{where}: {role} must be the name of a file or a list of names")
    return tuple(path.parent / name for name in names)


def _check_columns(where: str, role: str, files: Sequence[Path], columns: Iterable[str]) -> None:
    with error_prefix(where):
        frame = scan(list(files), role)
        require_columns(frame, columns, list(files), "name yours in the task file")


def _read_specs(path: Path, tables: Any, shops: Mapping[str, Shop]) -> list[TaskSpec]:
    """Read all [[task]]."""
    if not isinstance(tables, list) or not tables:
        raise InputError(f"{path}: names no task; start each task with a line [[task]]")
    specs = [_read_spec(path, number, table) for number, table in enumerate(tables, 1)]
    names = [spec.name for spec in specs]
    for spec in specs:
        where = f"{path}: task '{spec.name}'"
        if names.count(spec.name) > 1:
            raise InputError(f"{where} appears twice; give each task its own name")
        if spec.sessions is not None and spec.sessions not in shops:
            raise InputError(
                f"{where}: sessions '{spec.sessions}' are not in the file; add "
                f"[sessions.{spec.sessions}]"
            )
    return specs


def _read_spec(path: Path, number: int, table: Any) -> TaskSpec:
    name = table.get("name") if isinstance(table, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise InputError(f'{path}: task number {number} has no name; add name = "..."')
    where = f"{path}: task '{name}'"
    _check_keys(where, table, {column.name for column in fields(TaskSpec)})
    for key in ("file", "label", "kind"):
        if key not in table:
            raise InputError(f"{where}: {key} is missing; add {key} = ...")
    kinds = get_args(Kind)
    if table["kind"] not in kinds:
        raise InputError(
            f"{where}: kind is '{table['kind']}'; it must be one of {', '.join(kinds)}"
        )
    # TOML's lists become tuples: a spec never changes
    values: dict[str, Any] = {}
    for key, given in table.items():
        value = _typed(where, key, given, _TYPES.get(key, str))
        values[key] = tuple(value) if isinstance(value, list) else value
    _check_options(where, values)
    values["file"] = path.parent / values["file"]
    return TaskSpec(**values)


def _check_options(where: str, values: Mapping[str, Any]) -> None:
    """Check the options of a task that depend on its kind or on each other."""
    for key, kind in _ONLY_FOR.items():
        if key in values and values["kind"] != kind:
            raise InputError(f'{where}: {key} is for kind = "{kind}"; remove it')
    if "threshold" in values and "positive" in values:
        raise InputError(f"{where}: give positive or threshold, not both")
    if "negative" in values and "positive" not in values:
        raise InputError(f"{where}: negative needs positive = [...]; add it")
    if values.get("rows", 1) < 1:
        raise InputError(f"{where}: rows is {values['rows']}; it must be 1 or more")


def _check_keys(where: str, table: Mapping[str, Any], keys: set[str]) -> None:
    # the first unknown key, with the known one that was probably meant
    for key in sorted(table.keys() - keys):
        similar = get_close_matches(key, keys, 1)
        hint = f"did you mean {similar[0]}?" if similar else f"use {', '.join(sorted(keys))}"
        raise InputError(f"{where}: '{key}' is unknown; {hint}")


def _typed(where: str, key: str, value: Any, expected: Any) -> Any:
    """Return the value if it has the expected type."""
    # in Python, but not in TOML, a boolean is a whole number too
    if isinstance(value, expected) and (expected is bool or not isinstance(value, bool)):
        return value
    names = {
        str: "text in quotes",
        bool: "true or false",
        list: "a list",
        int: "a whole number",
    }
    raise InputError(f"{where}: {key} is {value!r}; it must be {names.get(expected, 'a number')}")


def _open_tasks(
    where: str, spec: TaskSpec, shops: Mapping[str, Shop], limit: int | None, seed: int
) -> list[Task]:
    """Return the task of a spec and, if it has groups, the same task with the grouped split."""
    language = spec.language or None
    if language is None and spec.sessions is not None:
        language = shops[spec.sessions].language
    table = _read_table(where, spec, language)
    rows = min(filter(None, (spec.rows, limit, len(table))))
    # drawn by the titles' hashes, so that the drawn rows don't depend on the order of the file
    order = np.argsort([unit_hash(f"rows {seed}", key) for key in table["key"]], kind="stable")
    table = table[np.sort(order[:rows])]
    labels, classes = _labels(spec.kind, table["value"])

    # one split by title, and one by group if there are groups
    split_keys = {"title": table["key"].to_list()}
    if spec.group is not None:
        # all rows of a title stay together: they go with the group of the title's first row
        group = pl.col("group").cast(pl.String).first().over("key").fill_null(pl.col("key"))
        split_keys[spec.group] = table.select(group)["group"].to_list()
    tasks = []
    for split, keys in split_keys.items():
        with error_prefix(where):
            parts = split_titles(keys, seed=seed)
        # AUC is undefined where all rows have one class
        for part, numbers in parts.items():
            if spec.kind != "regression" and len(np.unique(labels[numbers])) < 2:
                options = " and positive, threshold" if spec.kind == "binary" else ""
                raise InputError(
                    f"{where}: all {len(numbers):,} labels of the {part} rows (split by {split}) "
                    f"are the same; check '{spec.label}'{options}"
                )
        tasks.append(
            Task(
                spec.name,
                spec.kind,
                table["title"].to_list(),
                labels,
                parts["train"],
                parts["validation"],
                parts["test"],
                split,
                classes,
                _strings(table, "product"),
                _strings(table, "category"),
                spec.sessions or "",
                spec.note,
            )
        )
    return tasks


def _read_table(where: str, spec: TaskSpec, language: str | None) -> pl.DataFrame:
    """Read the rows with a title and a label.

    Returns
    -------
    DataFrame
        The columns that the spec names, by their roles ("title", "group", ...); "value", the label
        as the task needs it; and "key", the normalised title.
    """
    # role -> name of the column in the file
    columns = {}
    for role in ("title", "label", "group", "product", "category"):
        column = getattr(spec, role)
        if column is not None:
            columns[role] = column
    with error_prefix(where):
        normalizer = Normalizer(language)
        frame = scan(spec.file, "titles and labels")
        require_columns(frame, columns.values(), spec.file, "name yours in the task file")
        with readable(spec.file):
            table = frame.select(**{role: pl.col(name) for role, name in columns.items()}).collect()
    table = _with_values(where, spec, table.drop_nulls(["title", "label"]))
    keys = pl.Series("key", normalizer(as_titles(table["title"])), pl.String)
    return table.with_columns(keys).filter(pl.col("key") != "")


def _labels(kind: Kind, values: pl.Series) -> tuple[Labels, tuple[str, ...]]:
    """Return the labels of a task and the names of its classes."""
    if kind == "regression":
        return values.to_numpy(), ()
    if kind == "binary":
        return values.cast(pl.Boolean).to_numpy(), ()
    # classes are numbered in alphabetical order
    names = values.unique().sort()
    codes = values.replace_strict(names, pl.int_range(len(names), eager=True))
    return codes.cast(pl.Int64).to_numpy(), tuple(names)


def _strings(table: pl.DataFrame, column: str) -> list[str | None] | None:
    """Return a column as strings; None if the table doesn't have it."""
    if column not in table.columns:
        return None
    return table[column].cast(pl.String).to_list()


def _with_values(where: str, spec: TaskSpec, table: pl.DataFrame) -> pl.DataFrame:
    """Add the label as the task needs it (`value`), and remove labels that the task leaves out."""
    if spec.kind == "multiclass":
        left_out = [str(value) for value in spec.leave_out]
        table = table.with_columns(value=pl.col("label").cast(pl.String))
        return table.filter(~pl.col("value").is_in(left_out))
    if spec.kind == "binary" and spec.positive is not None:
        return _with_listed(where, spec, table, spec.positive)
    if spec.kind == "binary" and spec.threshold is None:
        return _with_booleans(where, spec, table)
    return _with_numbers(where, spec, table)


def _with_listed(
    where: str, spec: TaskSpec, table: pl.DataFrame, positive_labels: Sequence[Any]
) -> pl.DataFrame:
    """Add `value` for a binary task that lists its positive labels."""
    positive = _as_text(positive_labels)
    negative = _as_text(spec.negative or ())
    # a listed label that no row has is probably a typing error
    found = set(table["label"].cast(pl.String).unique())
    for labels in (positive, negative):
        for label in sorted(set(labels) - found):
            raise InputError(f"{where}: no row has the label '{label}' in '{spec.label}'")
    text = pl.col("label").cast(pl.String)
    # with both lists, labels that are in neither of them are left out
    if spec.negative is not None:
        table = table.filter(text.is_in([*positive, *negative]))
    return table.with_columns(value=text.is_in(positive))


def _with_booleans(where: str, spec: TaskSpec, table: pl.DataFrame) -> pl.DataFrame:
    """Add `value` for a binary task whose labels are booleans, or 0 and 1."""
    text = pl.col("label").cast(pl.String).str.to_lowercase()
    for label in table.filter(~text.is_in(list(_BOOLEANS)))["label"].head(1):
        raise InputError(
            f"{where}: '{spec.label}' holds '{label}', which is neither true nor false; list the "
            "positive labels as positive = [...], or give a threshold"
        )
    return table.with_columns(value=text.replace_strict(_BOOLEANS, return_dtype=pl.Boolean))


def _with_numbers(where: str, spec: TaskSpec, table: pl.DataFrame) -> pl.DataFrame:
    """Add `value` for a task with numeric labels: a regression, or a binary task by threshold."""
    # text that is no number becomes null here, and an error below
    number = pl.col("label").cast(pl.Float64, strict=False)
    for label in table.filter(number.is_null() | ~number.is_finite())["label"].head(1):
        raise InputError(f"{where}: '{spec.label}' holds '{label}', which is not a number")
    if spec.threshold is not None:
        return table.with_columns(value=number >= spec.threshold)
    if spec.log:
        for label in table.filter(number <= 0)["label"].head(1):
            raise InputError(
                f"{where}: '{spec.label}' holds {label}, which has no logarithm; remove such rows "
                "or log = true"
            )
        number = number.log()
    return table.with_columns(value=number)


def _as_text(values: Sequence[Any]) -> list[str]:
    """Return values as polars writes them, so that true in TOML equals true in a table."""
    return [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
