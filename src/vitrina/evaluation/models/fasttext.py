"""fastText's supervised classifier, the paper's production baseline.

Sources: paper A.2; Joulin et al. 2016, arXiv 1607.01759. fastText runs on one thread, because
several threads would race for the weights and give other figures each time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from vitrina.allocator import PERTURB, set_malloc_option
from vitrina.classification.linear import Rows, Scores
from vitrina.evaluation.model import Fitted, Model
from vitrina.evaluation.task import Task
from vitrina.files import write_json
from vitrina.metrics import Kind
from vitrina.text.normalize import Normalizer

BUCKETS = 200_000
"""Number of rows for hashed n-grams in autotune's trials (80 MB).

Left alone, autotune tries up to ten million rows, which take gigabytes.
"""
DIM = 100
"""Length of the vectors in autotune's trials: fastText's default.

Left alone, autotune tries up to 1,000.
"""
VALIDATION_ROWS = 5_000
"""Maximum number of validation rows on which autotune evaluates each trial."""

_LEARNING_RATE = 0.1  # fastText's default
_LABEL = "__label__"
# fastText adds 1e-5 to each probability, so no logarithm of a predicted one is below -12
_LOWEST_SCORE = -20.0


@dataclass(frozen=True, kw_only=True)
class FastText(Model):
    """fastText with its default arguments: words of normalised titles, no n-grams, five epochs."""

    kinds: ClassVar[frozenset[Kind]] = frozenset(("binary", "multiclass"))
    packages: ClassVar[tuple[str, ...]] = ("fasttext",)

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        self.check()
        arguments = dict(self._arguments(task, rows, seed))
        with TemporaryDirectory() as folder, _zeroed_memory():
            path = _write_input(Path(folder, "train.txt"), task, rows)
            model = _train(path, seed, arguments)

        def predict_scores(rows: Rows) -> Scores:
            titles = Normalizer()(task.titles_of(rows))
            labels, probabilities = model.predict(titles, k=-1)
            scores: Scores = np.full((len(rows), max(2, len(task.classes))), _LOWEST_SCORE)
            for row, (names, values) in enumerate(zip(labels, probabilities, strict=True)):
                classes = [int(name.removeprefix(_LABEL)) for name in names]
                scores[row, classes] = np.log(values)
            if task.kind == "multiclass":
                return scores
            # log-odds: a probability near 1 is rounded, but that of the other label is not
            log_odds: Scores = scores[:, 1] - scores[:, 0]
            return log_odds

        size = 0
        for matrix in (model.f.getInputMatrix(), model.f.getOutputMatrix()):
            size += np.asarray(matrix).nbytes
        return Fitted(predict_scores, size, arguments)

    def _arguments(self, task: Task, rows: Rows, seed: int) -> Mapping[str, Any]:
        """Arguments that differ from fastText's defaults."""
        return {}


