"""The routes of the labelling page, asked without a browser."""

from __future__ import annotations

import io
import threading
import time
from http.client import HTTPException

import polars as pl
import pytest

NASTY = '<img src=x onerror="alert(1)"> MILK'


@pytest.fixture(scope="module")
def started(new_page, grocery_titles):
    return new_page([NASTY, *grocery_titles[1:3001:10]])


@pytest.fixture
def page(started):
    """A page without labels. The label file is its only state, so one process is enough."""
    started.file.unlink(missing_ok=True)
    return started


def answer(title: str) -> str:
    return "yes" if title.endswith("OZ") else "no"


def label(page, n: int, tab: str = "a") -> None:
    card = page.ask("next", {"tab": tab}).json
    for _ in range(n):
        body = {"tab": tab, "title": card["title"], "strategy": card["strategy"], "next": True}
        card = page.ask("answer", body | {"label": answer(card["title"])}).json


def test_a_label_is_in_the_file_when_the_answer_comes(page) -> None:
    card = page.ask("next", {"tab": "a"}).json
    body = {"tab": "a", "title": card["title"], "strategy": card["strategy"], "label": "yes"}
    after = page.ask("answer", body | {"next": True})
    assert after.status == 200
    assert page.labels().select("title", "label", "strategy").rows() == [
        (card["title"], "yes", card["strategy"])
    ]
    assert after.json["title"] != card["title"]
    assert after.json["before"] is None
    # the same tab keeps its title, another one gets a different one
    assert page.ask("next", {"tab": "a"}).json["title"] == after.json["title"]
    assert page.ask("next", {"tab": "b"}).json["title"] != after.json["title"]


def test_undo_brings_the_title_or_the_earlier_label_back(page) -> None:
    label(page, 3)
    before = page.labels()
    last = before["title"][-1]
    undone = page.ask("undo", {"tab": "a", "title": None, "before": None}).json
    assert (undone["undone"], undone["title"]) == (last, last)
    assert undone["strategy"] == before["strategy"][-1]
    assert page.labels().equals(before[:-1])
    # a corrected label gets its old value back
    first = before["title"][0]
    body = {"tab": "a", "title": first, "strategy": "review", "label": None}
    changed = page.ask("answer", body).json
    assert changed["before"] == before.select("label", "strategy").to_dicts()[0]
    assert page.labels().filter(title=first)["label"].to_list() == [None]
    page.ask("undo", {"tab": "a", "title": first, "before": changed["before"]})
    restored = page.labels().filter(title=first).select("label", "strategy")
    assert restored.equals(before[:1].select("label", "strategy"))
    for _ in range(2):
        page.ask("undo", {"tab": "a", "title": None, "before": None})
    assert page.ask("undo", {"tab": "a", "title": None, "before": None}).json["undone"] is None


def test_the_figures_follow_the_labels(page) -> None:
    nothing = page.ask("status").json
    assert "No score yet" in nothing["html"]
    assert nothing["labels"] == 0
    label(page, 40)
    figures = page.ask("status").json
    assert figures["labels"] == 40
    audit = page.labels().filter(strategy="audit")
    assert f"From {len(audit)} random titles" in figures["html"]
    assert 'class="line auc"' in figures["html"]
    assert "NaN" not in figures["html"]
    assert page.ask("status?class=no").json["html"] != figures["html"]
    assert page.ask("status?class=other").status == 200
    assert "chips" in figures["deciding"]
    title = page.labels()["title"][0]
    words = page.ask(f"words?title={title.replace(' ', '%20')}").json["html"]
    assert "This title" in words


def test_search_and_review_list_titles_with_their_strategies(page) -> None:
    label(page, 30)
    found = page.ask("search?q=ch").json
    assert {strategy for _, strategy in found["rows"]} == {"search"}
    labelled = set(page.labels()["title"])
    assert not labelled & {title for title, _ in found["rows"]}
    assert page.ask("search?q=juice&by=likeness").json["rows"]
    assert page.ask("search?q=").json["rows"] == []
    assert page.ask("search?q=juice&by=smell").status == 422


def test_a_wrong_label_comes_back_until_it_is_confirmed(page, grocery_titles) -> None:
    titles = grocery_titles[1:3001:10]
    table = pl.DataFrame({"title": titles, "label": [answer(title) for title in titles]})
    table.with_columns(strategy=pl.lit("random")).write_parquet(page.file)
    searched = page.ask("review").json["rows"]
    wrong = next(t for t in titles if t.endswith(" OZ") and [t, "review"] not in searched)
    body = {"tab": "a", "title": wrong, "label": "no"}
    page.ask("answer", body | {"strategy": "search"})
    review = page.ask("review").json
    assert [wrong, "review"] in review["rows"]
    assert 'labelled <b dir="auto">no</b>' in review["html"]
    page.ask("answer", body | {"strategy": "review"})
    assert [wrong, "review"] not in page.ask("review").json["rows"]


