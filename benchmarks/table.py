"""What an encoder's int8 table costs against the exact one: linear models on the vectors of both.

    python benchmarks/table.py TASKS.toml ENCODER ...

After `make report`: `python benchmarks/table.py benchmarks/tasks.toml build/report/encoders/*`.
Every encoder serves every task, with the same labels for both tables.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from bench import record
from vitrina import TitleEncoder
from vitrina.encoder.title_encoder import unit_length
from vitrina.encoder.weights import EncoderWeights
from vitrina.evaluation.models.stored_vectors import LinearOnVectors
from vitrina.evaluation.protocol import learning_curve, subsamples
from vitrina.evaluation.task import Task
from vitrina.evaluation.task_file import read_tasks

SIZES, SAMPLES = (100, 1_000), 10


def main() -> None:
    file, *encoders = sys.argv[1:]
    tasks, _ = read_tasks(file)
    curves, cosines = [], []
    for encoder in encoders:
        weights = TitleEncoder.load(encoder).weights
        for task in tasks:
            if task.kind != "regression":
                curve, cosine = compared(weights, task)
                curves.append(curve.with_columns(encoder=pl.lit(Path(encoder).name)))
                cosines.append(cosine)
    of_table = (
        pl.concat(curves).group_by("encoder", "task", "size", "model").agg(pl.col("value").mean())
    )
    both = of_table.pivot("model", index=["encoder", "task", "size"], values="value")
    changes = both["int8"].to_numpy() - both["float32"].to_numpy()
    record("int8 table: lowest cosine to the exact vector", min(cosines), "")
    record("int8 table: mean change of AUC", float(changes.mean()), "")
    figure = "int8 table: largest change of AUC, mean of 10 subsamples, over tasks and encoders"
    record(figure, float(np.abs(changes).max()), "", goal=0.001, at_most=True)


def compared(weights: EncoderWeights, task: Task) -> tuple[pl.DataFrame, float]:
    """The learning curves on both tables, and the lowest cosine of a title's two vectors."""
    exact = TitleEncoder(weights, table="float32").encode(task.titles)
    small = TitleEncoder(weights, table="int8").encode(task.titles)
    models = [
        LinearOnVectors(name="float32", vectors=exact),
        LinearOnVectors(name="int8", vectors=small),
    ]
    curve = learning_curve(task, models, subsamples(task, SIZES, SAMPLES))
    cosine = np.sum(unit_length(exact) * unit_length(small), axis=1)
    return curve, float(cosine[exact.any(axis=1)].min())


if __name__ == "__main__":
    main()
