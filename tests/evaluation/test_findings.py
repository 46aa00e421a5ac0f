"""The sentences of a report, for results whose reading is plain."""

import numpy as np
import polars as pl

from vitrina.evaluation.findings import describe, describe_best
from vitrina.evaluation.statistics import MEAN, differences, summarise

ONE_SUBSAMPLE = "Each size has one subsample only, so the effect of its draw is unknown."


def frame(rows, metric="auc"):
    """Cells from (model, size, sample, value, bootstrap), all of one task."""
    cells = pl.DataFrame(rows, ["model", "size", "sample", "value", "bootstrap"], orient="row")
    absent = {name: None for name in ("auc", "r2", "accuracy", "mae") if name != metric}
    return cells.with_columns(
        pl.col("value").alias(metric),
        task=pl.lit("t"),
        split=pl.lit("title"),
        part=pl.lit("test"),
        metric=pl.lit(metric),
        **{name: pl.lit(value, pl.Float64) for name, value in absent.items()},
    )


def curve(values, metric="auc", sizes=(100, 1000, 10_000)):
    """Cells of one subsample, with every replicate at the value: model -> a value per size."""
    rows = [
        (model, size, 0, value, [value] * 200)
        for model, row in values.items()
        for size, value in zip(sizes, row, strict=True)
        if value is not None
    ]
    return frame(rows, metric)


def described(cells, encoder="ours"):
    primary = summarise(cells).filter(pl.col("metric") == cells["metric"][0])
    gaps = differences(cells, encoder or "").filter(pl.col("task") != MEAN)
    return describe(primary, gaps, encoder)


def test_encoder_that_loses():
    cells = curve(
        {"tf-idf": (0.75, 0.9, 0.937), "ours": (0.63, 0.8, 0.91), "random": (0.55, 0.6, 0.7)}
    )
    assert described(cells) == (
        "tf-idf leads at all sizes (AUC 0.750 to 0.937). "
        "At 100 labels, the best other model is tf-idf: "
        "ours is 0.120 behind (95 % interval 0.120 to 0.120). "
        "At 10,000 labels, the best other model is tf-idf: "
        "ours is 0.027 behind (95 % interval 0.027 to 0.027). "
        "ours clearly beats random at every size that both were run with. "
        "ours clearly loses to tf-idf at every size that both were run with. " + ONE_SUBSAMPLE
    )


def test_mixed_result():
    cells = curve(
        {"ours": (0.8, 0.82, 0.83), "words": (0.6, 0.81, 0.9), "slow": (0.81, None, None)}
    )
    assert described(cells) == (
        "slow leads at 100 labels (AUC 0.810), ours at 1,000 labels (AUC 0.820) and words at "
        "10,000 labels (AUC 0.900). "
        "At 100 labels, the best other model is slow: "
        "ours is 0.010 behind (95 % interval 0.010 to 0.010). "
        "At 10,000 labels, the best other model is words: "
        "ours is 0.070 behind (95 % interval 0.070 to 0.070). "
        "Against 1 other model, the outcome depends on the size or is not significant. "
        + ONE_SUBSAMPLE
    )


def test_many_models_are_counted():
    others = {f"model {i}": (0.9 - i / 100, 0.9, 0.95 - i / 100) for i in range(7)}
    cells = curve({"ours": (0.8, 0.7, 0.6), **others, "even": (0.7, 0.7, 0.7)})
    assert (
        " ours clearly loses to 7 other models at every size that both were run with. Against 1 "
        "other model, the outcome depends on the size or is not significant. Each"
        in described(cells)
    )


def test_winner_at_a_single_size():
    cells = curve({"ours": (0.8,), "words": (0.6,)}, metric="r2", sizes=(100,))
    assert described(cells) == (
        "ours leads at 100 labels (R² 0.800). At 100 labels, the best other model is words: ours "
        "is 0.200 ahead (95 % interval 0.200 to 0.200). " + ONE_SUBSAMPLE
    )


def test_counting_words_is_enough():
    never = curve({"ours": (0.7, 0.8), "TF-IDF": (0.7, 0.9)}, sizes=(100, 1000))
    text = described(never)
    assert "TF-IDF: ours is level with it (95 % interval 0.000 to 0.000, not significant)." in text
    start = " Counting words is enough here: ours does not clearly beat "
    assert f"{start}TF-IDF at any size. Each" in text
    both = curve({"ours": (0.7,), "TF-IDF": (0.7,), "bag of words": (0.8,)}, sizes=(100,))
    assert f"{start}bag of words or TF-IDF at any size. Each" in described(both)
    grams = curve({"ours": (0.7,), "TF-IDF of n-grams": (0.8,), "TF-IDF": (0.6,)}, sizes=(100,))
    start = " Counting words and n-grams is enough here: ours does not clearly beat "
    assert f"{start}TF-IDF of n-grams at any size." in described(grams)
    three = curve(
        {"ours": (0.7,), "TF-IDF of n-grams": (0.8,), "TF-IDF": (0.8,), "bag of words": (0.7,)},
        sizes=(100,),
    )
    assert f"{start}bag of words, TF-IDF or TF-IDF of n-grams at any size." in described(three)
    once = curve({"ours": (0.71, 0.8), "TF-IDF": (0.7, 0.9)}, sizes=(100, 1000))
    assert "enough" not in described(once)


def test_difference_that_is_not_significant():
    rng = np.random.default_rng(4)
    noise = 0.05 * rng.standard_normal((2, 200))
    rows = [
        (model, size, s, value, (value + noise[s] * sign).tolist())
        for model, value, sign in (("ours", 0.70, 1), ("words", 0.71, -1))
        for size in (100, 1000)
        for s in range(2)
    ]
    text = described(frame(rows))
    for size in ("100", "1,000"):
        start = f"At {size} labels, the best other model is words: ours is 0.010 behind "
        assert f"{start}(95 % interval −0." in text
    assert text.count(", not significant)") == 2
    assert "clearly beats" not in text
    assert "one subsample" not in text


def test_nothing_to_compare():
    assert described(curve({"ours": (0.7, 0.8, 0.9)})) == (
        "Only ours was run, at all sizes (AUC 0.700 to 0.900). "
        "There is no other model to compare ours with."
    )
    assert described(curve({"words": (0.7, 0.8, 0.9), "slow": (0.6, 0.6, 0.6)})) == (
        "words leads at all sizes (AUC 0.700 to 0.900). ours has no results here."
    )


def test_without_an_encoder_only_the_leaders_are_named():
    cells = curve({"LSA": (0.7, 0.8, 0.9), "slow": (0.6, 0.6, 0.95)})
    assert described(cells, None) == (
        "LSA leads from 100 to 1,000 labels (AUC 0.700 to 0.800) and slow at 10,000 labels "
        "(AUC 0.950)."
    )


def test_the_best_of_another_kind():
    cells = curve({"ours": (0.8, 0.7, 0.6), "words": (0.7, 0.7, 0.7), "slow": (0.71, 0.9, 0.6)})
    gaps = differences(cells, "ours").filter(pl.col("task") != MEAN)
    assert describe_best(gaps, "ours", "whole classifier") == (
        "At 100 labels, the best whole classifier is slow: "
        "ours is 0.090 ahead (95 % interval 0.090 to 0.090). "
        "At 10,000 labels, the best whole classifier is words: "
        "ours is 0.100 behind (95 % interval 0.100 to 0.100)."
    )
    assert describe_best(gaps.clear(), "ours", "whole classifier") == ""
