"""Check the goals of the default recipe with the cells of the standing report.

    python benchmarks/goals.py build/report/results.parquet

1. The mean AUC at 100, 500 and 1,000 labels is above that of every baseline, and the interval of
   the difference excludes zero.
2. From 5,000 labels on, the encoder is never more than 0.005 below the best baseline of any task.
3. TF-IDF and tuned fastText need 3 times as many labels, on average, to reach the encoder's result
   with 500 labels (geometric mean over tasks; if only a bound of a factor is known, the bound
   counts).
4. Pre-training takes at most 30 minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from vitrina.evaluation.statistics import MEAN, differences, labels_saved, name_of, summarise

OURS = "encoder"
# variants of the encoder are not baselines
VARIANTS = ("encoder alone", "paper preset", "random encoder", "SimCLR encoder")
FEW = (100, 500, 1000)


def main(results: Path) -> None:
    cells = pl.read_parquet(results).filter(part="test").filter(~pl.col("model").is_in(VARIANTS))
    gaps = differences(cells, OURS)
    print("| goal | at | reached | figure |\n|---|---|---|---|")
    for size in FEW:
        # only baselines that have all tasks are compared
        means = gaps.filter(task=MEAN, size=size)
        means = means.filter(pl.col("tasks") == pl.col("tasks").max())
        nearest = means.sort("difference").row(0, named=True)
        interval = f"{nearest['low']:+.3f} to {nearest['high']:+.3f}"
        figure = f"{nearest['difference']:+.3f} ({interval}), {nearest['model']}"
        row("mean AUC above every baseline", size, nearest["low"] > 0, figure)

    summary = summarise(cells)
    many = summary.filter(pl.col("size") >= 5000, metric="auc")
    for (size,), part in many.group_by("size", maintain_order=True):
        best = part.filter(pl.col("model") != OURS).sort("mean").group_by("task", "split").last()
        ours = part.filter(model=OURS).join(best, on=["task", "split"], suffix="_best")
        ours = ours.with_columns(gap=pl.col("mean") - pl.col("mean_best")).sort("gap")
        worst = ours.row(0, named=True)
        task = name_of(worst["task"], worst["split"])
        figure = f"{worst['gap']:+.3f}, {task}, {worst['model_best']}"
        row("at most 0.005 below the best", size, worst["gap"] >= -0.005, figure)

    for other in ("TF-IDF", "fastText, autotuned"):
        saved = labels_saved(summary.filter(metric="auc"), OURS, other)
        factor = float(np.exp(np.log(saved["factor"].to_numpy()).mean()))
        figure = f"{factor:.1f}× over {len(saved)} tasks"
        row(f"labels that {other} needs", 500, factor >= 3, figure)
    minutes = longest_training(results.parent / "cache" / "encoders")
    row("pre-training in 30 minutes", "", minutes <= 30, f"{minutes:.1f} at most")


def row(goal: str, size: object, reached: bool, figure: str) -> None:
    at = f"{size:,} labels" if isinstance(size, int) else size
    print(f"| {goal} | {at} | {'yes' if reached else 'no'} | {figure} |")


def longest_training(encoders: Path) -> float:
    configs = (json.loads(file.read_text("utf-8")) for file in encoders.glob("*/config.json"))
    return max(float(config["training"].get("minutes", 0)) for config in configs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
