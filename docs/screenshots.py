"""Take the screenshots of the labelling page, on the demo's data, in a headless Chromium.

    make demo
    python docs/screenshots.py demo docs/images

The task is whether a product comes from the drugstore. The titles are answered with the
supermarket's own departments.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from playwright.sync_api import Page, sync_playwright

from vitrina.data.sources import completejourney_tables

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
DRUGSTORE = ("DRUG GM", "COSMETICS", "FLORAL")
LABELS = 150
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
# the next title is there
IS_NEXT = """before => document.body.className !== 'busy'
    && document.querySelector('#card .title')?.textContent !== before"""


def departments() -> dict[str, str]:
    """Return the department of each title of the demo."""
    products = pl.read_parquet(completejourney_tables() / "products.parquet")
    title = pl.concat_str("product_type", "package_size", separator=" ", ignore_nulls=True)
    named = products.select(title.alias("title"), "department").drop_nulls()
    return dict(named.unique("title", keep="first", maintain_order=True).iter_rows())


def label_titles(page: Page, department: dict[str, str]) -> None:
    """Answer titles with the keyboard."""
    for _ in range(LABELS):
        title = page.text_content("#card .title") or ""
        page.keyboard.press("y" if department.get(title) in DRUGSTORE else "n")
        page.wait_for_function(IS_NEXT, arg=title)
    page.wait_for_selector(f"#figures[aria-busy=false][data-labels='{LABELS}']")


def take(page: Page, folder: Path) -> None:
    """Take the page at both sizes, light and dark, and its search."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            page.screenshot(path=folder / f"label-{name}-{scheme}.png")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    page.keyboard.press("/")
    page.keyboard.type("shampoo")
    page.keyboard.press("Enter")
    page.wait_for_selector(".found li")
    page.screenshot(path=folder / "label-search.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of the demo")
    parser.add_argument("out", type=Path, help="folder of the pictures")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "vitrina", "label", str(arguments.demo / "vectors.parquet")]
    command += ["--encoder", str(arguments.demo / "encoder"), "--no-open", "--port", "0"]
    with TemporaryDirectory() as work:
        command += ["--out", f"{work}/drugstore.parquet"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[2]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                page = browser.new_page(viewport=DESKTOP)  # type: ignore[arg-type]
                page.goto(url)
                page.wait_for_selector("#card .why")
                label_titles(page, departments())
                take(page, arguments.out)
                browser.close()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
