"""Real processes that are killed or interrupted at random moments, and then run again.

Each command is stopped several times and then runs to its end. Whatever happened before, its
output must be that of an undisturbed run, and nothing else may be left. The moments come from a
fixed seed. VITRINA_FAULTS=20 repeats everything 20 times, with other moments.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.files import remove

ROUNDS = int(os.environ.get("VITRINA_FAULTS", "1"))
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

# A training of a second or more, with several checkpoints. It resumes what was started.
TRAINING = """
import sys, time
from pathlib import Path
from vitrina import cli
from vitrina.pretraining import checkpoint
from vitrina.pretraining.from_tables import train_from_tables
from vitrina.pretraining.run_folder import RunFolder
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.trainer import Trainer

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
checkpoint._SECONDS_BETWEEN_CHECKPOINTS = 0.1
step = Trainer.step
def slow(self, batch, number):
    time.sleep(0.02)
    return step(self, batch, number)
Trainer.step = slow

@cli.app.command
def short_training() -> None:
    small = dict(vocab_size=300, dim=16, filters=4, hidden=24, projection=8)
    train_from_tables(
        str(folder / "events.parquet"),
        str(folder / "products.parquet"),
        out,
        Settings(batch_size=16, epochs=2, **small),
        threads=2,
        quiet=True,
        resume=RunFolder.of(out).exists and not out.exists(),
    )

cli.main(["short-training"])
"""


class Command:
    """A command with one output.

    Parameters
    ----------
    arguments : list of str
        Arguments of Python.
    out : Path
        A name in a folder of its own.
    """

    def __init__(self, arguments: list[str], out: Path) -> None:
        self.arguments = arguments
        self.out = out
        out.parent.mkdir()

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *self.arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> float:
        """Run to the end, and return the seconds."""
        start = time.monotonic()
        process = self.start()
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        return time.monotonic() - start

    def stop(self, number: signal.Signals, after: float) -> str | None:
        """Start, send a signal, and return what was printed; None if the command was faster."""
        process = self.start()
        with suppress(subprocess.TimeoutExpired):
            process.wait(after)
        process.send_signal(number)  # has no effect on a process that has ended
        _, errors = process.communicate()
        return None if process.returncode == 0 else errors

    def leftovers(self) -> list[Path]:
        return [path for path in self.out.parent.rglob("*") if path.name.endswith(".partial")]

    def remove(self) -> None:
        shutil.rmtree(self.out.parent)
        self.out.parent.mkdir()


def content(path: Path) -> dict[str, bytes]:
    """Every file below a path, by its relative name."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def check(command: Command, seed: str, same: Callable[[], object], *, resumed: bool = False) -> int:
    """Stop a command at random moments and run it to its end; return how often it was stopped.

    Parameters
    ----------
    command : Command
    seed : str
    same : callable
        What must be equal after an undisturbed run and after a disturbed one.
    resumed : bool
        Whether the output grows step by step, so that a stopped command may leave some of it.
    """
    seconds = command.finish()
    expected = same()
    stopped = 0
    for number in range(ROUNDS):
        command.remove()
        rng = random.Random(f"{seed} {number}")
        for sent in SIGNALS:
            before = command.leftovers()
            errors = command.stop(sent, rng.uniform(0.2, 1) * seconds)
            if errors is None:
                assert same() == expected
                command.remove()
                continue
            stopped += 1
            if command.out.exists() and not resumed:
                # killed after the output was complete
                assert same() == expected
                command.remove()
            # a caught signal leaves nothing but, if it comes early, what was there before
            if sent != signal.SIGKILL:
                assert set(command.leftovers()) <= set(before)
        command.finish()
        assert same() == expected
        assert command.leftovers() == []
        if not resumed:
            assert list(command.out.parent.iterdir()) == [command.out]
    print(f"{seed}: stopped {stopped} times of {ROUNDS * len(SIGNALS)}")  # noqa: T201
    return stopped


