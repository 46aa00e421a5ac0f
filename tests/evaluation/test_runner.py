"""Cells in processes: those of a plain loop, and each computed once."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score

from vitrina.evaluation.models.bag_of_words import BagOfWords
from vitrina.evaluation.protocol import run_cell, subsamples
from vitrina.evaluation.runner import CellRunner, versions_of
from vitrina.evaluation.statistics import summarise
from vitrina.evaluation.task import Task

SIZES = (20, 100, 1_000)


@pytest.fixture
def task():
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.3
    titles = [
        " ".join(rng.choice(["x", "milk", "2", "new"] if label else ["x", "milk", "used"], 4))
        for label in labels
    ]
    # without validation rows, as in the demo
    none = np.empty(0, np.int64)
    return Task("toy", "binary", titles, labels, np.arange(300), none, np.arange(300, 400))


def test_cells_are_those_of_the_loop_and_are_computed_once(task, tmp_path):
    models = [BagOfWords(name="TF-IDF"), BagOfWords(name="counts", tfidf=False, max_subsamples=1)]
    runner = CellRunner(tmp_path, [task], SIZES, 3, 7, 2, True)
    cells = runner.run(models, "test")
    expected = []
    drawn = subsamples(task, [20, 100], 3, seed=7)
    for model in models:
        for (size, sample), rows in drawn.items():
            if model.max_subsamples is None or sample < model.max_subsamples:
                auc = run_cell(task, model, rows, seed=7 + sample)["auc"]
                expected.append((model.name, size, sample, auc))
    assert cells.select("model", "size", "sample", "auc").rows() == expected

    summary = summarise(cells).filter(metric="auc")
    first = [auc for model, size, _, auc in expected if (model, size) == ("TF-IDF", 20)]
    assert summary.row(0, named=True)["mean"] == pytest.approx(np.mean(first))
    assert summary.row(0, named=True)["std"] == pytest.approx(np.std(first, ddof=1))

    # again: everything is in the cache, down to the seconds
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.json")}
    assert len(files) == len(cells)
    assert CellRunner(tmp_path, [task], SIZES, 3, 7, 2, True).run(models, "test").equals(cells)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.json")} == files


def test_a_damaged_record_is_computed_again(task, tmp_path):
    models = [BagOfWords(name="TF-IDF")]
    runner = CellRunner(tmp_path, [task], [20], 1, 0, 1, True)
    auc = runner.run(models, "test")["auc"].item()
    (file,) = tmp_path.rglob("*.json")
    file.write_text('{"auc": 0.')
    assert runner.run(models, "test")["auc"].item() == auc


def test_precision_is_measured_where_positive_rows_are_rare(task, tmp_path):
    rare = replace(task, labels=task.labels & (np.arange(400) % 4 == 0))
    assert 0 < rare.labels.mean() < 0.1 < task.labels.mean()
    runner = CellRunner(tmp_path, [task, replace(rare, name="rare")], [100], 1, 0, 1, True)
    model = BagOfWords(name="TF-IDF")
    often, few = runner.run([model], "test").iter_rows(named=True)
    assert often["average_precision"] is None
    assert often["precision_at_k"] is None
    (rows,) = subsamples(rare, [100], 1).values()
    scores = model.fit(rare, rows, 0).predict_scores(rare.test)
    truth = rare.labels[rare.test]
    assert few["average_precision"] == pytest.approx(average_precision_score(truth, scores))
    assert 0 <= few["precision_at_k"] <= 1
    metrics = summarise(pl.DataFrame([few], infer_schema_length=None))["metric"].to_list()
    assert metrics == ["auc", "average_precision", "precision_at_k"]


def test_versions_name_what_figures_depend_on():
    class Other(BagOfWords):
        packages = ("sklearn", "polars", "no_such_package")

    versions = versions_of([Other(name="other")])
    assert set(versions) == {"vitrina", "python", "numpy", "scikit-learn", "polars"}
