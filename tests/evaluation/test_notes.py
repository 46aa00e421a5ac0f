"""Notes on tasks and encoders: when they appear, and what they say."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vitrina.evaluation.notes import (
    SharesSeen,
    advice_on_logarithms,
    notes_on,
    notes_on_seen_titles,
)
from vitrina.evaluation.task import Task


def task_of(kind: Any, labels: Any) -> Task:
    rows = np.arange(len(labels))
    titles = [f"title {row}" for row in rows]
    return Task("price", kind, titles, np.asarray(labels), rows[::3], rows[1::3], rows[2::3])


@pytest.fixture
def prices() -> Task:
    return task_of("regression", np.exp(np.random.default_rng(0).standard_normal(3_000)))


def test_prices_want_a_logarithm(prices: Task) -> None:
    grouped = replace(prices, split="seller")
    (advice,) = advice_on_logarithms([prices, grouped])  # one sentence for both splits
    assert advice.startswith("price: the labels are all above 0 and strongly skewed (skewness ")
    assert "set log = true" in advice
    assert f"{advice}." in notes_on([prices, grouped], pretraining=False, quick=False)


def test_what_wants_no_logarithm(prices: Task) -> None:
    labels = prices.labels
    rng = np.random.default_rng(1)
    cases = {
        "logarithms": np.log(labels),
        "with a zero": np.append(labels[1:], 0.0),
        "positive, but symmetric": 10 + rng.standard_normal(3_000),
    }
    for name, values in cases.items():
        assert advice_on_logarithms([replace(prices, labels=values)]) == [], name
    classes = replace(prices, kind="multiclass", labels=np.arange(3_000) % 3 + 1)
    assert advice_on_logarithms([classes]) == []


def test_rare_classes_are_explained() -> None:
    rare = task_of("binary", np.arange(1_000) < 63)
    (note,) = notes_on([rare], pretraining=False, quick=False)
    assert "(price: 6.3%)" in note
    assert "k = 100" in note
    often = task_of("binary", np.arange(1_000) < 100)
    assert notes_on([often], pretraining=False, quick=False) == []


def test_each_note_appears_once(prices: Task) -> None:
    noted = replace(prices, labels=np.log(prices.labels), note="Prices are in euros.")
    notes = notes_on([noted, replace(noted, split="seller")], pretraining=True, quick=True)
    assert len(notes) == 3
    assert notes[0].startswith("A quick run")
    assert notes[1] == "Prices are in euros."
    assert notes[2].startswith("Pre-training on a task's sessions left out 1 user in ")


def test_what_is_known_of_seen_titles() -> None:
    nothing = {("price", "title"): 0.0, ("price", "seller"): 0.0}
    seen: dict[str, SharesSeen] = {
        "encoder": nothing,
        "encoder alone": nothing,
        "ours": {("price", "title"): 0.25, ("price", "seller"): 0.5, ("condition", "title"): 0.0},
        "theirs": {("price", "title"): None},
    }
    own, ours, theirs = notes_on_seen_titles(seen)
    assert own == "encoder, encoder alone: pre-training saw no test title."
    assert ours.startswith("ours: pre-training may have seen these test titles")
    assert ": 25.0% of price; 50.0% of price, split by seller." in ours
    assert "condition" not in ours
    assert theirs.startswith("theirs: it is unknown whether pre-training saw test titles")
    assert notes_on_seen_titles({}) == []
