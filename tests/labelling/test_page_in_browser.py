"""The labelling page in a real browser, by keyboard, as a team uses it."""

from __future__ import annotations

import polars as pl
import pytest

from vitrina.cli.entry import _exit_code

pytestmark = pytest.mark.browser

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
# the next title is there
IS_NEXT = """before => document.body.className !== 'busy'
    && document.querySelector('#card .title')?.textContent !== before"""
IS_IDLE = "() => document.body.className !== 'busy'"
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
PANEL_OVERFLOW = """Math.max(...[...document.querySelectorAll('#panel *')]
    .map(part => part.getBoundingClientRect().right)) - innerWidth"""


@pytest.fixture
def open_tab(chromium):
    """Opens a page in a browser. Its console says nothing, unless the server is killed."""
    context = chromium.new_context(viewport=DESKTOP, accept_downloads=True)
    said: list[str] = []

    def open_url(url):
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("console", lambda message: said.append(message.text))
        tab.goto(url)
        tab.wait_for_selector("#card .title")
        return tab

    yield open_url
    context.close()
    assert [text for text in said if "net::ERR_" not in text] == []


@pytest.fixture(scope="session")
def titles(grocery_titles) -> list[str]:
    """600 titles, of which half end with OZ."""
    ounces = [title for title in grocery_titles[1:] if title.endswith("OZ")]
    others = [title for title in grocery_titles[1:] if not title.endswith("OZ")]
    return ounces[:900:3] + others[:900:3]


def title_of(tab) -> str:
    return tab.text_content("#card .title")


def answer(title: str) -> str:
    return "yes" if title.endswith("OZ") else "no"


def press(tab, key: str) -> str:
    """Press a key, wait for the next title, and return the one before."""
    before = title_of(tab)
    tab.keyboard.press(key)
    tab.wait_for_function(IS_NEXT, arg=before)
    return before


def label(tab, n: int) -> None:
    for _ in range(n):
        press(tab, answer(title_of(tab))[0])


def figures(tab, labels: int) -> tuple[str, str]:
    """The score and the curve when they are those of so many labels."""
    tab.wait_for_selector(f"#figures[aria-busy=false][data-labels='{labels}']")
    return tab.text_content("#auc"), tab.get_attribute("polyline.auc", "points")


def test_an_afternoon(new_page, open_tab, titles, tmp_path) -> None:
    page = new_page(titles)
    tab = open_tab(page.url)
    label(tab, 30)
    score, curve = figures(tab, 30)
    label(tab, 5)
    assert figures(tab, 35)[1] != curve
    assert 0 < float(score) <= 1
    before = page.labels()
    assert len(before) == before["title"].n_unique() == 35

    # undo brings the title back, with the figures of before
    shown = title_of(tab)
    press(tab, "u")
    assert title_of(tab) == before["title"][-1]
    assert page.labels().equals(before[:-1])
    figures(tab, 34)
    label(tab, 1)
    assert title_of(tab) == shown

    # reload, then kill the server: nothing is lost, and the open page goes on
    tab.reload()
    tab.wait_for_selector("#card .title")
    assert title_of(tab) == shown
    assert tab.text_content("#counts b") == "35 labels"
    page.kill()
    tab.keyboard.press("y")
    tab.wait_for_selector("#message.error")
    assert "No label is lost" in tab.text_content("#message")
    assert page.labels().drop("time").equals(before.drop("time"))
    page.start()
    label(tab, 2)
    assert title_of(tab) not in (shown, *page.labels()["title"])
    press(tab, "u")  # what was labelled before the server was killed can be undone as well
    press(tab, "u")
    assert title_of(tab) == shown
    press(tab, "u")
    assert title_of(tab) == before["title"][-1]
    label(tab, 3)

    # take the result along
    with tab.expect_download() as download:
        tab.click("[data-export=labels]")
    assert len(pl.read_csv(download.value.path(), infer_schema=False)) == 37
    for what in ("classifier", "scores"):
        tab.click(f"[data-export={what}]")
        tab.wait_for_function(
            "w => document.getElementById('exported').textContent.includes(`labels-${w}`)", arg=what
        )
    catalogue, out = page.folder / "catalogue.parquet", tmp_path / "out.parquet"
    predict = ["classify", "predict", str(page.folder / "labels-classifier"), str(catalogue)]
    assert _exit_code([*predict, "--out", str(out), "--quiet"]) == 0
    assert pl.read_parquet(out).equals(pl.read_parquet(page.folder / "labels-scores.parquet"))