@dataclass(frozen=True, kw_only=True)
class FastTextAutotune(FastText):
    """fastText with the arguments that its own autotune finds on validation rows.

    It is tuned once for each task and size, on the first subsample of that size; the other
    subsamples reuse the arguments. What autotune finds depends on how many trials it can run in the
    given time.

    Attributes
    ----------
    autotune_seconds : int, default 60
        Time for the trials, at least 1 second.
    """

    repeatable: ClassVar[bool] = False

    autotune_seconds: int = 60

    def _arguments(self, task: Task, rows: Rows, seed: int) -> Mapping[str, Any]:
        path = self.folder / f"{task.digest}-{len(rows)}-{self.autotune_seconds}.json"
        if not path.exists():
            found = self._tune(task, rows, seed)
            # another process may have finished first: all subsamples use the arguments it found
            if not path.exists():
                write_json(path, found)
        arguments: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return arguments

    def _tune(self, task: Task, rows: Rows, seed: int) -> dict[str, Any]:
        """Run autotune in a process of its own and return the arguments that it found."""
        validation = np.random.default_rng(seed).permutation(task.validation)[:VALIDATION_ROWS]
        with TemporaryDirectory() as folder:
            arguments = {
                "input": _write_input(Path(folder, "train.txt"), task, rows),
                "autotuneValidationFile": _write_input(
                    Path(folder, "validation.txt"), task, validation
                ),
                "autotuneDuration": self.autotune_seconds,
                "dim": DIM,
                "bucket": BUCKETS,
                "seed": seed + 1,
            }
            # autotune leaves a broken handler of Ctrl-C in its process
            with subprocess.Popen(
                [sys.executable, "-c", _TUNE_SCRIPT, json.dumps(arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "MALLOC_PERTURB_": "255"},  # see _zeroed_memory
                text=True,
            ) as process:
                try:
                    output, _ = process.communicate(timeout=self.autotune_seconds + 5)
                except subprocess.TimeoutExpired:
                    # If autotune's timer thread starts too early, autotune never stops by itself.
                    # If it has stopped and is training the final model, the signal does nothing.
                    process.send_signal(signal.SIGINT)
                    output, _ = process.communicate()
        if not output:
            raise RuntimeError(f"fastText's autotune failed with exit code {process.returncode}")
        tuned: dict[str, Any] = json.loads(output)
        return tuned


# Not train_supervised: it drops the buckets if the first trial has no n-grams, and later trials
# with n-grams then divide by zero. If no trial ends in time, fastText's defaults are kept.
_TUNE_SCRIPT = """
import json, sys
import fasttext_pybind

arguments, model = fasttext_pybind.args(), fasttext_pybind.fasttext()
given = json.loads(sys.argv[1])
defaults = {"lr": 0.1, "minCount": 1, "minn": 0, "maxn": 0, "thread": 1, "verbose": 0}
defaults["model"] = fasttext_pybind.model_name.supervised
defaults["loss"] = fasttext_pybind.loss_name.softmax
for name, value in {**defaults, **given}.items():
    setattr(arguments, name, value)
arguments.setManual("dim")
arguments.setManual("bucket")
try:
    fasttext_pybind.train(model, arguments)
    tuned = ("lr", "epoch", "wordNgrams", "minn", "maxn", "dim", "bucket")
    found = {name: getattr(model.getArgs(), name) for name in tuned}
except RuntimeError as error:
    if "enough time" not in str(error):
        raise
    found = {}
print(json.dumps(found), flush=True)
"""


def _train(path: str, seed: int, arguments: dict[str, Any]) -> Any:
    """Train a model; where it diverges, halve the learning rate in `arguments` and train again.

    A rate that autotune found on one subsample can be too high for another.
    """
    import fasttext

    while True:
        try:
            return fasttext.train_supervised(
                input=path,
                seed=seed + 1,  # fastText treats 0 and 1 as the same seed
                thread=1,
                verbose=0,
                **arguments,
            )
        except RuntimeError as error:
            if "NaN" not in str(error):
                raise
            arguments["lr"] = arguments.get("lr", _LEARNING_RATE) / 2


def _write_input(path: Path, task: Task, rows: Rows) -> str:
    """Write fastText's input, one line a row, and return the path as a string."""
    titles = Normalizer()(task.titles_of(rows))
    lines = []
    for label, title in zip(task.labels[rows], titles, strict=True):
        lines.append(f"{_LABEL}{int(label)} {title}\n")
    path.write_text("".join(lines), "utf-8")
    return str(path)


@contextmanager
def _zeroed_memory() -> Iterator[None]:
    """Fill memory with zeros when it is allocated, where the C library can.

    fastText doesn't initialise all vectors: each of its threads draws the vectors of a tenth of the
    words, so on one thread nine tenths start as whatever their memory holds, which may be NaN.
    Starting from zeros makes no difference once there are enough labels to learn anything.
    """
    # the allocator writes the complement of this byte
    set_malloc_option(PERTURB, 0xFF)
    try:
        yield
    finally:
        set_malloc_option(PERTURB, 0)
