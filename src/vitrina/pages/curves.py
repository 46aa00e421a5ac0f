"""Learning curves of many models: a panel a task, inside the page and as one PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from vitrina.pages.html import COLOURS, INK, Style, axes, figure, legend, svg

_MARKERS = "s^DvP*"
_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1, 1.2), (5, 1.2, 1, 1.2))
_AXIS = {"auc": "AUC ROC", "r2": "R²"}
_LOWEST_R2 = -0.5


def styles_of(models: Iterable[str], ours: str, untrained: str = "") -> dict[str, Style]:
    """How models are drawn: ours thick and in a colour of its own, the untrained encoder in the
    page's ink (as in the paper's figure 2).

    The others share five colours, and differ in dashes and markers too: 20 can be told apart.
    """
    names = dict.fromkeys(models)
    styles = {ours: Style(COLOURS[0], "o", 3)} if ours in names else {}
    for i, model in enumerate(name for name in names if name not in (ours, untrained)):
        colour, dashes = COLOURS[1 + i % 5], _DASHES[i // 5 % len(_DASHES)]
        styles[model] = Style(colour, _MARKERS[i % len(_MARKERS)], 1.5, dashes)
    if untrained in names:
        styles[untrained] = Style(INK, "o", 1.5)
    return styles


def panels_html(curves: pl.DataFrame, styles: Mapping[str, Style], label: str) -> str:
    """Mean by number of labels with a band of one standard deviation, a plot a panel, and the
    legend.

    Parameters
    ----------
    curves : columns panel, model, size, metric ("auc" or "r2"), mean and std (may be null)
    styles : of the models, from `styles_of`
    label : what the curves show; unique in the page

    Raises
    ------
    MissingExtraError
        if matplotlib is not installed
    """
    plots = []
    for (name,), part in curves.group_by("panel", maintain_order=True):
        whole, (panel,) = axes(4.4, 3.2)
        _draw(panel, part, styles)
        plots.append(figure(svg(whole, f"{label}: {name}"), str(name)))
    return f"{legend(_drawn(curves, styles))}<div class=grid>{''.join(plots)}</div>"


def panels_png(curves: pl.DataFrame, styles: Mapping[str, Style]) -> bytes:
    """The same as one PNG, with the legend once, below."""
    parts = list(curves.group_by("panel", maintain_order=True))
    columns = min(3, len(parts))
    rows = math.ceil(len(parts) / columns)
    shown = _drawn(curves, styles)
    across = 2 * columns
    height = 2.9 * rows + 0.25 * math.ceil(len(shown) / across) + 0.2
    whole, panels = axes(4.2 * columns, height, rows, columns)
    for panel, ((name,), part) in zip(panels, parts, strict=False):
        _draw(panel, part, styles)
        panel.set_title(name, fontsize=10, color=INK)
    for panel in panels[len(parts) :]:
        panel.set_axis_off()
    lines = [panels[0].plot([], [], **_line(style))[0] for style in shown.values()]
    whole.legend(lines, shown, loc="outside lower center", ncols=across, frameon=False, fontsize=9)
    whole.savefig(full := io.BytesIO(), format="png", dpi=110, facecolor="white")
    from PIL import Image  # matplotlib needs it too

    # a palette takes a quarter of the bytes
    drawn = Image.open(full).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    drawn.save(small := io.BytesIO(), format="png", optimize=True)
    return small.getvalue()


def _draw(panel: Any, part: pl.DataFrame, styles: Mapping[str, Style]) -> None:
    # the first model is drawn last, on top of the others
    for model, style in reversed(_drawn(part, styles).items()):
        curve = part.filter(pl.col("model") == model).sort("size")
        std = curve["std"].fill_null(0).fill_nan(0)  # a single subsample has none
        low, high = curve["mean"] - std, curve["mean"] + std
        panel.fill_between(curve["size"], low, high, color=style.colour, alpha=0.13, lw=0)
        panel.plot(curve["size"], curve["mean"], **_line(style))
    panel.set_xscale("log")
    ticks = sorted(part["size"].unique())
    panel.set_xticks(ticks, [f"{n // 1000}k" if n % 1000 == 0 else f"{n}" for n in ticks])
    panel.minorticks_off()
    panel.set_xlabel("labels (logarithmic)")
    metric = part["metric"][0]
    panel.set_ylabel(_AXIS[metric])
    # a few wild fits would flatten all else
    if metric == "r2" and part["mean"].to_numpy().min() < _LOWEST_R2:
        panel.set_ylim(bottom=_LOWEST_R2)
        panel.set_ylabel(f"{_AXIS[metric]} (cut off at {_LOWEST_R2})")


def _line(style: Style) -> dict[str, Any]:
    """A style as matplotlib's arguments."""
    return {
        "color": style.colour,
        "marker": style.marker,
        "ms": 3 + style.width,
        "lw": style.width,
        "ls": (0, style.dashes) if style.dashes else "-",
    }


def _drawn(curves: pl.DataFrame, styles: Mapping[str, Style]) -> dict[str, Style]:
    """The styles of the models that the curves have."""
    models = set(curves["model"])
    return {model: style for model, style in styles.items() if model in models}
