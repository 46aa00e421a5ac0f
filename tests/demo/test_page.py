"""The demo's page: complete, self-contained and with the given values."""

import re

import numpy as np
import polars as pl
import pytest

from vitrina.demo.page import demo_page, product_map, training_curves

MODELS = ("encoder with words", "encoder", "random", "bag of words")
CURVE = pl.DataFrame(
    [
        (task, "title", "test", model, size, "auc", 0.5 + size / 4000, 0.02, 5)
        for task in ("new", "free")
        for model in MODELS
        for size in (100, 1000)
    ],
    schema=["task", "split", "part", "model", "size", "metric", "mean", "std", "samples"],
    orient="row",
)
LOG = [
    {"pairs": 1000 * i, "alignment": 4 - i / 10, "cross_entropy": None, "representation_std": 0.5}
    for i in range(1, 10)
]
SUMMARY = {
    "data": {
        "products": 30,
        "titles": 29,
        "held_out_products": 6,
        "sessions": {"events": 118_673, "sessions": 9, "products": 3, "pairs": 2, "too_long": 7},
    },
    "training": {"steps": 550, "steps_done": 550, "minutes": 1.5},
    "versions": {"vitrina": "0.1"},
    "seconds": {"training": 2.5},
    "seed": 0,
    "test_fraction": 0.2,
}


def render(summary=SUMMARY):
    points = np.random.default_rng(0).standard_normal((30, 2))
    titles = ["<script>alert(1)</script> & co"] + [f"title {i}" for i in range(29)]
    groups = [None, *(f"group {i % 9}" for i in range(29))]
    plane = product_map(points, titles, groups)
    return demo_page(summary, CURVE, LOG, [("a", "b", "0.50")], plane, ["vitrina --help"])


@pytest.fixture
def html():
    return render()


def test_page_is_complete_and_self_contained(html, parse):
    parsed = parse(html)
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert all(reference.startswith("#") for reference in parsed.references)
    assert {reference[1:] for reference in parsed.references} <= set(parsed.ids)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert not re.search(r"https?://|@import|url\((?!#)", html)


def test_page_shows_the_given_values(html, parse):
    texts = parse(html).texts
    assert "<script>alert(1)</script> & co" in texts
    assert "title 3 (group 3)" in texts
    assert "all others" in texts
    assert "118,673" in texts
    assert "too long" in texts
    assert texts.count("0.750\u00a0±\u00a00.020") == 8
    assert "category loss" not in html  # not in the log, so not on the page


def test_page_explains_every_model(html, parse):
    texts = parse(html).texts
    for model in MODELS:
        # the legend, the list of models, and a row of the table for each task
        assert texts.count(model) == 4


def test_default_classifier_has_the_thickest_line(html):
    legend = html[html.index("<div class=legend>") :]
    widths = [float(width) for width in re.findall(r'stroke-width="([\d.]+)"', legend)[:4]]
    assert widths[0] > max(widths[1:])
    assert legend.index("encoder with words") < legend.index("bag of words")


def test_page_says_how_long_training_was(html, parse):
    assert any("a fixed number of steps (550)" in text for text in parse(html).texts)
    stopped = SUMMARY | {"training": {"steps": 550, "steps_done": 400, "minutes": 1.5}}
    html = render(stopped)
    assert any("after 400 of 550 steps" in text for text in parse(html).texts)
    assert "fixed number" not in html


def test_colours_follow_the_page(html):
    body = html[html.index("<body>") :]
    assert "var(--c0)" in body
    assert not re.search(r"(?i)#(d55e00|0072b2|009e73|1c1c1e)", body)


def test_map_has_every_group_or_says_so():
    points = np.eye(2)
    assert "all others" not in product_map(points, ["a", "b"], ["x", "y"])
    assert "all others" in product_map(points, ["a", "b"], ["x", None])
    assert product_map(points, ["a", "b"], ["x", "y"]).count("<title>") == 2


def test_training_curves_leave_out_losses_that_were_not_logged():
    assert training_curves(LOG).count("<figure>") == 2
    both = [{**record, "cross_entropy": 1.0} for record in LOG]
    assert training_curves(both).count("<figure>") == 3
