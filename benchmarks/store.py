"""Memory of training on many events.

    python benchmarks/store.py [EVENTS]

Sessions stay on disk, so training needs the memory of one batch only. Pages of mapped files are not
counted, because the system can take them back. The sessions are synthetic, with ten products each,
in the layout that `vitrina train` uses. The baseline has a hundredth of the sessions and the same
catalogue.
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
PRODUCTS = 10  # products per session
PAIRS = PRODUCTS * (PRODUCTS - 1) // 2  # pairs per session

TRAIN = """
import sys
from pathlib import Path
import torch
from vitrina import preset
from vitrina.pretraining.batches import Batches
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.trainer import Trainer
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
            # save the data with one session, then replace the arrays of the sessions
            one = Ragged(rows[:PRODUCTS], np.array([0, PRODUCTS]))
            parts = one, np.array([0, PAIRS]), views, tokenizer(titles), category
            TrainingData(*parts, names, tokenizer).save(folder)
            sessions = events // PRODUCTS
            write(folder / "session_offsets.npy", np.int64, sessions + 1, lambda at: at * PRODUCTS)
            write(folder / "pair_ends.npy", np.int64, sessions + 1, lambda at: at * PAIRS)
            # with this factor, all products occur before one is repeated
            write(folder / "sessions.npy", np.int32, events, lambda at: at * 48_271 % len(rows))
            _, peaks[events] = fresh_process(TRAIN, folder, memory=OWN)
    figure = f"training on {EVENTS:,} events, memory"
    record(figure, peaks[EVENTS] / 1024, "GiB")
    small = peaks[EVENTS // 100]
    record(f"{figure} / that on a hundredth", peaks[EVENTS] / small, "", goal=1.1, at_most=True)


def write(path: Path, dtype: type, size: int, values: Callable[[Ints], Ints]) -> None:
    """Write an array that is too large for memory, part by part."""
    array = np.lib.format.open_memmap(path, "w+", dtype, (size,))
    for start in range(0, size, 10_000_000):
        part = np.arange(start, min(start + 10_000_000, size))
        array[start : start + len(part)] = values(part)
    array.flush()


if __name__ == "__main__":
    main()
