"""Shared code of the benchmarks: alternating rounds, medians, and one list of results."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from vitrina import Normalizer, TitleTokenizer, load_public_dataset
from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.files import write_json

RESULTS = Path(__file__).with_name("results.json")
SHARED = Path(__file__).parents[2] / "shared" / "data"
OURS = "vitrina"
# The peak memory of this process; getrusage would give the parent's if that is larger.
PEAK = """
import re
status = open("/proc/self/status").read()
print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024, flush=True)
"""
# The memory at the end, without mapped files, which the system can take back at any time.
OWN = PEAK.replace("VmHWM", "RssAnon")
Work: TypeAlias = tuple[float, Callable[[], object]]
"""A number of items, and a function that processes them."""


def by_turns(contenders: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Measure the items per second of each contender.

    Each round runs every contender once, so that other load on the machine affects all of them
    equally. An untimed run precedes every timed one, to warm caches and memory.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (items, work) in contenders.items():
            work()
            start = time.perf_counter()
            work()
            rates[name].append(items / (time.perf_counter() - start))
    return rates


def by_turns_apart(
    contenders: Mapping[str, Callable[[], Work]], rounds: int
) -> dict[str, list[float]]:
    """Do the same as `by_turns`, with each contender in its own process.

    Threads, memory and imports of one contender then don't affect the others. A contender that
    lacks a package is left out.
    """
    context = multiprocessing.get_context("spawn")
    rates: dict[str, list[float]] = {}
    pipes, workers = {}, []
    for name, make in contenders.items():
        pipe, theirs = context.Pipe()
        workers.append(context.Process(target=_contend, args=(make, theirs)))
        workers[-1].start()
        items = pipe.recv()  # arrives after the warm-up run
        if isinstance(items, str):
            print(f"left out: {items}", file=sys.stderr)
        else:
            pipes[name], rates[name] = (pipe, items), []
    for _ in range(rounds):
        for name, (pipe, items) in pipes.items():
            time.sleep(0.3)  # threads of the previous contender spin for a while
            pipe.send(None)
            rates[name].append(items / pipe.recv())
    for worker in workers:
        worker.kill()
        worker.join()
    return rates


def _contend(make: Callable[[], Work], pipe: Any) -> None:
    """Run a contender whenever the pipe asks for it, and send the seconds."""
    try:
        items, work = make()
    except ModuleNotFoundError as error:
        pipe.send(str(error))
        return
    work()
    pipe.send(items)
    while True:
        pipe.recv()
        start = time.perf_counter()
        work()
        pipe.send(time.perf_counter() - start)


def compare(
    name: str, rates: Mapping[str, list[float]], unit: str, goals: dict[str, float]
) -> None:
    """Record the ratio of our rate to each peer's: the median over the rounds."""
    ours = rates[OURS]
    for peer, theirs in rates.items():
        if peer != OURS:
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            record(
                f"{name} / {peer}",
                statistics.median(ours),
                unit,
                peer=peer,
                peer_value=statistics.median(theirs),
                ratios=ratios,
                goal=goals.get(peer),
            )


def record(
    name: str,
    value: float,
    unit: str,
    *,
    peer: str | None = None,
    peer_value: float | None = None,
    ratios: list[float] | None = None,
    goal: float | None = None,
    at_most: bool = False,
) -> None:
    """Print a figure and write it to results.json, where it replaces one with the same name.

    The goal is for the median of `ratios` if there are any, else for `value`. It is a lower bound
    unless `at_most`.
    """
    ratio = statistics.median(ratios) if ratios else None
    figure = value if ratio is None else ratio
    met = None
    if goal is not None:
        met = figure <= goal if at_most else figure >= goal
    row: dict[str, Any] = {
        "name": name,
        "value": rounded(value),
        "unit": unit,
        "peer": peer,
        "peer_value": rounded(peer_value),
        "ratio": rounded(ratio),
        "ratio_lowest": rounded(min(ratios)) if ratios else None,
        "ratio_highest": rounded(max(ratios)) if ratios else None,
        "goal": goal,
        "met": met,
        "versions": versions(peer),
        "command": "python benchmarks/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    rows = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else []
    others = [other for other in rows if other["name"] != name]
    write_json(RESULTS, sorted([*others, row], key=by_name))

    shown = f"{name}: {value:,.4g} {unit}"
    if ratio is not None and ratios:
        shown += (
            f", {peer_value:,.4g} of {peer}: {ratio:.3g}× ({min(ratios):.3g}-{max(ratios):.3g})"
        )
    if goal is not None:
        relation = "≤" if at_most else "≥"
        outcome = "met" if met else "NOT met"
        shown += f" [goal {relation} {goal:g}: {outcome}]"
    print(shown, flush=True)


def by_name(row: dict[str, Any]) -> str:
    return str(row["name"])


def fresh_process(program: str, *arguments: Path, memory: str = PEAK) -> tuple[float, float]:
    """Run a Python program in a new process.

    Returns
    -------
    seconds : float
        From the start to the end of the program's work, without the exit of the interpreter.
    memory : float
        In MiB, as `memory` measures it: the peak by default.
    """
    command = [sys.executable, "-c", program + memory, *map(str, arguments)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [(line, time.perf_counter()) for line in process.stdout]
    assert process.returncode == 0
    peak, done = lines[-1]
    return done - start, float(peak)


def rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def versions(peer: str | None) -> dict[str, str]:
    """Return the versions of vitrina and of the peer's packages."""
    packages = {
        "model2vec": ["model2vec"],
        "faiss": ["faiss-cpu", "usearch"],
        "fastText": ["fasttext-numpy2"],
        "MiniLM": ["sentence-transformers", "torch"],
        "SentencePiece": ["sentencepiece"],
        "torch": ["torch"],
        "scikit-learn": ["scikit-learn"],
    }
    found = {"vitrina": version("vitrina")}
    for start, names in packages.items():
        if peer and peer.startswith(start):
            for name in names:
                try:
                    found[name] = version(name)
                except PackageNotFoundError:
                    found[name] = "missing"
    return found


def catalogues() -> dict[str, list[str]]:
    """Return titles by source: long and short ones, or those of a package without shared data."""
    if not SHARED.exists():
        products = load_public_dataset("completejourney").products.collect()
        return {"Complete Journey": products["title"].drop_nulls().to_list()}
    long = pl.read_parquet(SHARED / "open_ecommerce" / "products.parquet")["title"]
    short = pl.read_parquet(SHARED / "ebay" / "listings.parquet")["title"]
    return {
        "Open e-commerce": long.drop_nulls().to_list(),
        "eBay": short.drop_nulls().to_list(),
    }


def untrained_weights(titles: list[str]) -> EncoderWeights:
    """Return an encoder of the default sizes for titles. Training does not change its speed."""
    tokenizer = TitleTokenizer.train(titles[:100_000], Normalizer("en"))
    return initial_weights(tokenizer.with_word_vectors(titles[:60_000], 512))
