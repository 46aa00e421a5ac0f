"""Pages are well-formed and self-contained, and escape the data."""

import re

import pytest

from vitrina.pages.curves import styles_of
from vitrina.pages.html import Table, bullets, commands, fold, legend, page, text, tiles


@pytest.fixture
def html():
    return page(
        "A <title>",
        "These are purchases.",
        {
            "Legend": legend(styles_of(["encoder", "<b>", "random"], "encoder", "random")),
            "Table": Table(["title", "cosine"], [("a < b", 0.5), ("c", 0.25)]).html(),
            "Counts": tiles({"sessions": 118_673, "share": 0.25}),
            "List": bullets(["x & y"], ["<i>"]) + fold("more <", text("z")),
            "Next": commands(["vitrina similar demo/encoder 'milk & bread'"]),
        },
    )


def test_page_is_complete_and_self_contained(html, parse):
    parsed = parse(html)
    assert not {"script", "link", "img", "iframe", "i"} & set(parsed.tags)
    assert parsed.references == []
    assert not re.search(r"https?://|@import|url\(", html)


def test_page_shows_the_given_values(html, parse):
    texts = parse(html).texts
    for shown in ("A <title>", "<b>", "a < b", "0.250", "118,673", "<i>", "more <"):
        assert shown in texts
    assert "vitrina similar demo/encoder 'milk & bread'" in texts


def test_table_marks_cells_and_aligns_numbers_right():
    table = Table(
        ["model", "AUC", "labels", "gain"],
        [["ours", "0.81 ± 0.02", 1000, "+0.1 (−0.2 to 0.4)"], ["x", None, float("nan"), "<0.2"]],
        {(0, 1)},
        own=0,
    )
    html = table.html()
    assert html.count("<th class=n>") == 3  # all but the names
    assert "<b>0.81\u00a0±\u00a00.02</b>" in html
    assert html.count("<b>") == 1
    assert html.count("<tr class=own>") == 1
    assert html.count("–") == 2  # missing values
    assert "&lt;0.2" in html


def test_table_as_markdown():
    table = Table(["model", "AUC"], [["a|b*", 0.5], ["c", None]], {(0, 1)})
    assert table.markdown().splitlines() == [
        "| model | AUC |",
        "| --- | --- |",
        r"| a\|b\* | **0.500** |",
        "| c | – |",
    ]
