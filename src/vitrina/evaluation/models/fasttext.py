"""fastText's supervised classifier, the paper's production baseline (paper A.2; Joulin et al.
2016, arXiv 1607.01759).

On one thread, so that threads don't race for the weights.
"""

from __future__ import annotations

import ctypes
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

from vitrina.classification.linear import Rows, Scores
from vitrina.evaluation.model import Fitted, Model
from vitrina.evaluation.task import Task
from vitrina.files import write_json
from vitrina.metrics import Kind
from vitrina.text.normalize import Normalizer

BUCKETS = 200_000
"""Rows that hashed n-grams share in autotune's trials, 80 MB; by itself it tries up to ten million,
which are gigabytes."""
DIM = 100
"""fastText's default, for autotune's trials too: by itself it tries up to 1,000."""
VALIDATION_ROWS = 5_000
"""Autotune judges each trial on so many validation rows at most."""

_LABEL = "__label__"
_LOWEST = -20.0  # fastText adds 1e-5 to each probability, so no logarithm is below -12


@dataclass(frozen=True, kw_only=True)
class FastText(Model):
    """fastText with its own defaults: words of normalised titles, no n-grams, five epochs."""

    kinds: ClassVar[frozenset[Kind]] = frozenset(("binary", "multiclass"))
    packages: ClassVar[tuple[str, ...]] = ("fasttext",)

    def fit(self, task: Task, rows: Rows, seed: int) -> Fitted:
        self.check()
        import fasttext

        found = self._arguments(task, rows, seed)
        with TemporaryDirectory() as folder, _zeroed_memory():
            lines = _write(Path(folder, "train.txt"), task, rows)
            model = fasttext.train_supervised(
                input=lines,
                seed=seed + 1,  # to fastText 0 and 1 are the same
                thread=1,
                verbose=0,
                **found,
            )

        def score(rows: Rows) -> Scores:
            labels, probabilities = model.predict(Normalizer()(task.titles_of(rows)), k=-1)
            scores = np.full((len(rows), max(2, len(task.classes))), _LOWEST)
            for row, (names, values) in enumerate(zip(labels, probabilities, strict=True)):
                scores[row, [int(name[len(_LABEL) :]) for name in names]] = np.log(values)
            # log odds: a probability near 1 is rounded, that of the other label isn't
            return scores[:, 1] - scores[:, 0] if task.kind == "binary" else scores

        matrices = model.f.getInputMatrix(), model.f.getOutputMatrix()
        return Fitted(score, sum(np.asarray(matrix).nbytes for matrix in matrices), found)

    def _arguments(self, task: Task, rows: Rows, seed: int) -> Mapping[str, Any]:
        """Arguments other than fastText's defaults."""
        return {}


@dataclass(frozen=True, kw_only=True)
class FastTextAutotune(FastText):
    """fastText with the arguments that its own autotune finds on validation rows.

    It tunes once for each task and size, on the subsample that comes first, for all subsamples of
    that size. What it finds depends on how much it can try in its time.

    Attributes
    ----------
    autotune_seconds : time for trials, at least 1
    """

    repeatable: ClassVar[bool] = False

    autotune_seconds: int = 60

    def _arguments(self, task: Task, rows: Rows, seed: int) -> Mapping[str, Any]:
        path = self.folder / f"{task.digest}-{len(rows)}-{self.autotune_seconds}.json"
        if not path.exists():
            found = self._tune(task, rows, seed)
            if not path.exists():  # another process may have been faster: all use what it found
                write_json(path, found)
        arguments: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return arguments

    def _tune(self, task: Task, rows: Rows, seed: int) -> dict[str, Any]:
        judged = np.random.default_rng(seed).permutation(task.validation)[:VALIDATION_ROWS]
        with TemporaryDirectory() as folder:
            arguments = {
                "input": _write(Path(folder, "train.txt"), task, rows),
                "autotuneValidationFile": _write(Path(folder, "validation.txt"), task, judged),
                "autotuneDuration": self.autotune_seconds,
                "dim": DIM,
                "bucket": BUCKETS,
                "seed": seed + 1,
            }
            # a process of its own: autotune leaves a broken handler of Ctrl-C behind
            with subprocess.Popen(
                [sys.executable, "-c", _TUNE, json.dumps(arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "MALLOC_PERTURB_": "255"},  # see _zeroed_memory
                text=True,
            ) as process:
                try:
                    found, _ = process.communicate(timeout=self.autotune_seconds + 5)
                except subprocess.TimeoutExpired:
                    # when its thread that keeps the time starts early, autotune never ends by
                    # itself; if it has ended and trains a last time, this changes nothing
                    process.send_signal(signal.SIGINT)
                    found, _ = process.communicate()
        if not found:
            raise RuntimeError(f"fastText's autotune failed with exit code {process.returncode}")
        tuned: dict[str, Any] = json.loads(found)
        return tuned


# Not train_supervised: it takes away the buckets when the first trial has no n-grams, and later
# trials with n-grams divide by zero. If not one trial ends in time, fastText's defaults stay.
_TUNE = """
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


def _write(path: Path, task: Task, rows: Rows) -> str:
    """Write fastText's input, one line a row; the path as fastText wants it."""
    titles = Normalizer()(task.titles_of(rows))
    lines = (
        f"{_LABEL}{int(label)} {title}\n"
        for label, title in zip(task.labels[rows], titles, strict=True)
    )
    path.write_text("".join(lines), "utf-8")
    return str(path)


@contextmanager
def _zeroed_memory() -> Iterator[None]:
    """Have memory zeroed as it is allocated, where the C library can.

    Each thread of fastText draws the first vectors of a tenth of the words, and the vectors of the
    others, on one thread nine tenths, start with whatever their memory holds: at times no number.
    Starting with zeros makes no difference once there are enough labels to learn anything.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    perturb = -6  # M_PERTURB: memory is filled with the complement of the given byte
    if mallopt:
        mallopt(perturb, 0xFF)
    try:
        yield
    finally:
        if mallopt:
            mallopt(perturb, 0)
