"""Statistics of cells, compared with naive loops and simulations with a known answer."""

import numpy as np
import polars as pl
import pytest

from vitrina.evaluation.statistics import MEAN, differences, labels_saved, mean_auc, summarise


def frame(rows):
    """Cells from (task, split, part, model, size, sample, metric, value, bootstrap)."""
    names = ["task", "split", "part", "model", "size", "sample", "metric", "value", "bootstrap"]
    cells = pl.DataFrame(rows, names, orient="row")
    own = {m: pl.when(metric=m).then("value").cast(pl.Float64) for m in ("auc", "r2")}
    lower = pl.when(metric="r2").then(pl.col("value") + 7)
    return cells.with_columns(**own, accuracy=pl.lit(None, pl.Float64), mae=lower)


@pytest.fixture
def cells():
    """Two AUC tasks, one with two kinds of split, and a regression task.

    One model lacks a size and a subsample.
    """
    rng = np.random.default_rng(0)
    tasks = [("new", "title", "auc"), ("new", "query", "auc"), ("free", "title", "auc")]
    tasks.append(("price", "title", "r2"))
    return frame(
        [
            (task, split, part, model, size, sample, metric, rng.random(), rng.random(200).tolist())
            for task, split, metric in tasks
            for part in ("test", "validation")
            for model in ("ours", "words", "slow")
            for size in (100, 1000)
            for sample in range(4)
            if not (model == "slow" and (size == 1000 or sample == 2))
        ]
    )


def curve(values, task="t", metric="auc", sizes=(100, 1000, 10_000)):
    """Cells of one subsample, with every replicate at the value: model -> a value per size."""
    return frame(
        [
            (task, "title", "test", model, size, 0, metric, value, [value] * 200)
            for model, row in values.items()
            for size, value in zip(sizes, row, strict=True)
            if value is not None
        ]
    )


def test_summary_agrees_with_a_loop(cells):
    summary = summarise(cells)
    assert len(summary) == (3 + 2) * 2 * (2 + 2 + 1)  # the regression has two metrics
    for row in summary.iter_rows(named=True):
        values = [
            cell[row["metric"]]
            for cell in cells.iter_rows(named=True)
            if all(cell[k] == row[k] for k in ("task", "split", "part", "model", "size"))
        ]
        assert row["mean"] == pytest.approx(sum(values) / len(values))
        spread = sum((v - row["mean"]) ** 2 for v in values) / (len(values) - 1)
        assert row["std"] == pytest.approx(spread**0.5)
        assert row["samples"] == len(values) == (3 if row["model"] == "slow" else 4)


def test_summary_keeps_order_and_has_the_primary_metric_first(cells):
    summary = summarise(cells.reverse())
    assert summary["task"].unique(maintain_order=True).to_list() == ["price", "free", "new"]
    assert summary["model"].unique(maintain_order=True).to_list() == ["slow", "words", "ours"]
    price = summary.filter(pl.col("task") == "price", pl.col("part") == "test")
    assert price["metric"].to_list() == ["r2"] * 5 + ["mae"] * 5
    one = summarise(cells.filter(pl.col("sample") == 0))
    assert one["std"].null_count() == len(one)


def test_mean_auc_counts_the_tasks_of_each_mean(cells):
    cells = cells.filter(~((pl.col("model") == "words") & (pl.col("task") == "free")))
    means = mean_auc(summarise(cells))
    assert set(means["model"]) == {"ours", "words", "slow"}
    for row in means.iter_rows(named=True):
        of_task = []
        for task, split in (("new", "title"), ("new", "query"), ("free", "title")):
            its = cells.filter(
                task=task, split=split, part="test", model=row["model"], size=row["size"]
            )
            of_task += [its["auc"].mean()] * bool(len(its))
        assert row["mean"] == pytest.approx(np.mean(of_task))
        assert row["tasks"] == len(of_task) == (2 if row["model"] == "words" else 3)
        assert row["of"] == 3


def test_differences_pair_the_same_subsamples(cells):
    found = differences(cells, "ours")
    assert set(found["model"]) == {"words", "slow"}
    of_tasks = found.filter(pl.col("task") != MEAN)
    assert len(of_tasks) == 4 * 2 * (2 + 1)
    for row in of_tasks.iter_rows(named=True):
        its = cells.filter(**{k: row[k] for k in ("task", "split", "part", "size")})
        ours, other = (
            dict(its.filter(model=model).select("sample", "value").iter_rows())
            for model in ("ours", row["model"])
        )
        shared = sorted(set(ours) & set(other))
        assert row["samples"] == len(shared) == (3 if row["model"] == "slow" else 4)
        expected = np.mean([ours[sample] - other[sample] for sample in shared])
        assert row["difference"] == pytest.approx(expected)


def test_mean_difference_is_over_auc_tasks_that_have_both(cells):
    cells = cells.filter(~((pl.col("model") == "words") & (pl.col("task") == "free")))
    found = differences(cells, "ours")
    means = found.filter(pl.col("task") == MEAN)
    assert len(means) == 2 * (2 + 1)
    for row in means.iter_rows(named=True):
        its = found.filter(
            pl.col("task").is_in(["new", "free"]),
            **{k: row[k] for k in ("part", "size", "model")},
        )
        assert row["tasks"] == len(its) == (2 if row["model"] == "words" else 3)
        assert row["difference"] == pytest.approx(its["difference"].mean())


