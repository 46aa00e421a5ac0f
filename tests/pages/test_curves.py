"""Learning curves: models are distinguishable, in the colours of the page and in a small PNG."""

import io
import re
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import polars as pl
import pytest
from PIL import Image

from vitrina.errors import MissingExtraError
from vitrina.pages.curves import panels_html, panels_png, styles_of
from vitrina.pages.html import INK


def curves(models, panels=("one", "two"), mean=0.6, metric="auc"):
    return pl.DataFrame(
        [
            (panel, model, size, metric, mean + i / 100 + size / 50_000, 0.01)
            for panel in panels
            for i, model in enumerate(models)
            for size in (100, 1000, 10_000)
        ],
        schema=["panel", "model", "size", "metric", "mean", "std"],
        orient="row",
    )


def test_sixteen_models_are_distinguishable():
    models = [f"model {i}" for i in range(14)] + ["ours", "random"]
    styles = styles_of(models, "ours", "random")
    assert set(styles) == set(models)
    assert len(set(styles.values())) == 16
    pairs = {(style.colour, style.dashes) for style in styles.values()}
    assert len(pairs) == 16  # even where markers are too small to see
    assert styles["random"].colour == INK
    assert all(styles["ours"].width > styles[model].width for model in models if model != "ours")
    assert [styles[model].colour for model in models].count(styles["ours"].colour) == 1


def test_page_draws_each_curve_at_its_values():
    models = ["ours", "words", "random"]
    shown = curves(models)
    html = panels_html(shown, styles_of(models, "ours", "random"), "test")
    assert html.count("<figure>") == 2
    assert html.count("<div class=legend>") == 1
    plot = html[html.index("<svg role") : html.index("</figure>")]
    lines = {}
    for element in ElementTree.fromstring(plot).iter():
        path, style = element.get("d", ""), element.get("style", "")
        for name, colour in (("ours", "var(--c0)"), ("words", "var(--c1)")):
            if f"stroke: {colour}" in style and "fill: none" in style and path.count("L") == 2:
                lines[name] = np.array(re.findall(r"[-\d.]+", path), float).reshape(-1, 2)
    # pixels are a linear image of log size and mean, the same for both lines
    x, y = np.concatenate([lines["ours"], lines["words"]]).T
    both = shown.filter(pl.col("panel") == "one", pl.col("model") != "random")
    for pixels, figures in ((x, both["size"].log()), (y, both["mean"])):
        slope, offset = np.polyfit(figures, pixels, 1)
        np.testing.assert_allclose(slope * figures.to_numpy() + offset, pixels, atol=0.01)
    assert y[0] > y[3]  # higher means are higher in the picture


def test_colours_are_those_of_the_page():
    models = ["ours", *"abcde", "random"]
    html = panels_html(curves(models), styles_of(models, "ours", "random"), "test")
    assert "var(--c0)" in html
    assert "currentColor" in html
    assert not re.search(r"(?i)#(?!000|fff)[0-9a-f]{6}\b", re.sub(r'"#[^"]*"|url\(.*?\)', "", html))


def test_page_and_png_are_deterministic():
    models = ["ours", "words"]
    styles = styles_of(models, "ours")
    assert panels_html(curves(models), styles, "a") == panels_html(curves(models), styles, "a")
    assert panels_png(curves(models), styles) == panels_png(curves(models), styles)


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_png_has_all_panels(panels):
    models = ["ours", "words"]
    shown = curves(models, [f"task {i}" for i in range(panels)])
    picture = Image.open(io.BytesIO(panels_png(shown, styles_of(models, "ours"))))
    pixels = np.asarray(picture.convert("RGB"), int)
    ours = np.abs(pixels - [0xD5, 0x5E, 0x00]).sum(axis=2) < 60
    rows = -(-panels // 3)
    width, height = picture.width / min(panels, 3), picture.height / (rows + 0.2)
    for i in range(panels):
        top, left = int(i // 3 * height), int(i % 3 * width)
        assert ours[top : top + int(height), left : left + int(width)].sum() > 100
    assert ours[-int(height / 5) :].sum() > 10  # the legend


def test_very_negative_r2_is_cut_off():
    models = ["ours"]
    wild = curves(models, mean=-30, metric="r2")
    assert "cut off at -0.5" in panels_html(wild, styles_of(models, "ours"), "test")
    tame = curves(models, mean=0.1, metric="r2")
    assert "cut off" not in panels_html(tame, styles_of(models, "ours"), "test")


def test_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"vitrina\[report\]"):
        panels_html(curves(["ours"]), styles_of(["ours"], "ours"), "test")
