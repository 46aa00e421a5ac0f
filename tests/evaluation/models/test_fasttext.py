"""fastText: the library's own predictions, the same ones each time, tuned once a size."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vitrina.evaluation.models.fasttext import FastText, FastTextAutotune, _zeroed_memory
from vitrina.evaluation.task import Task
from vitrina.text.normalize import Normalizer

fasttext = pytest.importorskip("fasttext")


@pytest.fixture(scope="module")
def task(grocery_titles):
    titles = [*grocery_titles[:3000], "", "¡!", "two\nlines OZ"]
    labels = np.array(["OZ" in title for title in titles])
    order = np.random.default_rng(0).permutation(len(titles))
    train, validation, test = np.split(order, [2000, 2500])
    return Task("ounces", "binary", titles, labels, train, validation, test)


@pytest.fixture(scope="module")
def sorts(task):
    """Three classes by the length of the title."""
    labels = np.digitize([len(title) for title in task.titles], [15, 25])
    return replace(task, kind="multiclass", labels=labels, classes=("short", "middle", "long"))


def test_scores_are_the_odds_that_fasttext_gives_each_title(task, tmp_path):
    normal = Normalizer()(task.titles)
    lines = [f"__label__{int(task.labels[row])} {normal[row]}\n" for row in task.train]
    path = tmp_path / "train.txt"
    path.write_text("".join(lines))
    with _zeroed_memory():
        model = fasttext.train_supervised(str(path), thread=1, seed=1, verbose=0)
    expected = []
    for row in task.test:
        odds = dict(zip(*model.predict(normal[row], k=-1), strict=True))
        expected.append(np.log(odds["__label__1"] / odds["__label__0"]))
    fitted = FastText(name="fastText").fit(task, task.train, seed=0)
    scores = fitted.predict_scores(task.test)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert roc_auc_score(task.labels[task.test], scores) > 0.95
    assert fitted.bytes == 4 * 100 * (len(model.words) + 2)


def test_the_same_figures_whatever_the_memory_held(task):
    rows = task.train[:100]
    scores = []
    for _ in range(4):
        rubbish = [np.full(size, np.nan, np.float32) for size in range(100, 40_000, 100)]
        del rubbish
        scores.append(FastText(name="fastText").fit(task, rows, seed=3).predict_scores(task.test))
    assert all(np.array_equal(scores[0], other) for other in scores)
    other = FastText(name="fastText").fit(task, rows, seed=4).predict_scores(task.test)
    assert not np.array_equal(scores[0], other)


def test_absent_classes_are_lowest_and_the_others_probabilities(sorts):
    rows = sorts.train[sorts.labels[sorts.train] != 1]
    scores = FastText(name="fastText").fit(sorts, rows, seed=0).predict_scores(sorts.test)
    assert scores.shape == (len(sorts.test), 3)
    assert (scores[:, [1]] < scores[:, [0, 2]]).all()
    np.testing.assert_allclose(np.exp(scores[:, [0, 2]]).sum(1), 1, atol=1e-4)
    right = scores[:, 2] > scores[:, 0]
    known = sorts.labels[sorts.test] != 1
    assert np.mean(right[known] == (sorts.labels[sorts.test][known] == 2)) > 0.8


def test_numbers_cannot_be_learnt(task):
    assert not FastText(name="fastText").suits(replace(task, kind="regression"))


def test_tunes_once_for_each_size(task, tmp_path):
    model = FastTextAutotune(name="tuned", folder=tmp_path, autotune_seconds=2)
    first = model.fit(task, task.train[:300], seed=0)
    (stored,) = tmp_path.glob("*.json")
    written = stored.stat().st_mtime_ns
    found = json.loads(stored.read_text())
    assert found == first.settings
    assert 1 <= found["epoch"] <= 100
    assert found["dim"] == 100
    second = model.fit(task, task.train[300:600], seed=1)
    assert second.settings == found
    assert [path.stat().st_mtime_ns for path in tmp_path.glob("*.json")] == [written]
    assert roc_auc_score(task.labels[task.test], second.predict_scores(task.test)) > 0.9
    model.fit(task, task.train[:200], seed=0)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_stored_arguments_are_those_it_trains_with(task, tmp_path):
    model = FastTextAutotune(name="tuned", folder=tmp_path, autotune_seconds=2)
    found = {"lr": 0.5, "epoch": 7, "wordNgrams": 2, "minn": 0, "maxn": 0, "dim": 5, "bucket": 10}
    (tmp_path / f"{task.digest}-50-2.json").write_text(json.dumps(found))
    rows = task.train[:50]
    words = {word for title in Normalizer()(task.titles_of(rows)) for word in title.split()}
    fitted = model.fit(task, rows, seed=0)
    assert fitted.bytes == 4 * 5 * (len(words | {"</s>"}) + 10 + 2)


def test_a_rate_at_which_it_diverges_is_halved_until_it_learns(task, tmp_path):
    model = FastTextAutotune(name="tuned", folder=tmp_path, autotune_seconds=2)
    (tmp_path / f"{task.digest}-2000-2.json").write_text(json.dumps({"lr": 1e4, "epoch": 5}))
    fitted = model.fit(task, task.train, seed=0)
    assert np.log2(1e4 / fitted.settings["lr"]) in range(1, 20)
    assert roc_auc_score(task.labels[task.test], fitted.predict_scores(task.test)) > 0.9