def test_search_review_and_words_by_keyboard(new_page, open_tab, titles) -> None:
    page = new_page(titles)
    tab = open_tab(page.url)
    assert tab.text_content("#card .why b") == "audit"
    label(tab, 25)
    # the prediction of an audit title would influence the answer
    kinds = {}
    for _ in range(3):
        kinds[tab.text_content("#card .why b")] = tab.text_content("#card .prediction")
        label(tab, 1)
    assert kinds["audit"].startswith("The prediction is hidden")

    tab.keyboard.press("/")
    tab.keyboard.type("yns")  # letters of the keys are letters in the search
    assert tab.input_value("#q") == "yns"
    tab.fill("#q", "ch")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".found li:focus")
    first, second = tab.locator(".found li > p").all_text_contents()[:2]
    for key in ("y", "n"):
        tab.keyboard.press(key)
        tab.wait_for_function(IS_IDLE)
    tab.wait_for_selector(".found li.done:nth-child(2)")
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#panel", state="hidden")
    found = page.labels().filter(strategy="search").select("title", "label").rows()
    assert found == [(first, "yes"), (second, "no")]
    tab.wait_for_function(IS_IDLE)
    tab.keyboard.press("u")
    tab.wait_for_function(
        "t => document.querySelector('#card .title').textContent === t", arg=second
    )
    assert tab.text_content("#card .why b") == "search"

    tab.keyboard.press("w")
    tab.wait_for_selector("#panel .words")
    assert "This title" in tab.text_content("#panel-content")
    tab.keyboard.press("Escape")
    tab.wait_for_function(IS_IDLE)

    # doubtful labels come back, and a key confirms them
    table = pl.DataFrame({"title": titles, "label": [answer(title) for title in titles]})
    wrong = pl.when(pl.col("title") == titles[0]).then(pl.lit("no")).otherwise("label")
    table = table.with_columns(label=wrong, strategy=pl.lit("random"))
    table.write_parquet(page.file)
    tab.keyboard.press("r")
    tab.wait_for_selector(".found li:focus")
    shown = tab.locator(".found li > p").all_text_contents()
    tab.keyboard.press("s")
    tab.wait_for_selector(".found li.done")
    assert page.labels().select("title", "label", "strategy").row(-1) == (shown[0], None, "review")


NAMES = ["ounces", "pieces", "other"]


def test_several_classes_and_skipping(new_page, open_tab, titles) -> None:
    page = new_page(titles[::5], "--classes", *NAMES)
    tab = open_tab(page.url)
    given = [(press(tab, key), name) for key, name in zip("123s", [*NAMES, None], strict=True)]
    assert page.labels().select("title", "label").rows() == given
    for _ in range(10):
        press(tab, "1" if title_of(tab).endswith("OZ") else "3")
    figures_of = tab.locator("#figures")
    tab.wait_for_selector("#figures[aria-busy=false] #class")
    tab.select_option("#class", "other")
    tab.wait_for_function(
        "() => document.querySelector('#figures[aria-busy=false] .none b')?.textContent === 'other'"
    )
    assert figures_of.locator("#class").input_value() == "other"


