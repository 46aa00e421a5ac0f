"""The report page of `vitrina demo`."""

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
    bullets,
    commands,
    css,
    figure,
    legend,
    page,
    svg,
    text,
    tiles,
)

_MAIN_MODEL = "encoder with words"
_UNTRAINED = "random"
_COLLAPSED = 0.1  # training warns below this share of the initial spread

_LEAD = (
    "This encoder learnt from the shopping baskets of The Complete Journey (84.51°): from products "
    "that were bought together and from their categories. It was then frozen and evaluated on two "
    "tasks that its training did not use. The data are purchases in supermarkets, not views of web "
    "pages. A title is only a product type and a package size, so it says less than a title that a "
    "seller writes."
)
_NOTE_ON_TASKS = (
    "Two tasks, with one row per product. private_label: is the product the shop's own brand? "
    "repeat_purchase: did the households that bought the product buy it at least 1.5 times on "
    "average in the year? {test_fraction:.0%} of the distinct titles are for testing. No "
    "classifier was trained on these titles, and the encoder was trained without their products."
)
_NOTE_ON_MODELS = (
    "Four models are trained on the same labels. They differ in their features; the classifier is "
    "logistic regression in all of them."
)
_MODELS = {
    _MAIN_MODEL: (
        "the encoder's vectors together with the words and character n-grams of the title. This is "
        "the default classifier, which you would deploy. The thick line shows it."
    ),
    "encoder": "the encoder's vectors alone.",
    _UNTRAINED: "the vectors of the same network before training.",
    "bag of words": "the words of the title alone, weighted by TF-IDF (paper §4).",
}
_NOTE_ON_FIGURES = (
    "Figures are the mean AUC ROC on the test rows, and its standard deviation, over five random "
    "subsamples of each size. The subsamples are the same for all models."
)
_NOTE_ON_TRAINING = (
    "The encoder was trained for a fixed number of steps ({steps:,}), so the results do not depend "
    "on the speed of the machine."
)
_NOTE_ON_TIME_LIMIT = (
    "Training stopped at its time limit, after {steps_done:,} of {steps:,} steps. The results are "
    "those of an encoder that is not fully trained."
)
_NOTE_ON_COLLAPSE = (
    "The spread of the representations ended at {spread:.0%} of its initial value. Near 0, all "
    "titles would have the same vector. Training warns below {collapsed:.0%}, the dashed line."
)
_NOTE_ON_NEIGHBOURS = (
    "Frequently bought titles, each with the nearest title of three other product types."
)
_NOTE_ON_MAP = (
    "A sample of the titles: t-SNE of their vectors, coloured by department. Training did not use "
    "the departments, only finer categories. Point at a title to read it."
)
_NOTE_ON_DROPPED = "Purchases that are in no training session, by reason:"


def demo_page(
    summary: Mapping[str, Any],
    curve: pl.DataFrame,
    log: Sequence[Mapping[str, Any]],
    neighbours: Sequence[tuple[str, str, str]],
    map_of_titles: str,
    steps: Sequence[str],
) -> str:
    """Return the report page of `vitrina demo`.

    Parameters
    ----------
    summary : mapping of str to Any
        The content of the demo's summary.json.
    curve : DataFrame
        AUC rows of `vitrina.evaluation.statistics.summarise`, with the columns task, split, part,
        model, size, metric, mean, std and samples.
    log : sequence of mappings
        Records of training.jsonl.
    neighbours : sequence of (str, str, str)
        Title, neighbour and cosine.
    map_of_titles : str
        HTML from `product_map`.
    steps : sequence of str
        Commands to try next.

    Returns
    -------
    str
        HTML.
    """
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return page(
        "vitrina: product embeddings from shopping baskets",
        _LEAD,
        {
            "Results on two tasks": _results(summary, curve),
            "Training": _training(summary, log),
            "Neighbours": text(_NOTE_ON_NEIGHBOURS)
            + Table(["title", "neighbour", "cosine"], neighbours).html(),
            "Map": text(_NOTE_ON_MAP) + map_of_titles,
            "The data": _data(summary["data"]),
            "Seconds per stage": tiles(summary["seconds"]),
            "What to try next": commands(steps),
            "Versions": text(f"Seed {summary['seed']}; {versions}", soft=True),
        },
    )


def _results(summary: Mapping[str, Any], curve: pl.DataFrame) -> str:
    """Return the explanation of the tasks and models, the learning curves and their table."""
    panels = curve.select("model", "size", "mean", "std", "metric", panel="task")
    styles = styles_of(curve["model"], _MAIN_MODEL, _UNTRAINED)

    # one row per task and model, with a column per size
    figures = [pl.col(name).map_elements("{:.3f}".format, pl.String) for name in ("mean", "std")]
    cells = curve.select("task", "model", "size", shown=pl.format("{} ± {}", *figures))
    wide = cells.pivot("size", index=["task", "model"], values="shown")
    sizes = [f"{int(size):,} labels" for size in wide.columns[2:]]
    return (
        text(_NOTE_ON_TASKS.format_map(summary))
        + text(_NOTE_ON_MODELS)
        + bullets(list(_MODELS.values()), list(_MODELS))
        + text(_NOTE_ON_FIGURES)
        + panels_html(panels, styles, "learning curves")
        + Table(["task", "model", *sizes], wide.rows()).html()
    )


