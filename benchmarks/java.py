"""The reader in Java against vitrina itself, titles to vectors on one thread.

    python benchmarks/java.py [--quick]

Each round runs both, so that other load on the machine affects them equally. The reader encodes all
titles six times and tells the rate of the last, when Java has compiled it and it has met all words;
vitrina's first run is not timed either. It needs javac and java, version 17 or newer.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import catalogues, record, untrained_weights
from vitrina import TitleEncoder

SOURCE = Path(__file__).parents[1] / "readers" / "java" / "VitrinaEncoder.java"
QUICK = "--quick" in sys.argv
ROUNDS = 3 if QUICK else 5
TITLES = 20_000 if QUICK else 50_000
GOAL = 100_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["javac", "-d", folder, SOURCE], check=True)
        for source, titles in catalogues().items():
            measure(source, titles, Path(folder))


def measure(source: str, titles: list[str], folder: Path) -> None:
    """Compare the rates on the first titles of a catalogue."""
    encoder = TitleEncoder(untrained_weights(titles), threads=1)
    encoder.save(folder / "encoder", force=True)
    some = [title.replace("\n", " ") for title in titles[:TITLES]]
    lines = folder / "titles.txt"
    lines.write_bytes("".join(f"{title}\n" for title in some).encode())

    java, ours = [], []
    for _ in range(ROUNDS):
        command: list[str | Path] = ["java", "-cp", folder, "VitrinaEncoder", "time"]
        command += [folder / "encoder", lines]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        java.append(float(done.stdout.split()[0]))
        in_batches(encoder, some)
        start = time.perf_counter()
        in_batches(encoder, some)
        ours.append(len(some) / (time.perf_counter() - start))

    name = f"{source}, int8: titles → vectors in Java, one thread"
    ratios = [a / b for a, b in zip(java, ours, strict=True)]
    record(
        name,
        statistics.median(java),
        "titles/s",
        peer="vitrina, one thread",
        peer_value=statistics.median(ours),
        ratios=ratios,
    )
    record(f"{name}, goal", statistics.median(java), "titles/s", goal=GOAL)


def in_batches(encoder: TitleEncoder, titles: list[str]) -> None:
    for start in range(0, len(titles), 4_096):
        encoder.encode(titles[start : start + 4_096])


if __name__ == "__main__":
    main()
