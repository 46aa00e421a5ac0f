"""Tasks from TOML: labels equal to those made by hand, and one line for each mistake."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vitrina.errors import InputError
from vitrina.evaluation.task_file import read_tasks

ROWS = 400


@pytest.fixture
def table(tmp_path: Path) -> pl.DataFrame:
    """Listings as in real tables: repeated titles, missing values, several kinds of labels."""
    rng = np.random.default_rng(0)
    conditions: Any = ["new", "used", "other", None]
    free: Any = [True, False, None]
    frame = pl.DataFrame(
        {
            "title": [f"Product no. {i % 320}" for i in range(ROWS)],
            "condition": rng.choice(conditions, ROWS, p=[0.5, 0.3, 0.1, 0.1]).tolist(),
            "free": rng.choice(free, ROWS, p=[0.5, 0.4, 0.1]).tolist(),
            "price": rng.lognormal(3, 1, ROWS).round(2),
            "term": [f"term {(i % 320) // 8}" for i in range(ROWS)],
            "sku": np.arange(ROWS),
        }
    ).with_columns(title=pl.when(pl.col("sku") == 7).then(None).otherwise(pl.col("title")))
    frame.write_parquet(tmp_path / "listings.parquet")
    frame.write_csv(tmp_path / "listings.csv")
    return frame


def read(folder: Path, text: str, **options):
    file = folder / "tasks.toml"
    file.write_text(text, "utf-8")
    return read_tasks(file, **options)


CONDITION = """
[[task]]
name = "condition"
file = "listings.{}"
label = "condition"
kind = "binary"
positive = ["used"]
"""


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_labels_are_those_of_the_table(table: pl.DataFrame, tmp_path: Path, form: str) -> None:
    text = CONDITION.format(form)
    text += f"""
[[task]]
name = "new or used"
file = "listings.{form}"
label = "condition"
kind = "binary"
positive = ["used"]
negative = ["new"]
product = "sku"

[[task]]
name = "free"
file = "listings.{form}"
label = "free"
kind = "binary"

[[task]]
name = "dear"
file = "listings.{form}"
label = "price"
kind = "binary"
threshold = 25

[[task]]
name = "which"
file = "listings.{form}"
label = "condition"
kind = "multiclass"
leave_out = ["other"]

[[task]]
name = "price"
file = "listings.{form}"
label = "price"
kind = "regression"
log = true
"""
    tasks, shops = read(tmp_path, text)
    assert shops == {}
    named = {task.name: task for task in tasks}
    titled = [row for row in table.iter_rows(named=True) if row["title"] is not None]
    labelled = [row for row in titled if row["condition"] is not None]
    assert named["condition"].titles == [row["title"] for row in labelled]
    assert named["condition"].labels.tolist() == [row["condition"] == "used" for row in labelled]
    two = [row for row in labelled if row["condition"] != "other"]
    assert named["new or used"].labels.tolist() == [row["condition"] == "used" for row in two]
    assert named["new or used"].products == [str(row["sku"]) for row in two]
    assert named["which"].classes == ("new", "used")
    assert named["which"].labels.tolist() == [int(row["condition"] == "used") for row in two]
    free = [row for row in titled if row["free"] is not None]
    assert named["free"].labels.tolist() == [row["free"] for row in free]
    assert named["dear"].labels.tolist() == [row["price"] >= 25 for row in titled]
    np.testing.assert_allclose(named["price"].labels, np.log([row["price"] for row in titled]))


def test_titles_and_groups_stay_together(table: pl.DataFrame, tmp_path: Path) -> None:
    tasks, _ = read(tmp_path, CONDITION.format("parquet") + 'group = "term"\n')
    assert [task.split for task in tasks] == ["title", "term"]
    for task in tasks:
        parts = [task.train, task.validation, task.test]
        assert sorted(np.concatenate(parts)) == list(range(len(task.titles)))
        kept = [{task.titles[row] for row in part} for part in parts]
        assert all(not a & b for a, b in combinations(kept, 2))
    terms = dict(table.drop_nulls("title").select("title", "term").iter_rows())
    grouped = [{terms[tasks[1].titles[row]] for row in part} for part in parts]
    assert all(not a & b for a, b in combinations(grouped, 2))


def test_rows_are_drawn_by_title_whatever_their_order(table: pl.DataFrame, tmp_path: Path) -> None:
    text = CONDITION.format("parquet") + "rows = 100\n"
    first = read(tmp_path, text)[0][0]
    assert len(first.titles) == 100
    assert len(read(tmp_path, text, rows=50)[0][0].titles) == 50
    table.reverse().write_parquet(tmp_path / "listings.parquet")
    again = read(tmp_path, text)[0][0]
    # a title at the edge may be drawn with either of its rows
    assert len(set(first.titles) ^ set(again.titles)) <= 1
    assert set(read(tmp_path, text, seed=1)[0][0].titles) != set(first.titles)


def test_sessions_are_read_as_train_reads_them(table: pl.DataFrame, tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "who": ["a", "a", "b"],
            "when": [1_700_000_000, 1_700_000_060, 1_700_000_090],
            "sku": [1, 2, 3],
        }
    ).write_csv(tmp_path / "visits.csv")
    text = """
