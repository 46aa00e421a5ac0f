"""Learning curves of many models, with one panel per task: in a page, or as one PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from vitrina.pages.html import COLOURS, INK, Style, axes, figure, legend, svg

_MARKERS = "s^DvP*"
# solid, dashed, dotted, and dashes with dots
_DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (4, 1.5),
    (1, 1.2),
    (5, 1.2, 1, 1.2),
)
_AXIS_NAMES = {"auc": "AUC ROC", "average_precision": "average precision", "r2": "R²"}
_LOWEST_R2 = -0.5
_OTHER_COLOURS = len(COLOURS) - 1  # the first colour is for the main model


def styles_of(models: Iterable[str], ours: str, untrained: str = "") -> dict[str, Style]:
    """Choose the colours, markers and dashes of models.

    The main model gets a thick line and its own colour. The untrained encoder gets the colour of
    the text (compare the paper's figure 2). The other models share five colours. Models with the
    same colour have different dashes, so that 20 of them can be told apart.

    Parameters
    ----------
    models : iterable of str
        Names; repeated names count once.
    ours : str
        Name of the main model.
    untrained : str, optional
        Name of the untrained encoder.

    Returns
    -------
    dict of str to Style
        The main model comes first and the untrained encoder last, if they are among the models.
    """
    names = dict.fromkeys(models)
    styles = {}
    if ours in names:
        styles[ours] = Style(COLOURS[0], "o", 3)
    others = [name for name in names if name not in (ours, untrained)]
    for i, model in enumerate(others):
        colour = COLOURS[1 + i % _OTHER_COLOURS]
        marker = _MARKERS[i % len(_MARKERS)]
        # the dashes change when all colours are used
        round_of_colours = i // _OTHER_COLOURS
        dashes = _DASHES[round_of_colours % len(_DASHES)]
        styles[model] = Style(colour, marker, 1.5, dashes)
    if untrained in names:
        styles[untrained] = Style(INK, "o", 1.5)
    return styles


def panels_html(curves: pl.DataFrame, styles: Mapping[str, Style], label: str) -> str:
    """Draw learning curves as HTML: a legend, and one plot per panel.

    A curve is the mean by number of labels, with a band of one standard deviation.

    Parameters
    ----------
    curves : DataFrame
        Columns panel, model, size, metric ("auc", "average_precision" or "r2"), mean and std (may
        be null).
    styles : mapping of str to Style
        Styles of the models, from `styles_of`.
    label : str
        Description of the curves. It must be unique in the page.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    plots = []
    for (name,), part in curves.group_by("panel", maintain_order=True):
        whole, (panel,) = axes(4.4, 3.2)
        _draw(panel, part, styles)
        drawn = svg(whole, f"{label}: {name}")
        plots.append(figure(drawn, str(name)))
    used = _used_styles(curves, styles)
    return f"{legend(used)}<div class=grid>{''.join(plots)}</div>"


def panels_png(curves: pl.DataFrame, styles: Mapping[str, Style]) -> bytes:
    """Draw the same curves as `panels_html` in one PNG, with one legend at the bottom.

    Parameters
    ----------
    curves : DataFrame
    styles : mapping of str to Style

    Returns
    -------
    bytes
        The PNG file.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    parts = list(curves.group_by("panel", maintain_order=True))
    used = _used_styles(curves, styles)

    # a grid with up to three panels in a row, and room for the legend below
    columns = min(3, len(parts))
    rows = math.ceil(len(parts) / columns)
    legend_columns = 2 * columns
    legend_rows = math.ceil(len(used) / legend_columns)
    height = 2.9 * rows + 0.25 * legend_rows + 0.2
    whole, panels = axes(4.2 * columns, height, rows, columns)
    for panel, ((name,), part) in zip(panels, parts, strict=False):
        _draw(panel, part, styles)
        panel.set_title(name, fontsize=10, color=INK)
    for panel in panels[len(parts) :]:
        panel.set_axis_off()

    # a model may be missing in any panel, so the legend gets lines of its own
    lines = []
    for style in used.values():
        (line,) = panels[0].plot([], [], **_line(style))
        lines.append(line)
    whole.legend(
        lines, used, loc="outside lower center", ncols=legend_columns, frameon=False, fontsize=9
    )

    # the picture in full colours
    full = io.BytesIO()
    whole.savefig(full, format="png", dpi=110, facecolor="white")

    from PIL import Image  # a dependency of matplotlib

    # a palette image has a quarter of the bytes
    picture = Image.open(full).convert("RGB")
    reduced = picture.quantize(128, dither=Image.Dither.NONE)
    small = io.BytesIO()
    reduced.save(small, format="png", optimize=True)
    return small.getvalue()


def _draw(panel: Any, part: pl.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw the curves of one panel on matplotlib axes."""
    # the first model is drawn last, on top of the others
    for model, style in reversed(_used_styles(part, styles).items()):
        curve = part.filter(pl.col("model") == model).sort("size")
        sizes = curve["size"]
        mean = curve["mean"]
        std = curve["std"].fill_null(0).fill_nan(0)  # a single subsample has none
        panel.fill_between(sizes, mean - std, mean + std, color=style.colour, alpha=0.13, lw=0)
        panel.plot(sizes, mean, **_line(style))

    # the sizes of the subsamples are the ticks
    panel.set_xscale("log")
    ticks = sorted(part["size"].unique())
    panel.set_xticks(ticks, [_short(size) for size in ticks])
    panel.minorticks_off()
    panel.set_xlabel("labels (logarithmic)")
    metric = part["metric"][0]
    label = _AXIS_NAMES[metric]
    # a few bad fits have a very negative R², and would flatten all other curves
    lowest = part["mean"].to_numpy().min()
    if metric == "r2" and lowest < _LOWEST_R2:
        panel.set_ylim(bottom=_LOWEST_R2)
        label += f" (cut off at {_LOWEST_R2})"
    panel.set_ylabel(label)


def _short(size: int) -> str:
    """Write 5000 as "5k"."""
    if size % 1000 == 0:
        return f"{size // 1000}k"
    return f"{size}"


def _line(style: Style) -> dict[str, Any]:
    """Return a style as arguments of matplotlib's `plot`."""
    return {
        "color": style.colour,
        "marker": style.marker,
        "ms": 3 + style.width,
        "lw": style.width,
        "ls": (0, style.dashes) if style.dashes else "-",
    }


def _used_styles(curves: pl.DataFrame, styles: Mapping[str, Style]) -> dict[str, Style]:
    """Return the styles of the models that have curves."""
    models = set(curves["model"])
    return {model: style for model, style in styles.items() if model in models}
