"""Memory of training on many events: sessions stay on disk, so it is that of a batch. Pages of
mapped files don't count: the system takes them back when it needs them.

    python benchmarks/store.py [EVENTS]

Sessions of ten products, made up, in the layout that `vitrina train` trains from; the peer has a
hundredth of the sessions, of the same catalogue.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import OWN, catalogues, fresh_process, record
from vitrina import Normalizer, TitleTokenizer, preset
from vitrina.pretraining.batches import Ints
from vitrina.pretraining.dataset import TrainingData
from vitrina.ragged import Ragged

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000_000
TEN = 10  # products a session
PAIRS = TEN * (TEN - 1) // 2

TRAIN = """
import sys
from pathlib import Path
import torch
from vitrina import preset
from vitrina.pretraining.batches import Batches
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.loop import Trainer
data = TrainingData.load(Path(sys.argv[1]))
settings = preset("default", batch_size=128)
batches = Batches(data, settings)
trainer = Trainer(data, settings, batches.per_epoch, torch.device("cpu"))
for step in range(20):
    trainer.step(batches[step], step)
paper = preset("paper")
batches = Batches(data, paper)
for step in range(3):
    batches[step]
"""


def main() -> None:
    titles = next(iter(catalogues().values()))[:150_000]
    tokenizer = TitleTokenizer.train(titles, Normalizer("en"), preset("default").vocab_size)
    rows = np.arange(len(titles), dtype=np.int32)
    category = (rows % 1_000).astype(np.int32)
    views = Ragged(rows, np.arange(len(rows) + 1))
    names = [f"category {number}" for number in range(1_000)]
    peaks = {}
    for events in (EVENTS // 100, EVENTS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "data"
            few = Ragged(rows[:TEN], np.array([0, TEN]))
            parts = few, np.array([0, PAIRS]), views, tokenizer(titles), category
            TrainingData(*parts, names, tokenizer).save(folder)
            sessions = events // TEN
            write(folder / "session_offsets.npy", np.int64, sessions + 1, lambda at: at * TEN)
            write(folder / "pair_ends.npy", np.int64, sessions + 1, lambda at: at * PAIRS)
            # such a step walks through the whole catalogue before it repeats a product
            write(folder / "sessions.npy", np.int32, events, lambda at: at * 48_271 % len(rows))
            _, peaks[events] = fresh_process(TRAIN, folder, memory=OWN)
    figure = f"training on {EVENTS:,} events, memory"
    record(figure, peaks[EVENTS] / 1024, "GiB")
    small = peaks[EVENTS // 100]
    record(f"{figure} / that on a hundredth", peaks[EVENTS] / small, "", goal=1.1, at_most=True)


def write(path: Path, dtype: type, size: int, values: Callable[[Ints], Ints]) -> None:
    """An array that is too large to be made at once."""
    array = np.lib.format.open_memmap(path, "w+", dtype, (size,))
    for start in range(0, size, 10_000_000):
        part = np.arange(start, min(start + 10_000_000, size))
        array[start : start + len(part)] = values(part)
    array.flush()


if __name__ == "__main__":
    main()
