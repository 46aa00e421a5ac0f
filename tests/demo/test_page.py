"""The demo's page: whole, self-contained, and true to what it was given."""

import re

import numpy as np
import polars as pl
import pytest

from vitrina.demo.page import demo_page, product_map, training_curves

CURVE = pl.DataFrame(
    [
        (task, model, size, 0.5 + size / 4000, 0.02, 0.1)
        for task in ("new", "free")
        for model in ("encoder", "random", "bag_of_words")
        for size in (100, 1000)
    ],
    schema=["task", "model", "size", "value", "std", "seconds"],
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
    "versions": {"vitrina": "0.1"},
    "seconds": {"training": 2.5},
    "seed": 0,
    "test_fraction": 0.2,
}


@pytest.fixture
def html():
    points = np.random.default_rng(0).standard_normal((30, 2))
    titles = ["<script>alert(1)</script> & co"] + [f"title {i}" for i in range(29)]
    groups = [None, *(f"group {i % 9}" for i in range(29))]
    plane = product_map(points, titles, groups)
    return demo_page(SUMMARY, CURVE, LOG, [("a", "b", "0.50")], plane, ["vitrina --help"])


def test_page_is_whole_and_needs_nothing_else(html, parse):
    parsed = parse(html)
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert all(reference.startswith("#") for reference in parsed.references)
    assert {reference[1:] for reference in parsed.references} <= set(parsed.ids)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert not re.search(r"https?://|@import|url\((?!#)", html)


def test_page_shows_what_it_was_given(html, parse):
    texts = parse(html).texts
    assert "<script>alert(1)</script> & co" in texts
    assert "title 3 (group 3)" in texts
    assert "all others" in texts
    assert "118,673" in texts
    assert "too long" in texts
    assert texts.count("0.750\u00a0±\u00a00.020") == 6
    assert "category loss" not in html  # not in the log, so not on the page


def test_colours_follow_the_page(html):
    body = html[html.index("<body>") :]
    assert "var(--c0)" in body
    assert not re.search(r"(?i)#(d55e00|0072b2|009e73|1c1c1e)", body)


def test_map_has_every_group_or_says_so():
    points = np.eye(2)
    assert "all others" not in product_map(points, ["a", "b"], ["x", "y"])
    assert "all others" in product_map(points, ["a", "b"], ["x", None])
    assert product_map(points, ["a", "b"], ["x", "y"]).count("<title>") == 2


def test_training_curves_leave_out_what_wasnt_logged():
    assert training_curves(LOG).count("<figure>") == 2
    both = [{**record, "cross_entropy": 1.0} for record in LOG]
    assert training_curves(both).count("<figure>") == 3