[sessions.shop]
events = "visits.csv"
products = ["listings.csv"]
user_column = "who"
time_column = "when"
product_column = "sku"
category_column = "term"
language = "en"
"""
    tasks, shops = read(tmp_path, text + CONDITION.format("csv") + 'sessions = "shop"\n')
    assert tasks[0].sessions == "shop"
    catalogue = shops["shop"].catalogue()
    # validation and test titles are left out, however they are written
    judged = np.concatenate([tasks[0].validation, tasks[0].test])
    held_out = {title.lower() for title in tasks[0].titles_of(judged)}
    expected = [
        str(row["sku"])
        for row in table.iter_rows(named=True)
        if row["title"] is not None and row["title"].lower() not in held_out
    ]
    assert catalogue.product_ids.to_list() == expected
    assert 0.4 * ROWS < len(expected) < 0.8 * ROWS
    everything = shops["shop"].sessions(None)
    assert [everything.product_ids[int(row)] for row in everything.products.values] == ["1", "2"]
    before = shops["shop"].digest
    assert replace(shops["shop"], held_out=frozenset()).digest != before
    (tmp_path / "visits.csv").write_text("who,when,sku\na,1700000000,1\na,1700000060,3\n", "utf-8")
    assert read(tmp_path, text + CONDITION.format("csv"))[1]["shop"].digest != before


def test_a_teacher_is_a_folder_or_a_name(table: pl.DataFrame, tmp_path: Path) -> None:
    pl.DataFrame({"user": [1], "timestamp": [1_700_000_000], "sku": [1]}).write_csv(
        tmp_path / "visits.csv"
    )
    text = (
        CONDITION.format("csv")
        + """
[sessions.shop]
events = "visits.csv"
products = "listings.csv"
product_column = "sku"
teacher = "models/small"
"""
    )
    _, shops = read(tmp_path, text)
    assert shops["shop"].teacher == "models/small"  # on the hub
    assert not shops["shop"].has_categories
    (tmp_path / "models" / "small").mkdir(parents=True)
    _, shops = read(tmp_path, text)
    assert shops["shop"].teacher == str(tmp_path / "models" / "small")
    with pytest.raises(InputError, match="teacher is 1; it must be text in quotes"):
        read(tmp_path, text.replace('"models/small"', "1"))


MISTAKES = [
    ("", "names no task"),
    ("tasks = 1", "'tasks' is unknown"),
    ("[[task", "not valid TOML"),
    ("[[task]]\nfile = 'x'", "number 1 has no name"),
    ("[[task]]\nname = 'a'", "task 'a': file is missing"),
    (CONDITION.replace('kind = "binary"', 'kind = "ternary"'), "kind is 'ternary'"),
    (CONDITION + "treshold = 3", "'treshold' is unknown; did you mean threshold?"),
    (CONDITION + "rows = 0", "rows is 0; it must be 1 or more"),
    (CONDITION + "rows = 'all'", "rows is 'all'; it must be a whole number"),
    (CONDITION + "threshold = 3", "positive or threshold, not both"),
    (CONDITION + "log = true", 'log is for kind = "regression"'),
    (CONDITION.replace("positive", "negative"), "negative needs positive"),
    (CONDITION.replace('["used"]', "[]") + "", "no label is positive|are the same"),
    (CONDITION.replace("used", "refurbished"), "no row has the label 'refurbished'"),
    (CONDITION.replace('positive = ["used"]', ""), "holds '(new|used|other)', which is neither"),
    (CONDITION.replace('label = "condition"', 'label = "state"'), "no column 'state'"),
    (CONDITION + 'group = "seller"', "no column 'seller'"),
    (CONDITION + 'title = "name"', "no column 'name'"),
    (CONDITION.replace("listings", "gone"), "gone.parquet"),
    (CONDITION + CONDITION, "task 'condition' appears twice"),
    (CONDITION + 'sessions = "shop"', r"add \[sessions.shop\]"),
    (CONDITION + 'language = "xx"', "xx"),
    ("[sessions.shop]\nevents = 'a.csv'\n" + CONDITION, "products must be the name of a file"),
    ("[sessions.shop]\nevents = 'a.csv'\nproducts = 'listings.csv'\n" + CONDITION, "a.csv"),
    (
        "[sessions.shop]\nevents = 'listings.csv'\nproducts = 'listings.csv'\n" + CONDITION,
        "no columns 'user', 'timestamp' and 'product_id'",
    ),
    (
        "[sessions.shop]\nevents = 'a.csv'\nproducts = 'b.csv'\ngap = 'soon'\n" + CONDITION,
        "`gap` is 'soon'",
    ),
    (
        CONDITION.replace('positive = ["used"]', "").replace("binary", "regression"),
        "'condition' holds '(new|used|other)', which is not a number",
    ),
    (
        CONDITION.replace(
            '"condition"\nkind = "binary"\npositive = ["used"]',
            '"sku"\nkind = "regression"\nlog = true',
        ),
        "'sku' holds 0, which has no logarithm",
    ),
    (
        CONDITION.replace(
            '"condition"\nkind = "binary"\npositive = ["used"]',
            '"price"\nkind = "binary"\nthreshold = 1e9',
        ),
        "labels of the (train|test|validation) rows .* are the same",
    ),
    (CONDITION + "rows = 2", "would be empty|are the same"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_one_clear_line(
    table: pl.DataFrame, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, text.replace("{}", "parquet"))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'tasks.toml'}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.toml: no such file"):
        read_tasks(tmp_path / "gone.toml")
