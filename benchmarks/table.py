"""Loss of accuracy by an encoder's int8 table, measured by linear models on the vectors.

    python benchmarks/table.py TASKS.toml ENCODER ...

After `make report`: `python benchmarks/table.py benchmarks/tasks.toml build/report/encoders/*`.
Every encoder is evaluated on every classification task, with the same labels for the int8 table and
for the exact float32 table.
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
from vitrina.evaluation.protocol import run_cell, subsamples
from vitrina.evaluation.task import Task
from vitrina.evaluation.task_file import read_tasks

SIZES, SAMPLES = (100, 1_000), 10


def main() -> None:
    file, *encoders = sys.argv[1:]
    tasks, _ = read_tasks(file)
    curves = []
    cosines = []
    for encoder in encoders:
        weights = TitleEncoder.load(encoder).weights
        for task in tasks:
            if task.kind != "regression":
                curve, cosine = compare_tables(weights, task)
                curves.append(curve.with_columns(encoder=pl.lit(Path(encoder).name)))
                cosines.append(cosine)

    # the change of the mean over the subsamples
    cells = pl.concat(curves)
    means = cells.group_by("encoder", "task", "size", "model").agg(pl.col("value").mean())
    both = means.pivot("model", index=["encoder", "task", "size"], values="value")
    changes = both["int8"].to_numpy() - both["float32"].to_numpy()
    record("int8 table: lowest cosine to the exact vector", min(cosines), "")
    record("int8 table: mean change of AUC", float(changes.mean()), "")
    figure = "int8 table: largest change of AUC, mean of 10 subsamples, over tasks and encoders"
    record(figure, float(np.abs(changes).max()), "", goal=0.001, at_most=True)


def compare_tables(weights: EncoderWeights, task: Task) -> tuple[pl.DataFrame, float]:
    """Return the cells of both tables, and the lowest cosine of a title's two vectors."""
    exact = TitleEncoder(weights, table="float32").encode(task.titles)
    small = TitleEncoder(weights, table="int8").encode(task.titles)
    models = [
        LinearOnVectors(name="float32", vectors=exact),
        LinearOnVectors(name="int8", vectors=small),
    ]
    drawn = subsamples(task, SIZES, SAMPLES)
    cells = []
    for model in models:
        for (size, sample), rows in drawn.items():
            cell = run_cell(task, model, rows, seed=sample)
            cells.append((task.name, model.name, size, sample, cell["value"]))
    columns = ["task", "model", "size", "sample", "value"]
    curve = pl.DataFrame(cells, schema=columns, orient="row")

    # an empty title has the vector 0, and no cosine
    cosine = np.sum(unit_length(exact) * unit_length(small), axis=1)
    return curve, float(cosine[exact.any(axis=1)].min())


if __name__ == "__main__":
    main()
