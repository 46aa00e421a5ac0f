"""Whether the default recipe does what it should, from the standing report's cells.

    python benchmarks/goals.py build/report/results.parquet

1. Mean AUC at 100, 500 and 1,000 labels above every baseline, with an interval that excludes zero.
2. From 5,000 labels on never more than 0.005 below the best baseline of any task.
3. Labels that TF-IDF and tuned fastText need to do as well as the encoder does with 500: 3 times as
   many, on average (geometric mean over tasks; a factor that is only known to be larger counts as
   its bound).
4. Pre-training in 30 minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from vitrina.evaluation.statistics import MEAN, differences, labels_saved, name_of, summarise

OURS = "encoder"
OWN = ("encoder alone", "paper preset", "random encoder", "SimCLR encoder")  # no baselines
FEW = (100, 500, 1000)


def main(results: Path) -> None:
    cells = pl.read_parquet(results).filter(part="test").filter(~pl.col("model").is_in(OWN))
    gaps = differences(cells, OURS)
    print("| goal | at | reached | figure |\n|---|---|---|---|")
    for size in FEW:
        means = gaps.filter(task=MEAN, size=size)
        means = means.filter(pl.col("tasks") == pl.col("tasks").max())
        nearest = means.sort("difference").row(0, named=True)
        told = f"{nearest['difference']:+.3f} ({nearest['low']:+.3f} to {nearest['high']:+.3f})"
        row(
            "mean AUC above every baseline", size, nearest["low"] > 0, f"{told}, {nearest['model']}"
        )
    summary = summarise(cells)
    many = summary.filter(pl.col("size") >= 5000, metric="auc")
    for (size,), part in many.group_by("size", maintain_order=True):
        best = part.filter(pl.col("model") != OURS).sort("mean").group_by("task", "split").last()
        ours = part.filter(model=OURS).join(best, on=["task", "split"], suffix="_best")
        ours = ours.with_columns(gap=pl.col("mean") - pl.col("mean_best")).sort("gap")
        worst = ours.row(0, named=True)
        told = (
            f"{worst['gap']:+.3f}, {name_of(worst['task'], worst['split'])}, {worst['model_best']}"
        )
        row("at most 0.005 below the best", size, worst["gap"] >= -0.005, told)
    for other in ("TF-IDF", "fastText, autotuned"):
        saved = labels_saved(summary.filter(metric="auc"), OURS, other)
        factor = float(np.exp(np.log(saved["factor"].to_numpy()).mean()))
        told = f"{factor:.1f}× over {len(saved)} tasks"
        row(f"labels that {other} needs", 500, factor >= 3, told)
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
