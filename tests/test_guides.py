"""The commands and the Python of README and the guides, run one after the other on a small shop.

docs/classify.md, serve.md, refresh.md, spark.md and hub.md have tests of their own.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vitrina.cli.entry import _exit_code
from vitrina.encoder.title_encoder import TitleEncoder

ROOT = Path(__file__).parents[1]

# Commands that never end, install something, or need a model of the hub. Their own tests run them.
NOT_HERE = ("pip ", "make ", "vitrina demo", "vitrina serve", "vitrina label catalogue", "java ")
TEACHER = "--teacher"

# what makes a command quicker without changing what it shows
QUICKER = {
    "train": ["--epochs", "1", "--lexical-dim", "8"],
    "evaluate": ["--quick", "--sizes", "50", "--subsamples", "2"],
}
BASELINES = ["--baselines", "tf-idf"]


@pytest.fixture
def shop(
    encoder: TitleEncoder, grocery_titles: list[str], tmp_path: Path, monkeypatch: Any
) -> dict[str, Any]:
    """The files that the guides name, in the working directory, and the variables of their code."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    titles = ["zapatillas running mujer 42", *grocery_titles[1:300]]
    ids = np.arange(len(titles))
    kinds = np.where(ids % 3 == 0, "shoes", "grocery")
    catalogue = pl.DataFrame(
        {"product_id": ids, "title": titles, "category": kinds, "sku": ids, "name": titles}
    ).with_columns(aisle="category", search_term=pl.Series([f"q{i // 6}" for i in ids]))
    catalogue.write_csv("catalogue.csv")
    catalogue.write_parquet("catalogue.parquet")
    catalogue.head(20).write_parquet("changes.parquet")
    catalogue.select("product_id").tail(5).write_csv("gone.csv")
    users = np.sort(rng.integers(0, 60, 400))
    times = pl.from_epoch(pl.Series(1_700_000_000 + 60 * np.arange(400)), "s")
    visits = pl.DataFrame({"user": users, "timestamp": times, "product_id": rng.choice(ids, 400)})
    visits = visits.with_columns(visitor="user", visited_at="timestamp", sku="product_id")
    visits.write_parquet("visits.parquet")
    Path("visits").mkdir()
    visits.write_parquet("visits/2024.parquet")
    labels = np.where(ids % 2 == 0, "yes", "no")
    table = pl.DataFrame({"title": titles, "condition": labels, "label": labels})
    table.write_csv("labelled.csv")
    table.select("title", "condition").write_csv("labels.csv")
    Path("searches.txt").write_text("running\nmilk 1 gal\n")
    Path("tasks.toml").write_text(
        '[[task]]\nname = "condition"\nfile = "labelled.csv"\nlabel = "condition"\n'
        'kind = "binary"\npositive = ["yes"]\n'
    )
    encoder.save("encoder")
    return {"titles": titles, "labels": labels.tolist(), "pl": pl}


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the text of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), flags=re.M | re.S)


def commands(block: str) -> list[str]:
    """The commands of vitrina in a block, each on one line."""
    lines = re.sub(r"\\\n\s*", " ", block).splitlines()
    found = [line for line in lines if line.startswith("vitrina ")]
    return [line for line in found if not line.startswith(NOT_HERE) and TEACHER not in line]


def run(command: str) -> None:
    """Run a command, in the form that a small shop needs, and demand that it succeeds."""
    arguments = shlex.split(command, comments=True)[1:]
    arguments += QUICKER.get(arguments[0], [])
    if arguments[0] == "evaluate" and "--strategies" not in arguments:
        arguments += BASELINES
    # a guide shows ways to do a thing; later ones replace the result of earlier ones
    can_force = arguments[0] in ("train", "embed") or arguments[1] in ("fit", "predict", "build")
    if can_force:
        arguments.append("--force")
    assert _exit_code(arguments) == 0, command


GUIDES = ["README.md", "docs/index.md", "docs/events.md", "docs/similar.md", "docs/evaluate.md"]


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_runs(name: str, shop: dict[str, Any]) -> None:
    ran = 0
    for language, block in blocks(ROOT / name):
        if language == "python":
            # Python shows the same again, with the same names
            shutil.rmtree("index", ignore_errors=True)
            exec(
                block.replace("train_from_tables(", "train_quickly("),
                shop | {"train_quickly": train_quickly},
            )
            ran += 1
        elif language == "":
            for command in commands(block):
                run(command)
                ran += 1
    assert ran >= 2


def train_quickly(*arguments: Any, **options: Any) -> TitleEncoder:
    """`train_from_tables` with few steps."""
    from vitrina import Settings, train_from_tables

    options.setdefault("settings", Settings(max_steps=2, lexical_dim=8))
    return train_from_tables(*arguments, **options, force=True, quiet=True)


def test_labelling_elsewhere_runs(shop: dict[str, Any]) -> None:
    """docs/label.md: a person fills in the labels between the commands."""
    Path("labels.csv").unlink()
    shell, python = "", ""
    for language, block in blocks(ROOT / "docs" / "label.md"):
        if language == "" and "vitrina label next" in block:
            shell = block
        if language == "python":
            python = block
    next_titles, add, fit = commands(shell)
    run(next_titles)
    chosen = pl.read_csv("next.csv")
    yes = set(shop["titles"][::2])
    answers = ["yes" if title in yes else "no" for title in chosen["title"]]
    chosen.with_columns(label=pl.Series(answers)).write_csv("next.csv")
    run(add)
    run(fit)
    shutil.rmtree("classifier")  # the same name again
    exec(python, shop)
    assert (Path("classifier") / "manifest.json").exists()
