"""Ablation of the default recipe: the tables of docs/results/ablation.md.

    python benchmarks/ablation.py build/report/cache

Each variant of the recipe is pre-trained with three seeds and evaluated on the validation rows of
the standing report's tasks, with the vectors alone and with words. `prepare.py` makes the tables in
build/tables. Finished work stays in the folder, which may be the cache of the standing report. The
same command continues a run that was stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from vitrina.compiled import default_threads
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.evaluation.models.frozen_encoder import FrozenEncoder
from vitrina.evaluation.models.registry import ModelContext
from vitrina.evaluation.runner import CellRunner
from vitrina.evaluation.task import Task
from vitrina.evaluation.task_file import read_tasks

SEEDS = (0, 1, 2)
SAMPLES = {100: 5, 1_000: 2, 10_000: 1}  # large subsamples differ little from each other
Changes = Mapping[str, Mapping[str, Any]]
RECIPE: Changes = MappingProxyType({"the recipe: BYOL and SimCLR, α = 0.5": {}})
OBJECTIVES: Changes = MappingProxyType(
    {
        **RECIPE,
        "SimCLR, α = 0.5": {"objective": "simclr"},
        "BYOL, α = 0.1": {"objective": "byol", "alpha": 0.1},
        "categories alone, α = 0": {"objective": "byol", "alpha": 0.0},
    }
)
PARTS: Changes = MappingProxyType(
    {
        **RECIPE,
        "no category of its own": {"own_category": False},
        "no pieces left out": {"token_dropout": 0.0},
    }
)
# Online Retail has too few titles for 10,000 labels.
SMALL_SAMPLES = {100: 5, 1_000: 5}
EPOCHS: Changes = MappingProxyType(
    {
        "epochs planned by the data": {},
        "one epoch": {"epochs": 1},
        "two epochs": {"epochs": 2},
        "16 epochs": {"epochs": 16},
    }
)
# The paper's preset with as many pairs as the paper saw: 12.4 million, 4,096 in a step.
LONG_PAPER: Mapping[str, Any] = {"preset": "paper", "epochs": 6, "max_steps": 3_033}
PAPER: Changes = MappingProxyType(
    {
        **{
            f"the paper's preset, α = {alpha:g}": {"alpha": alpha}
            for alpha in (0, 0.1, 0.5, 0.9, 1)
        },
        "α = 0.9, embeddings N(0, 0.05²)": {"embedding_std": 0.05},
        "α = 0.9, a learning rate of 0.45": {"learning_rate": 0.45},
        "α = 0.9, AdamW": {"optimizer": "adamw", "learning_rate": 3e-3},
    }
)


def main(out: Path) -> None:
    tasks, shops = read_tasks(Path(__file__).with_name("tasks.toml"))
    # a task of fifteen classes takes fifteen fits
    tasks = [task for task in tasks if task.kind == "binary"]
    contexts = [ModelContext(out, shops, seed=seed) for seed in SEEDS]
    tasks_of = {shop: [task for task in tasks if task.sessions == shop] for shop in shops}
    table(contexts, tasks_of["complete-journey"] + tasks_of["open-ecommerce"], OBJECTIVES)
    # eBay's tasks: pre-trained on both shops, and on Open e-commerce alone
    ebay = tasks_of["ebay"]
    table(contexts, ebay, RECIPE)
    table(contexts, [replace(task, sessions="open-ecommerce") for task in ebay], RECIPE)
    table(contexts, tasks_of["open-ecommerce"], PARTS)
    table(contexts, tasks_of["online-retail"], EPOCHS, SMALL_SAMPLES)
    paper = {name: {**LONG_PAPER, **changes} for name, changes in PAPER.items()}
    table(contexts, tasks_of["complete-journey"], paper)


def table(
    contexts: Sequence[ModelContext],
    tasks: Sequence[Task],
    changes: Changes,
    samples: Mapping[int, int] = SAMPLES,
) -> None:
    """Print the mean AUC over the tasks: its mean and standard deviation over the seeds.

    `samples` holds the number of subsamples by size.
    """
    columns = [f"{kind}, {size:,}" for kind in ("alone", "with words") for size in samples]
    print(f"\n| {len(tasks)} tasks | {' | '.join(columns)} | minutes |")
    print("|---" * (len(columns) + 2) + "|")
    for change, settings in changes.items():
        alone = [context.encoder_model(f"alone {context.seed}", **settings) for context in contexts]
        words = [
            context.encoder_model(f"words {context.seed}", use_words=True, **settings)
            for context in contexts
        ]
        results = []
        for size, repeats in samples.items():
            runner = CellRunner(
                contexts[0].folder, tasks, [size], repeats, 0, default_threads(), False
            )
            results.append(runner.run([*alone, *words], "validation"))

        # over the subsamples first, so that every task has the same weight
        cells = pl.concat(results, how="diagonal_relaxed")
        means = cells.group_by("model", "size", "task", "split").agg(pl.col("value").mean())
        means = means.group_by("model", "size").agg(pl.col("value").mean())
        figures = []
        for models in (alone, words):
            for size in samples:
                names = [model.name for model in models]
                seeds = means.filter(pl.col("model").is_in(names), size=size)["value"].to_numpy()
                figures.append(f"{seeds.mean():.3f} ± {seeds.std(ddof=1):.3f}")
        print(f"| {change} | {' | '.join(figures)} | {minutes(alone, tasks)} |", flush=True)


def minutes(models: Sequence[FrozenEncoder], tasks: Sequence[Task]) -> str:
    """Return the mean duration of one pre-training."""
    folders = {model.encoder_of(task) for model in models for task in tasks}
    taken = [TitleEncoder.load(f).weights.training.get("minutes", 0.0) for f in folders]
    return f"{sum(taken) / len(taken):.1f}" if any(taken) else "–"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
