"""The report's page: well-formed, self-contained, and nothing from the data is taken for HTML."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from vitrina import report
from vitrina.errors import MissingExtraError

SUMMARY = pl.DataFrame(
    [
        (task, model, labels, 0.5 + labels / 4000, 0.02)
        for task in ("new", "free")
        for model in ("encoder", "words")
        for labels in (100, 1000)
    ],
    schema=["task", "model", "labels", "auc", "std"],
    orient="row",
)
LOG = [
    {"pairs": 1000 * i, "byol": 4 - i / 10, "cross_entropy": None, "spread": 0.5}
    for i in range(1, 10)
]


class Balanced(HTMLParser):
    """Fails on a tag that isn't closed in its order; collects tags and references."""

    void = ("meta", "br", "link", "img")

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.references, self.ids = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            self.ids += [value] if name == "id" else []
            if name in ("href", "src", "xlink:href", "action", "data"):
                self.references.append(value)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def html():
    points = np.random.default_rng(0).standard_normal((30, 2))
    titles = ["<script>alert(1)</script> & co"] + [f"title {i}" for i in range(29)]
    groups = [None, *(f"group {i % 9}" for i in range(29))]
    return report.page(
        "A <title>",
        "These are purchases.",
        {
            "Curves": report.learning_curves(SUMMARY),
            "Training": report.training_curves(LOG),
            "Map": report.product_map(points, titles, groups),
            "Table": report.table(["title", "cosine"], [("a < b", 0.5), ("c", 0.25)]),
            "Counts": report.tiles({"sessions": 118_673, "share": 0.25}),
            "Next": report.commands(["vitrina similar demo/encoder 'milk & bread'"]),
        },
    )


def test_page_is_whole_and_needs_nothing_else(html):
    parsed = Balanced(html)
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert all(reference.startswith("#") for reference in parsed.references)
    assert {reference[1:] for reference in parsed.references} <= set(parsed.ids)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert not re.search(r"https?://|@import|url\((?!#)", html)


def test_page_shows_what_it_was_given(html):
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in html
    assert html.count("<circle") >= 30
    assert "title 3 (group 3)" in html
    assert "all others" in html
    assert "118,673" in html
    assert "vitrina similar demo/encoder &#x27;milk &amp; bread&#x27;" in html
    assert "1,000" in html
    assert "category loss" not in html  # not in the log, so not on the page


def test_same_result_same_page():
    assert report.learning_curves(SUMMARY) == report.learning_curves(SUMMARY)


def test_colours_follow_the_page(html):
    body = html[html.index("<body>") :]
    assert "var(--c0)" in body
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]", body)


def test_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"vitrina\[demo\]"):
        report.learning_curves(SUMMARY)