def _training(summary: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> str:
    """Return how long the training was, whether it collapsed, and its curves."""
    training = summary["training"]
    complete = training["steps_done"] >= training["steps"]
    note = _NOTE_ON_TRAINING if complete else _NOTE_ON_TIME_LIMIT
    # relative to the first record, as the warning of the training
    spread = log[-1]["representation_std"] / log[0]["representation_std"]
    return (
        text(note.format_map(training))
        + text(_NOTE_ON_COLLAPSE.format(spread=spread, collapsed=_COLLAPSED))
        + training_curves(log)
    )


def _data(data: Mapping[str, Any]) -> str:
    """Return the counts of the data, and those of the purchases that were left out."""
    sessions = data["sessions"]
    counts = {
        "purchases": sessions["events"],
        "sessions": sessions["sessions"],
        "pairs": sessions["pairs"],
        "products": data["products"],
        "distinct titles": data["titles"],
        "products held out for testing": data["held_out_products"],
    }
    # all other counts of the sessions are reasons why a purchase was left out
    dropped = {}
    for name, count in sessions.items():
        if name not in ("events", "sessions", "products", "pairs") and count:
            dropped[name.replace("_", " ")] = count
    return tiles(counts) + text(_NOTE_ON_DROPPED) + tiles(dropped)


def training_curves(log: Sequence[Mapping[str, Any]], collapsed: float = _COLLAPSED) -> str:
    """Draw the losses and the spread of the representations of a training log.

    Parameters
    ----------
    log : sequence of mappings
        Records with pairs, alignment, cross_entropy and representation_std. A curve is left out if
        no record has a value for it.
    collapsed : float, optional
        Share of the initial spread that counts as collapse.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    captions = {
        "alignment": "alignment of partners: loss of BYOL and SimCLR (sum of both directions)",
        "cross_entropy": "category loss (sum of both directions)",
        "representation_std": "spread of the representations, to detect collapse",
    }
    plots = []
    for i, (name, caption) in enumerate(captions.items()):
        # a loss with weight 0 is not computed
        points = [
            (record["pairs"] / 1e6, record[name]) for record in log if record.get(name) is not None
        ]
        if not points:
            continue
        whole, (panel,) = axes(3.8, 2.5)
        marker = "o" if len(points) < 3 else ""  # a line of one point is invisible
        panel.plot(*np.array(points).T, color=COLOURS[i], lw=1.6, marker=marker)
        panel.set_xlabel("million pairs")
        if name == "representation_std":
            initial = points[0][1]
            panel.axhline(collapsed * initial, color=INK, lw=1, ls="--")
            panel.set_ylim(bottom=0)
        plots.append(figure(svg(whole, caption), caption))
    return f"<div class=grid>{''.join(plots)}</div>"


def product_map(
    points: npt.NDArray[np.floating[Any]], titles: Sequence[str], groups: Sequence[str | None]
) -> str:
    """Draw products in the plane, coloured by group, with their titles on hover.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
    titles : sequence of str of length n
    groups : sequence of (str or None) of length n
        The most frequent groups get a colour each; all others share one.

    Returns
    -------
    str
        HTML.
    """
    # scale the points to the drawing, with a margin for the circles at the edge
    width, height, margin = 720, 520, 10
    low = points.min(axis=0)
    high = points.max(axis=0)
    span = np.where(high > low, high - low, 1)
    places = margin + (points - low) / span * (np.array([width, height]) - 2 * margin)

    # the most frequent groups get the colours
    frequent = Counter(filter(None, groups)).most_common(len(COLOURS))
    styles = {name: Style(COLOURS[i]) for i, (name, _) in enumerate(frequent)}
    others = Style(SOFT)

    # larger circles in full colour for the groups that have one
    circles = []
    for (x, y), title, group in zip(places.tolist(), titles, groups, strict=True):
        hover = f"{title} ({group})" if group else title
        fill = css(styles.get(group or "", others).colour)
        if group in styles:
            radius, opacity = 3.2, ""
        else:
            radius, opacity = 2.2, " fill-opacity=.45"
        circles.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="fill:{fill}"{opacity}>'
            f"<title>{escape(hover)}</title></circle>"
        )
    if not set(groups) <= set(styles):
        styles["all others"] = others
    plane = f'<svg class=map viewBox="0 0 {width} {height}" role="img">{"".join(circles)}</svg>'
    return f"{legend(styles)}<figure>{plane}</figure>"