def test_exports(page) -> None:
    refused = page.ask("export/classifier", {})
    assert refused.status == 422
    assert "two classes" in refused.json["message"]
    label(page, 25)
    table = pl.read_csv(io.BytesIO(page.ask("export/labels", {}).body), infer_schema=False)
    assert table.equals(page.labels())
    assert page.ask("export/classifier", {}).json["path"] == str(page.folder / "labels-classifier")
    scores = page.ask("export/scores", {}).json
    assert len(pl.read_parquet(scores["path"])) == 301
    assert page.ask("export/scores", {}).status == 200  # again
    assert page.ask("export/secrets", {}).status == 404


def test_titles_are_escaped_and_nothing_comes_from_outside(page, parse) -> None:
    found = page.ask("search?q=milk&by=likeness").json["html"]
    whole = page.ask("").body.decode()
    parse(found)
    assert "<img" not in found
    references = [ref for ref in parse(whole).references if ref]
    assert references
    for reference in references:
        assert reference.startswith("static/")
        assert page.ask(reference).status == 200
    policy = page.ask("").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in whole.replace("http://www.w3.org", "")
    assert "style=" not in whole + page.ask("status").json["html"]


def test_pages_of_other_sites_are_refused(page) -> None:
    card = page.ask("next", {"tab": "a"}).json
    body = {"tab": "a", "title": card["title"], "strategy": "audit", "label": "yes"}
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"http://localhost:{page.port + 1}"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ):
        refused = page.ask("answer", body, **headers)
        assert refused.status == 422
        assert "another site" in refused.json["message"]
    assert page.ask("", host="evil.example").status == 400
    assert not page.file.exists()
    own = page.ask("answer", body, origin=f"http://127.0.0.1:{page.port}")
    assert own.status == 200


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        ("answer", b"{", "valid JSON"),
        ("answer", b"[]", "object"),
        ("answer", {"tab": "a"}, "title"),
        ("answer", {"tab": 1, "title": "x", "strategy": "audit"}, "tab"),
        ("answer", {"tab": "a", "title": "no such title", "strategy": "audit"}, "no title"),
        ("answer", {"tab": "a", "title": NASTY, "strategy": "<b>"}, "strategy"),
        ("answer", {"tab": "a", "title": NASTY, "strategy": "audit", "label": "?"}, "class"),
        ("answer", {"tab": "a", "title": "\ud800", "strategy": "audit"}, "no title"),
        ("undo", {"tab": "a", "title": NASTY, "before": "yes"}, "before"),
        ("answer", {"tab": "a", "project": "other", "title": NASTY}, "another label file"),
        ("export/scores", {"project": "other"}, "another label file"),
        ("next", b"x" * (4 * 2**20 + 1), "more than"),
    ],
)
def test_wrong_bodies_change_nothing(page, path, body, part) -> None:
    refused = page.ask(path, body)
    assert refused.status == 422
    assert part in refused.json["message"]
    assert not page.file.exists()


def test_the_page_stops_and_goes_on(page) -> None:
    label(page, 5)
    before = page.labels()
    shown = page.ask("next", {"tab": "a"}).json["title"]
    assert page.stop() == 0
    assert "5 titles" in (page.folder / "errors.log").read_text()
    page.start()
    assert page.ask("next", {"tab": "a"}).json["title"] == shown
    assert page.labels().equals(before)


def test_a_killed_server_has_written_what_it_confirmed(page) -> None:
    """SIGKILL while several tabs label as fast as they can."""
    confirmed: list[str] = []

    def work(tab: str) -> None:
        try:
            card = page.ask("next", {"tab": tab}).json
            while True:
                body = {"tab": tab, "title": card["title"], "strategy": card["strategy"]}
                after = page.ask("answer", body | {"label": answer(card["title"]), "next": True})
                confirmed.append(card["title"])
                card = after.json
        except (OSError, HTTPException):
            return  # the server is dead

    tabs = [threading.Thread(target=work, args=(f"tab {number}",)) for number in range(3)]
    for tab in tabs:
        tab.start()
    while len(confirmed) < 30:
        time.sleep(0.01)
    page.kill()
    for tab in tabs:
        tab.join()
    table = page.labels()
    assert len(confirmed) == len(set(confirmed))  # no title was given to two tabs
    assert set(confirmed) <= set(table["title"])
    assert len(table) <= len(confirmed) + len(tabs)  # those that it could not confirm any more
    assert table["label"].to_list() == [answer(title) for title in table["title"]]
    page.start()
    assert page.ask("next", {"tab": "a"}).json["title"] not in set(table["title"])


def test_classes_of_the_file_are_kept(new_page, grocery_titles) -> None:
    titles = grocery_titles[1:601:10]
    html = new_page(titles, labels={"title": titles[:2], "label": ["new", "used"]}).ask("").body
    assert b'data-label="new"' in html
    assert b'data-label="yes"' not in html