@pytest.fixture(scope="module")
def tables(grocery_titles: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue, visits, labelled titles, and a table of many titles."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(5)
    products = pl.DataFrame({"product_id": range(200), "title": grocery_titles[:200]})
    products = products.with_columns(category=pl.col("product_id") % 12)
    products.with_columns(pl.col("category").cast(str)).write_parquet(folder / "products.parquet")
    events = {
        "user": np.sort(rng.integers(0, 150, 500)),
        "timestamp": 1_700_000_000 + np.arange(500),
        "product_id": rng.integers(0, 200, 500),
    }
    pl.DataFrame(events).write_parquet(folder / "events.parquet")
    labels = pl.DataFrame({"title": grocery_titles[:280]})
    labels.with_columns(label=pl.col("title").str.len_bytes() % 2).write_csv(folder / "labels.csv")
    many = pl.DataFrame({"title": rng.choice(np.array(grocery_titles), 60_000)})
    many.write_parquet(folder / "titles.parquet")
    return folder


@pytest.fixture(scope="module")
def saved_encoder(encoder: TitleEncoder, tables: Path) -> Path:
    encoder.weights.save(tables / "encoder")
    return tables / "encoder"


def vitrina(*arguments: object) -> list[str]:
    return ["-m", "vitrina", *map(str, arguments)]


def test_embed(saved_encoder: Path, tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "embed" / "vectors.parquet"
    command = Command(vitrina("embed", saved_encoder, tables / "titles.parquet", "--out", out), out)
    assert check(command, "embed", lambda: content(out)) > 0


@pytest.mark.parametrize("name", ["vectors.parquet", "index"])
def test_three_at_once_to_one_new_path(
    saved_encoder: Path, tables: Path, tmp_path: Path, name: str
) -> None:
    """A file and a folder: one command writes it, the others say that it exists already."""
    out = tmp_path / name
    titles = tables / "titles.parquet"
    if name == "index":
        titles = tables / "products.parquet"
        command = vitrina("index", "build", saved_encoder, titles, "--out", out)
    else:
        command = vitrina("embed", saved_encoder, titles, "--out", out)
    for _ in range(ROUNDS):
        processes = [
            subprocess.Popen(
                [sys.executable, *command, "--quiet"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        errors = [process.communicate()[1] for process in processes]
        codes = [process.returncode for process in processes]
        assert sorted(codes) == [0, 2, 2], errors
        for code, error in zip(codes, errors, strict=True):
            assert code == 0 or "exists already" in error
            assert error.count("\n") == (code == 2)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        remove(out)


def test_fit_and_predict(saved_encoder: Path, tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "fit" / "classifier"
    labels = tables / "labels.csv"
    fit = Command(
        vitrina("classify", "fit", saved_encoder, labels, "--label", "label", "--out", out), out
    )
    assert check(fit, "fit", lambda: content(out)) > 0

    scores = tmp_path / "predict" / "scores.parquet"
    titles = tables / "titles.parquet"
    predict = Command(vitrina("classify", "predict", out, titles, "--out", scores), scores)
    assert check(predict, "predict", lambda: content(scores)) > 0


def test_evaluate(tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluate" / "out"
    tasks = tables / "tasks.toml"
    tasks.write_text(
        '[[task]]\nname = "length"\nlabel = "label"\nkind = "binary"\nfile = "labels.csv"\n'
    )
    baseline = ["--baselines", "tf-idf", "--sizes", "50,100", "--subsamples", "3"]
    command = Command(vitrina("evaluate", tasks, "--out", out, "--resume", *baseline), out)

    def figures() -> dict[str, object]:
        cells: dict[str, object] = {}
        for file in out.rglob("cells/*/*.json"):
            cell = json.loads(file.read_text())  # never half-written
            cells[file.name] = (cell["value"], cell["bootstrap"])
        return cells

    assert check(command, "evaluate", figures, resumed=True) > 0
    assert (out / "report.html").exists()


def test_training(tables: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "training" / "encoder"
    command = Command(["-c", TRAINING, str(tables), str(out)], out)

    def weights() -> list[bytes]:
        return [(out / name).read_bytes() for name in ("model.safetensors", "tokenizer.model")]

    assert check(command, "training", weights) > 0
