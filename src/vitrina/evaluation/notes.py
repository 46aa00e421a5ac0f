"""What a reader must know about the tasks and encoders of a comparison, as plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import skew  # type: ignore[import-untyped]

from vitrina.classification.predict import wants_logarithm
from vitrina.evaluation.shop import HELD_OUT_USERS
from vitrina.evaluation.statistics import name_of
from vitrina.evaluation.task import Task
from vitrina.metrics import MOST_INSPECTED

SharesSeen = Mapping[tuple[str, str], float | None]
"""Task and split -> share of the test titles that pre-training may have seen; None: unknown."""


def notes_on(tasks: Sequence[Task], *, pretraining: bool, quick: bool) -> list[str]:
    """Return the report's notes on tasks, in their order.

    Parameters
    ----------
    tasks : sequence of Task
    pretraining : bool
        Whether models were pre-trained on sessions.
    quick : bool
        Whether it was a quick run.

    Returns
    -------
    list of str
        Each task's own note, advice on logarithms, what the metrics of rare classes mean, and what
        pre-training didn't see.
    """
    notes = []
    if quick:
        notes.append("A quick run: few rows, labels and steps. Its figures mean nothing.")
    # each note once, in the order of the tasks
    for note in dict.fromkeys(task.note for task in tasks):
        if note:
            notes.append(note)
    notes += [f"{advice}." for advice in advice_on_logarithms(tasks)]
    notes += _note_on_rare_classes(tasks)
    if pretraining:
        notes.append(
            f"Pre-training on a task's sessions left out 1 user in {HELD_OUT_USERS} and every "
            "product with a validation or test title. Prod2Vec and Meta-Prod2Vec saw these "
            "products in the sessions, as ids without title or category."
        )
    return notes


def advice_on_logarithms(tasks: Sequence[Task]) -> list[str]:
    """Return a sentence for each regression whose labels should be logarithms.

    See `vitrina.classification.predict.wants_logarithm`.
    """
    advice = {}
    for task in tasks:
        if task.kind == "regression" and wants_logarithm(task.labels):
            # one sentence for both splits of a task
            advice[task.name] = (
                f"{task.name}: the labels are all above 0 and strongly skewed (skewness "
                f"{skew(task.labels):.1f}, that of their logarithms "
                f"{skew(np.log(task.labels)):.1f}), so that a few large ones decide R²; set "
                "log = true in the task file to learn their logarithms"
            )
    return list(advice.values())


def _note_on_rare_classes(tasks: Sequence[Task]) -> list[str]:
    shares = {}
    for task in tasks:
        if task.is_rare:
            shares[task.name] = f"{task.name}: {np.mean(task.labels):.1%}"
    if not shares:
        return []
    return [
        f"Few rows are positive ({'; '.join(shares.values())}). The report therefore also has two "
        "metrics of the highest scores. Average precision is the mean precision over all ranks of "
        "positive rows; scores at random reach the share of positive rows. Precision at k is the "
        f"share of positive rows among the k highest scores, with k = {MOST_INSPECTED} or the "
        "number of positive test rows, whichever is smaller."
    ]


def notes_on_seen_titles(seen: Mapping[str, SharesSeen]) -> list[str]:
    """Say which pre-trained encoders may have seen test titles.

    Parameters
    ----------
    seen : mapping of str to mapping
        The shares of the seen test titles, for each encoder by its name.

    Returns
    -------
    list of str
        One paragraph for all encoders with the same shares.
    """
    models_by_shares: dict[tuple[Any, ...], list[str]] = {}
    for model, shares in seen.items():
        models_by_shares.setdefault(tuple(shares.items()), []).append(model)
    notes = []
    for same_shares, models in models_by_shares.items():
        notes.append(f"{', '.join(models)}: {_seen_sentence(dict(same_shares))}")
    return notes


def _seen_sentence(shares: SharesSeen) -> str:
    if all(share is None for share in shares.values()):
        return (
            "it is unknown whether pre-training saw test titles, because no [sessions] of the task "
            "file has the catalogue that the encoder was trained on. Add it to be told."
        )
    parts = []
    for (task, split), share in shares.items():
        if share:
            parts.append(f"{share:.1%} of {name_of(task, split)}")
    if not parts:
        return "pre-training saw no test title."
    return (
        f"pre-training may have seen these test titles, which its catalogue has: "
        f"{'; '.join(parts)}. Titles that an encoder has seen may be easier for it than new ones."
    )