def test_interval_of_one_subsample_is_that_of_the_test_rows():
    rng = np.random.default_rng(1)
    shared, own = rng.standard_normal(200), 0.1 * rng.standard_normal(200)
    rows = [("t", "title", "test", "ours", 100, 0, "auc", 0.7, (0.7 + shared + own).tolist())]
    rows.append(("t", "title", "test", "words", 100, 0, "auc", 0.6, (0.6 + shared).tolist()))
    row = differences(frame(rows), "ours").row(0, named=True)
    # replicates are paired: noise that both models share cancels
    assert [row["low"], row["high"]] == pytest.approx(np.quantile(0.1 + own, [0.025, 0.975]))
    assert row["difference"] == pytest.approx(0.1)


def test_interval_depends_on_its_own_cells_only(cells):
    every = differences(cells, "ours")
    alone = differences(
        cells.filter(pl.col("model") != "slow", pl.col("task") == "free").reverse(), "ours"
    )
    key = {"task": "free", "part": "test", "size": 1000, "model": "words"}
    assert every.filter(**key).equals(alone.filter(**key))
    other_seed = differences(cells, "ours", seed=1)
    assert not every["low"].equals(other_seed["low"])
    assert every["difference"].equals(other_seed["difference"])


def test_replicates_without_a_value_are_left_out():
    boot = [float("nan")] * 100 + [0.2] * 100
    rows = [
        ("t", "title", "test", model, 100, 0, "auc", value, [value + b for b in boot])
        for model, value in (("ours", 0.7), ("words", 0.6))
    ]
    row = differences(frame(rows), "ours").row(0, named=True)
    assert [row["low"], row["high"]] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(("rows_spread", "draws_spread"), [(0.8, 0.02), (0.0, 0.04)])
def test_intervals_cover_the_truth(rows_spread, draws_spread):
    # A model's value is the mean of its scores of 300 test rows. Rows and subsamples have one part
    # that both models share, and one part that is noise of the difference.
    rng = np.random.default_rng(2)
    n, samples, tasks, truth = 300, 5, 300, 0.1
    weights = rng.multinomial(n, np.full(n, 1 / n), size=200) / n
    rows = []
    for task in range(tasks):
        common = 3 * rng.standard_normal(n) + rng.standard_normal((samples, 1))
        apart = rows_spread * rng.standard_normal(n) + draws_spread * rng.standard_normal(
            (samples, 1)
        )
        for model, figures in (("ours", common + apart + truth), ("words", common + 0 * apart)):
            values, boot = figures.mean(axis=1), figures @ weights.T
            rows += [
                (f"{task}", "title", "test", model, 100, s, "r2", values[s], boot[s].tolist())
                for s in range(samples)
            ]
    found = differences(frame(rows), "ours")
    low, high = found["low"].to_numpy(), found["high"].to_numpy()
    covered = (low <= truth) & (truth <= high)
    assert 0.86 < covered.mean() < 0.99
    above = (low > 0).mean()
    assert above > 0.3 if rows_spread else above > 0.9  # of 2.1 and 5.6 standard errors
    assert (high < 0).mean() < 0.01


def test_equal_models_seldom_differ_clearly():
    rng = np.random.default_rng(3)
    rows = []
    for task in range(300):
        weights = rng.multinomial(200, np.full(200, 1 / 200), size=200) / 200
        for model in ("ours", "words"):
            figures = rng.standard_normal((5, 200)) + rng.standard_normal(200)
            values, boot = figures.mean(axis=1), figures @ weights.T
            rows += [
                (f"{task}", "title", "test", model, 100, s, "auc", values[s], boot[s].tolist())
                for s in range(5)
            ]
    found = differences(frame(rows), "ours")
    tasks = found.filter(pl.col("task") != MEAN)
    assert ((tasks["low"] > 0) | (tasks["high"] < 0)).to_numpy().mean() < 0.1
    mean = found.filter(pl.col("task") == MEAN).row(0, named=True)
    assert mean["tasks"] == 300
    assert mean["low"] < 0 < mean["high"]
    width = (tasks["high"] - tasks["low"]).mean() / (mean["high"] - mean["low"])
    assert width == pytest.approx(300**0.5, rel=0.2)  # independent tasks


def test_labels_saved_are_read_from_the_other_curve():
    summary = summarise(
        curve(
            {
                "ours": (0.7, 0.8, 0.9),
                "words": (0.6, 0.7, 0.9),
                "worse": (0.5, 0.6, 0.65),
                "better": (0.95, 0.96, 0.97),
                "bumpy": (0.6, 0.9, 0.7),
                "same": (0.7, 0.8, 0.9),
                "short": (0.65, 0.75, None),
            }
        )
    )

    def saved(other, size=100):
        row = labels_saved(summary, "ours", other, size).row(0, named=True)
        assert row["factor"] == pytest.approx(row["labels"] / size)
        return row["bound"], pytest.approx(row["labels"])

    assert saved("words") == ("", 1000)
    assert saved("words", 1000) == ("", 10**3.5)  # half way on a logarithmic axis
    assert saved("worse") == (">", 10_000)
    assert saved("better") == ("<", 100)
    assert saved("bumpy", 1000) == ("", 10 ** (2 + 2 / 3))  # where the curve first reaches the mean
    assert saved("same") == ("", 100)
    assert saved("short", 10_000) == (">", 1000)
    assert labels_saved(summary, "ours", "words", 500).is_empty()
    assert labels_saved(summary, "ours", "nobody", 100).is_empty()
