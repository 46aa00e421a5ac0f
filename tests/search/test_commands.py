"""The commands that search, as real processes on real files."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from vitrina.cli import main
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.search.index import TitleIndex
from vitrina.text.tokenizer import TitleTokenizer


@pytest.fixture(scope="module")
def products(grocery_titles: list[str]) -> pl.DataFrame:
    titles = [title for title in grocery_titles if title.strip()][:300]
    category = [["food", "drinks", "pets"][i % 3] for i in range(300)]
    return pl.DataFrame({"product_id": range(300), "title": titles, "category": category})


@pytest.fixture
def shop(
    encoder: TitleEncoder,
    products: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    monkeypatch.chdir(tmp_path)
    encoder.save("encoder")
    products.write_csv("products.csv")
    return tmp_path


def process(*arguments: str) -> tuple[str, str]:
    """Run a command in a process of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "vitrina", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


class Vitrina:
    """Runs commands in this process, which takes less time."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        shown, errors = self.capsys.readouterr()
        assert stop.value.code == code, errors
        return shown, errors

    def mistake(self, *arguments: str) -> str:
        """Run a command that must end with code 2 and exactly one line; returns the line."""
        (line,) = self(*arguments, code=2)[1].splitlines()
        assert line.startswith("vitrina: ")
        assert "`" not in line
        return line


@pytest.fixture
def vitrina(shop: Path, capsys: pytest.CaptureFixture[str]) -> Vitrina:
    return Vitrina(capsys)


BUILD = ("index", "build", "encoder", "products.csv", "--out", "index", "--columns", "category")


@pytest.mark.usefixtures("shop")
def test_build_query_and_update(encoder: TitleEncoder, products: pl.DataFrame) -> None:
    shown, notes = process(*BUILD)
    assert shown.startswith("300 products (compares with all), measured recall@10 1.000")
    assert "index: index" in notes
    query = ("index", "query", "encoder", "index", "apple juice", "-k", "5")
    shown, _ = process(*query, "--where", "category=drinks")
    assert "drinks" in shown
    assert "food" not in shown
    process(*query, "--out", "found.parquet")
    found = pl.read_parquet("found.parquet")
    assert found.columns == ["query", "similarity", "product_id", "title", "category"]
    expected = TitleIndex.build(encoder, "products.csv", columns=["category"])
    assert found["query"].to_list() == ["apple juice"] * 5
    assert found.drop("query").equals(expected.query("apple juice", 5).drop("query"))

    new = pl.DataFrame({"product_id": [0, 900], "title": ["apple juice"] * 2, "category": "new"})
    new.write_parquet("new.parquet")
    products[1:11].select("product_id").write_csv("gone.csv")
    shown, notes = process(
        "index", "update", "encoder", "index", "new.parquet", "--delete", "gone.csv"
    )
    assert shown.startswith("291 products")
    assert "removed 10 · added 1 · replaced 1" in notes
    process(*query, "--out", "found.parquet", "--force")
    assert pl.read_parquet("found.parquet")["product_id"].to_list()[:2] == ["0", "900"]
    assert "291 products" in process("inspect", "index")[0]


def test_similar_from_a_table_from_vectors_and_from_an_index(vitrina: Vitrina) -> None:
    vitrina(*BUILD)
    vitrina("embed", "encoder", "products.csv", "--out", "vectors.parquet")
    Path("queries.txt").write_text("apple juice\nqxzw vvkq\ndog food\n")
    tables = []
    for source in ("products.csv", "vectors.parquet", "index"):
        out = f"{source}.found.parquet"
        _, notes = vitrina(
            "similar", "encoder", source, "--queries", "queries.txt", "-k", "4", "--out", out
        )
        assert "no known word: 'qxzw vvkq' has no results" in notes
        columns = ["query", "similarity", "product_id", "title", "category"]
        tables.append(pl.read_parquet(out).select(columns))
    assert tables[0]["query"].to_list() == ["apple juice"] * 4 + ["dog food"] * 4
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    shown, _ = vitrina("similar", "encoder", "products.csv", "apple juice", "dog food", "-k", "1")
    for value in tables[0].filter(pl.col("query") == "dog food")["product_id"].head(1):
        assert value in shown
    assert "query" in shown
    assert "product_id" in shown


def test_mistakes(vitrina: Vitrina, encoder: TitleEncoder, tokenizer: TitleTokenizer) -> None:
    message = vitrina.mistake
    vitrina(*BUILD)
    query = ("index", "query", "encoder", "index", "apple")

    assert "--force" in message(*BUILD)
    assert "'sku'" in message(*BUILD[:4], "--out", "other", "--product-column", "sku")
    assert "'colour'" in message(*BUILD[:4], "--out", "other", "--columns", "colour")
    assert "no word" in message(*query[:4], "qxzw vvkq")
    assert "no word" in message("similar", "encoder", "products.csv", "qxzw vvkq")
    assert "--queries" in message(*query[:4])
    assert "--queries" in message(*query, "--queries", "products.csv")
    assert "-k is 0" in message(*query, "-k", "0")
    assert "'colour'" in message(*query, "--where", "colour=red")
    assert "COLUMN=VALUE" in message(*query, "--where", "category")
    assert ".parquet" in message(*query, "--out", "found.csv")
    assert "--delete" in message("index", "update", "encoder", "index")
    assert "products.csv" in message("index", "query", "encoder", "products.csv", "apple")
    assert "holds a vitrina encoder" in message("index", "query", "encoder", "encoder", "apple")
    assert "no product fits" in vitrina(*query, "--where", "category=cars")[1]
    Path("index/vectors.safetensors").write_bytes(b"")
    assert "vectors.safetensors" in message(*query)
    vitrina(*BUILD, "--force")  # a damaged index can be replaced

    other = TitleEncoder(initial_weights(tokenizer, dim=32, filters=16, seed=1))
    other.save("other")
    for arguments in (
        ("index", "query", "other", "index", "apple"),
        ("index", "update", "other", "index", "products.csv"),
        ("similar", "other", "index", "apple"),
    ):
        line = message(*arguments)
        assert encoder.weights.digest[:12] in line
        assert other.weights.digest[:12] in line
    manifest = json.loads(Path("index/manifest.json").read_text())
    assert manifest["kind"] == "vitrina index"


def test_a_killed_update_leaves_the_old_index_or_the_new_one(
    encoder: TitleEncoder, products: pl.DataFrame, shop: Path
) -> None:
    """Killed at random moments, the command leaves a whole index and, run again, nothing else."""
    old = TitleIndex.build(encoder, products)
    old.save("index")
    pl.DataFrame({"product_id": range(1_000, 1_400), "title": "dog food"}).write_csv("new.csv")
    command = [sys.executable, "-m", "vitrina", "index", "update", "encoder", "index", "new.csv"]
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.monotonic() - start
    rng = random.Random(1)
    for _ in range(3):
        old.save("index", force=True)
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
            with suppress(subprocess.TimeoutExpired):
                run.wait(rng.uniform(0.7, 1) * seconds)
            run.send_signal(signal.SIGKILL)
        assert len(TitleIndex.load("index")) in (300, 700)
    old.save("index", force=True)
    assert leftovers(shop) == []


def test_a_killed_build_leaves_nothing(vitrina: Vitrina, shop: Path) -> None:
    """It is killed while it writes: behind the vectors, before the manifest."""
    Path("stopped.py").write_text(
        "import os, signal, sys\n"
        "from vitrina.search import index_folder\n"
        "index_folder.seal = lambda folder, kind: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from vitrina.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run([sys.executable, "stopped.py", *BUILD], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert not Path("index").exists()
    assert leftovers(shop) != []
    vitrina(*BUILD)
    assert len(TitleIndex.load("index")) == 300
    assert leftovers(shop) == []


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith(".partial")]
