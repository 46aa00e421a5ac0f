"""The page of `vitrina demo`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.pages.curves import panels_html, styles_of
from vitrina.pages.html import (
    COLOURS,
    INK,
    SOFT,
    Style,
    Table,
    axes,
    commands,
    css,
    figure,
    legend,
    page,
    svg,
    text,
    tiles,
)

_LEAD = (
    "A title encoder learnt from shopping baskets of The Complete Journey (84.51°): which products "
    "were bought together, and their categories. These are purchases in supermarkets, not views of "
    "web pages, and a title is product type and package size, which says less than a seller's "
    "title. The encoder was then frozen and judged on two tasks that its training knew nothing of."
)
_TASKS = (
    "private_label: is the product the shop's own brand? repeat_purchase: did the households that "
    "bought it buy it at least 1.5 times each, on average, in the year? One row a product. "
    "{test_fraction:.0%} of the distinct titles are for testing: no classifier learnt from them, "
    "and the encoder was trained without their products. Mean and standard deviation over five "
    "random subsamples, the same for all models: the encoder, the same network with random "
    "weights, and a bag of words (TF-IDF), each with the same logistic regression (paper §4)."
)


def demo_page(
    summary: Mapping[str, Any],
    curve: pl.DataFrame,
    log: Sequence[Mapping[str, Any]],
    neighbours: Sequence[tuple[str, str, str]],
    map_of_titles: str,
    steps: Sequence[str],
) -> str:
    """The page of `vitrina demo`.

    Parameters
    ----------
    summary : what the demo's summary.json holds
    curve : what `vitrina.evaluation.protocol.summarise` gave
    log : records of training.jsonl
    neighbours : title, neighbour, cosine
    map_of_titles : from `product_map`
    steps : commands to try next
    """
    figures = curve.with_columns(
        shown=pl.format(
            "{} ± {}",
            *(pl.col(name).map_elements("{:.3f}".format, pl.String) for name in ("value", "std")),
        )
    )
    wide = figures.pivot("size", index=["task", "model"], values="shown")
    sizes = [f"{int(size):,} labels" for size in wide.columns[2:]]
    styles = styles_of(curve["model"], "encoder", "random")
    panels = curve.select("model", "size", "std", panel="task", mean="value", metric=pl.lit("auc"))
    data, sessions = summary["data"], summary["data"]["sessions"]
    kept = ("events", "sessions", "products", "pairs")
    dropped = {k.replace("_", " "): n for k, n in sessions.items() if k not in kept and n}
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    counted = {
        "purchases": sessions["events"],
        "sessions": sessions["sessions"],
        "pairs": sessions["pairs"],
        "products": data["products"],
        "distinct titles": data["titles"],
        "products held out for testing": data["held_out_products"],
    }
    spread = log[-1]["representation_std"] / log[0]["representation_std"]
    return page(
        "vitrina: product embeddings from shopping baskets",
        _LEAD,
        {
            "What the vectors are worth": text(_TASKS.format_map(summary))
            + panels_html(panels, styles, "learning curves")
            + Table(["task", "model", *sizes], wide.rows()).html(),
            "Training": text(
                f"The spread of the representations ended at {spread:.0%} of its start. Near 0 all "
                "titles would look alike; the dashed line, at 10%, is where training warns."
            )
            + training_curves(log),
            "Neighbours": text(
                "Titles bought much, and the nearest title of each of three other product types."
            )
            + Table(["title", "neighbour", "cosine"], neighbours).html(),
            "Map": text(
                "A sample of the titles, t-SNE of their vectors, coloured by department (training "
                "saw only finer categories). Rest the pointer on a point for its title."
            )
            + map_of_titles,
            "The data": tiles(counted)
            + text("Purchases in no session that trained the encoder, by reason:")
            + tiles(dropped),
            "Seconds": tiles(summary["seconds"]),
            "What to try next": commands(steps),
            "Versions": text(f"Seed {summary['seed']}; {versions}", soft=True),
        },
    )


def training_curves(log: Sequence[Mapping[str, Any]], collapsed: float = 0.1) -> str:
    """Losses and the collapse gauge of a training log, by pairs seen.

    Parameters
    ----------
    log : records with pairs, alignment, cross_entropy and spread
    collapsed : the gauge's share of its start that counts as collapse

    Raises
    ------
    MissingExtraError
        if matplotlib is not installed
    """
    panels = {
        "alignment": "alignment of partners: BYOL's and SimCLR's loss (sum of both directions)",
        "cross_entropy": "category loss (sum of both directions)",
        "representation_std": "collapse gauge: spread of the representations",
    }
    plots = []
    for i, (name, caption) in enumerate(panels.items()):
        points = [(r["pairs"] / 1e6, r[name]) for r in log if r.get(name) is not None]
        if not points:
            continue
        whole, (panel,) = axes(3.8, 2.5)
        panel.plot(*np.array(points).T, color=COLOURS[i], lw=1.6, marker="o" * (len(points) < 3))
        panel.set_xlabel("million pairs")
        if name == "representation_std":
            panel.axhline(collapsed * points[0][1], color=INK, lw=1, ls="--")
            panel.set_ylim(bottom=0)
        plots.append(figure(svg(whole, caption), caption))
    return f"<div class=grid>{''.join(plots)}</div>"


def product_map(
    points: npt.NDArray[np.floating[Any]], titles: Sequence[str], groups: Sequence[str | None]
) -> str:
    """Products in the plane, (n, 2), coloured by the most frequent groups; hover for the title."""
    width, height, edge = 720, 520, 10
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1)
    places = edge + (points - low) / span * (np.array([width, height]) - 2 * edge)
    frequent = Counter(filter(None, groups)).most_common(len(COLOURS))
    named = {name: Style(COLOURS[i]) for i, (name, _) in enumerate(frequent)}
    others = Style(SOFT)
    drawn = []
    for (x, y), title, group in zip(places.tolist(), titles, groups, strict=True):
        hover = f"{title} ({group})" if group else title
        fill = css(named.get(group or "", others).colour)
        radius, fainter = (3.2, "") if group in named else (2.2, " fill-opacity=.45")
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="fill:{fill}"{fainter}>'
            f"<title>{escape(hover)}</title></circle>"
        )
    rest = {} if set(groups) <= set(named) else {"all others": others}
    plane = f'<svg class=map viewBox="0 0 {width} {height}" role="img">{"".join(drawn)}</svg>'
    return f"{legend(named | rest)}<figure>{plane}</figure>"