def test_two_tabs_get_different_titles(new_page, open_tab, titles) -> None:
    page = new_page(titles)
    tabs = [open_tab(page.url) for _ in range(3)]
    assert len({title_of(tab) for tab in tabs}) == 3
    answered = []
    for _ in range(8):
        # all at once: the keys are pressed before any answer has come
        before = [title_of(tab) for tab in tabs]
        for tab in tabs:
            tab.keyboard.press(answer(title_of(tab))[0])
        for tab, title in zip(tabs, before, strict=True):
            tab.wait_for_function(IS_NEXT, arg=title)
        answered += before
        assert len({title_of(tab) for tab in tabs}) == 3
    table = page.labels()
    assert len(answered) == len(set(answered)) == 24
    assert sorted(table["title"]) == sorted(answered)
    # each tab takes back what it labelled itself
    press(tabs[0], "u")
    assert title_of(tabs[0]) == before[0]

    # a copy of a tab is another tab; the title of a closed tab is shown elsewhere
    with tabs[0].context.expect_page() as copied:
        tabs[0].evaluate("() => { window.open(location.href) }")
    copied.value.wait_for_selector("#card .title")
    left = title_of(copied.value)
    assert left not in {title_of(tab) for tab in tabs}
    copied.value.close(run_before_unload=True)
    tabs[0].wait_for_timeout(300)
    assert title_of(open_tab(page.url)) == left


WIDE = "W" * 200
TITLES = [f"{WIDE} {i}" for i in range(4)]
TITLES += [f"שעון יד לגבר צבע שחור ‏{i} دراجة هوائية" for i in range(4)]
TITLES += [f'<img src=x onerror="document.title=1"><h1>BIG {i}</h1>&amp;</p>' for i in range(4)]


def test_titles_that_break_layouts(new_page, open_tab) -> None:
    """200 letters without a space, right-to-left text, and HTML."""
    page = new_page(TITLES, "--classes", "yes", "no " * 60, "'\"><i>")
    tab = open_tab(page.url)
    seen = []
    for number in range(len(TITLES)):
        seen.append(title_of(tab))
        for size in (DESKTOP, PHONE):
            tab.set_viewport_size(size)
            assert tab.evaluate(OVERFLOW) <= 0
            # the answers can be reached without scrolling, however long the title is
            box = tab.locator("#answers button").first.bounding_box()
            assert box["y"] + box["height"] <= size["height"]
            assert box["height"] >= 44
        press(tab, str(number % 3 + 1))
    assert sorted(seen) == sorted(TITLES)
    tab.wait_for_selector("#figures[aria-busy=false]")
    for _ in range(9):
        press(tab, "u")
    for key, by in (("/", "likeness"), ("r", None), ("w", None)):
        tab.keyboard.press(key)
        tab.wait_for_selector("#panel[open]")
        if by:
            tab.check(f"input[value={by}]")
            tab.fill("#q", "big")
            tab.keyboard.press("Enter")
            tab.wait_for_selector(".found li")
        for size in (DESKTOP, PHONE):
            tab.set_viewport_size(size)
            assert tab.evaluate(OVERFLOW) <= 0
            assert tab.evaluate(PANEL_OVERFLOW) <= 0
        tab.keyboard.press("Escape")
        tab.wait_for_selector("#panel", state="hidden")
        tab.wait_for_function(IS_IDLE)
    assert tab.locator("main img, main h1, main i:not([class]), #panel img").count() == 0
    assert tab.title().startswith("vitrina")


def test_a_thumb_reaches_all_buttons_of_a_phone(new_page, open_tab, titles) -> None:
    page = new_page(titles[::5])
    tab = open_tab(page.url)
    tab.set_viewport_size(PHONE)
    for button in tab.locator(".bar button").all():
        box = button.bounding_box()
        assert box["height"] >= 44
        assert box["width"] >= 44
        assert box["y"] > PHONE["height"] / 2
    before = title_of(tab)
    tab.locator("#answers button").first.click()
    tab.wait_for_function(IS_NEXT, arg=before)
    assert page.labels()["label"].to_list() == ["yes"]
