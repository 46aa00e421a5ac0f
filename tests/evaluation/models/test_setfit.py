"""SetFit: learns from few titles, repeats itself, and leaves nothing behind."""

import os
import tempfile
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vitrina.errors import InputError
from vitrina.evaluation.models.setfit import SetFit
from vitrina.evaluation.protocol import split_titles
from vitrina.evaluation.task import Task

torch = pytest.importorskip("torch")
pytest.importorskip("setfit")


@pytest.fixture
def model(tiny_bert):
    return SetFit(name="SetFit", source=str(tiny_bert), steps=4)


def task_of(words, kind="binary"):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(words), 120)
    others = ["apple", "phone", "milk", "shoe", "red", "blue", "lamp", "kit"]
    titles = [f"{words[label]} {' '.join(rng.choice(others, 2))}" for label in labels]
    parts: dict[str, Any] = {**split_titles(titles)}
    if kind == "binary":
        return Task("toy", kind, titles, labels == 1, **parts)
    return Task("toy", kind, titles, labels, **parts, classes=list("abc"))


def test_it_learns_and_repeats_itself(model):
    task = task_of(["new", "used"])
    fitted = model.fit(task, task.train[:40], 3)
    scores = fitted.predict_scores(task.test)
    assert scores.dtype == np.float64
    assert roc_auc_score(task.labels[task.test], scores) > 0.9
    again = model.fit(task, task.train[:40], 3).predict_scores(task.test)
    np.testing.assert_array_equal(again, scores)
    other = model.fit(task, task.train[:40], 4).predict_scores(task.test)
    assert np.abs(other - scores).max() > 0  # the seed decides the order of the pairs


def test_training_changes_the_vectors(model, tiny_bert):
    task = task_of(["new", "used"])
    longer = SetFit(name="SetFit", source=str(tiny_bert), steps=30)
    rows, seen = task.train[:40], task.test
    short = model.fit(task, rows, 0).predict_scores(seen)
    assert np.abs(longer.fit(task, rows, 0).predict_scores(seen) - short).max() > 1e-3
    assert longer.settings() != model.settings()


@pytest.mark.parametrize("known", [(0, 1, 2), (0, 2)])
def test_several_classes(model, known):
    task = task_of(["new", "used", "gb"], "multiclass")
    rows = task.train[np.isin(task.labels[task.train], known)]
    scores = model.fit(task, rows, 0).predict_scores(task.test)
    assert scores.shape == (len(task.test), 3)
    judged = np.isin(task.labels[task.test], known)
    best = scores.argmax(axis=1)
    assert np.mean(best[judged] == task.labels[task.test][judged]) > 0.8
    assert set(best) <= set(known)  # a class without rows is below all others


def test_it_is_quiet_and_leaves_nothing_behind(model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    torch.manual_seed(7)
    torch.set_float32_matmul_precision("highest")
    before = torch.get_rng_state(), dict(os.environ), torch.get_float32_matmul_precision()
    task = task_of(["new", "used"])
    model.fit(task, task.train[:20], 0).predict_scores(task.test)
    assert not list(tmp_path.iterdir())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (dict(os.environ), torch.get_float32_matmul_precision()) == before[1:]
    assert capfd.readouterr() == ("", "")


def test_what_it_is_for(model, tmp_path):
    titles = [f"title {i}" for i in range(30)]
    parts: dict[str, Any] = {**split_titles(titles)}
    prices = Task("price", "regression", titles, np.arange(30.0), **parts)
    assert not model.suits(prices)
    assert model.suits(task_of(["new", "used"]))
    with pytest.raises(InputError, match="has no configuration"):
        SetFit(name="SetFit", source=str(tmp_path)).check()
