"""Training speed on a busy machine.

    python benchmarks/busy.py [--quick]

Threads that spin while they wait for each other take the processors from other processes. Each
figure is a training's rate relative to its rate alone on the machine. Two trainings on the same
processors should get half each, less what changing between them costs. The peer has the OpenMP
settings that torch starts with. The situations alternate, so that other load affects all equally.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import OURS, record
from vitrina import load_public_dataset, preset, read_catalogue, sessionize
from vitrina.compiled import default_threads

QUICK = "--quick" in sys.argv
ROUNDS = 5 if QUICK else 15
SECONDS = 2.0 if QUICK else 4.0  # of each measurement
PEER = "torch's OpenMP settings"
SPINNING = {"GOMP_SPINCOUNT": "300000"}  # GNU OpenMP's own default

TRAIN, LOAD = "--train", "--load"  # what a process of its own does


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name) / "data"
        prepare(folder)

        def started(job: str, **environment: str) -> Worker:
            return stack.enter_context(Worker([job, str(folder)], environment))

        ours = [started(TRAIN), started(TRAIN)]
        peers = [started(TRAIN, **SPINNING), started(TRAIN, **SPINNING)]
        load = started(LOAD)
        situations: dict[str, Sequence[Worker]] = {
            "alone": ours[:1],
            "alone, peer": peers[:1],
            "two at once": ours,
            "two at once, peer": peers,
            "beside a load": [ours[0], load],
            "beside a load, peer": [peers[0], load],
        }
        rates: dict[str, list[float]] = {name: [] for name in situations}
        for _ in range(ROUNDS):
            for name, workers in situations.items():
                rates[name].append(slowest_rate(workers))
    report(rates)


def prepare(folder: Path) -> None:
    """Save The Complete Journey as `vitrina train` does."""
    from vitrina.pretraining.dataset import TrainingData

    journey = load_public_dataset("completejourney")
    catalogue = read_catalogue(journey.products)
    sessions = sessionize(journey.events, journey.gap, product_ids=catalogue.product_ids)
    TrainingData.prepare(catalogue, sessions, preset("default", language="en")).save(folder)


class Worker:
    """A process that works for a while when it is told to, and returns its rate.

    Parameters
    ----------
    arguments : list of str
        Of this script.
    environment : dict of str to str
        Additions to the environment of the process.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=pipe,
            stdout=pipe,
            text=True,
            env=os.environ | environment,
        )
        self.rate()  # it is ready

    def start(self, seconds: float) -> None:
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)

    def rate(self) -> float:
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


def slowest_rate(workers: Sequence[Worker]) -> float:
    """Let the workers work at the same time, and return the lowest rate of a training."""
    time.sleep(0.3)  # threads of the previous situation spin for a while
    for worker in workers:
        worker.start(SECONDS)
    return min(worker.rate() for worker in workers)


def train(folder: Path) -> None:
    """Train for a while whenever a line with a number of seconds comes, and print pairs/s."""
    # first the module that loads torch with the settings of `vitrina train`
    import vitrina.pretraining.train  # noqa: F401  # isort: skip
    import torch

    from vitrina.pretraining.batches import Batches
    from vitrina.pretraining.dataset import TrainingData
    from vitrina.pretraining.torch_speed import faster_torch
    from vitrina.pretraining.trainer import Trainer

    data = TrainingData.load(folder)
    settings = preset("default", language="en")
    batches = Batches(data, settings)
    trainer = Trainer(data, settings, batches.per_epoch, torch.device("cpu"))
    torch.set_num_threads(default_threads())
    step = 0
    with faster_torch():
        for step in range(3):
            trainer.step(batches[step], step)
        print(0, flush=True)
        for line in sys.stdin:
            pairs = 0
            start = time.perf_counter()
            while time.perf_counter() - start < float(line):
                step = (step + 1) % batches.per_epoch
                batch = batches[step]
                trainer.step(batch, step)
                pairs += batch.pairs
            print(pairs / (time.perf_counter() - start), flush=True)


def load() -> None:
    """Keep all processors busy for a while whenever a line with a number of seconds comes."""
    block = bytes(1 << 20)

    def work(seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            hashlib.sha256(block)  # without Python's lock

    print(0, flush=True)
    for line in sys.stdin:
        threads = [
            threading.Thread(target=work, args=(float(line),)) for _ in range(default_threads())
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(float("inf"), flush=True)


def report(rates: dict[str, list[float]]) -> None:
    """Record each situation's rate relative to that of a training alone."""
    alone = rates["alone"]
    record(
        "training alone",
        statistics.median(alone),
        "pairs/s",
        peer=PEER,
        peer_value=statistics.median(rates["alone, peer"]),
        ratios=[a / b for a, b in zip(alone, rates["alone, peer"], strict=True)],
        goal=0.98,
    )
    goals = {"two at once": 0.4, "beside a load": 0.3}
    for name, goal in goals.items():
        for kind in ("", ", peer"):
            shares = [a / b for a, b in zip(rates[name + kind], alone, strict=True)]
            whose = PEER if kind else OURS
            record(
                f"training {name}, {whose}: share of the rate alone",
                statistics.median(shares),
                "",
                goal=None if kind else goal,
            )


if __name__ == "__main__":
    if TRAIN in sys.argv:
        train(Path(sys.argv[-1]))
    elif LOAD in sys.argv:
        load()
    else:
        main()
