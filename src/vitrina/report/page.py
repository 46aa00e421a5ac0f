"""Results as one HTML page that needs nothing else: no network, no script, light and dark.

`page` puts pieces of HTML under headings, the functions after it make them, and `demo_page` is the
page of `vitrina demo`.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from vitrina.errors import MissingExtraError

# Okabe & Ito's palette for all kinds of colour vision, each in its variant for light and for dark;
# black, grey and yellow are left out: they don't stand out on one of the two grounds.
_COLOURS = [
    ("#D55E00", "#F07A1F"),  # vermilion
    ("#0072B2", "#56B4E9"),  # blue
    ("#009E73", "#1FBF93"),  # bluish green
    ("#CC79A7", "#E09BC2"),  # reddish purple
    ("#E69F00", "#F0B93A"),  # orange
    ("#56B4E9", "#3F7FD0"),  # sky blue
]
_MARKERS = "os^Dv*"
# Colours that are drawn by matplotlib only to be replaced by the page's own
_INK = "#010203"
_SERIES = [f"#0{i}0{i}0{i}" for i in range(4, 4 + len(_COLOURS))]

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1c1c1e; --soft: #63636b; --line: #dcdce1;
  --card: #f5f5f7; %s }
@media (prefers-color-scheme: dark) { :root { --ground: #17171a; --ink: #ececf0; --soft: #a2a2ac;
  --line: #3a3a42; --card: #222226; %s } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 1rem 1rem 3rem }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1rem 0 .5rem }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem }
p { max-width: 46rem; margin: .4rem 0 .8rem }
.soft, figcaption, th { color: var(--soft); font-size: .88rem }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%%, 19rem), 1fr)) }
.tiles { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)) }
.tiles div { background: var(--card); border-radius: .5rem; padding: .5rem .7rem }
.tiles b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums }
.tiles span { color: var(--soft); font-size: .82rem }
figure { margin: 0; min-width: 0 }
figure svg { display: block; width: 100%%; height: auto }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .88rem; margin: .3rem 0 }
.legend svg { width: .8rem; height: .8rem; margin-right: .35rem; vertical-align: -.05rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; width: 100%% }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
th:last-child, td:last-child { padding-right: 0 }
th { font-weight: 600 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
pre { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; overflow-x: auto;
  font-size: .85rem }
.map circle { fill-opacity: .75 }
.map circle:hover { fill-opacity: 1; stroke: var(--ink) }
"""

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
    curve : what `vitrina.downstream.protocol.summarise` gave
    log : records of training.jsonl
    neighbours : title, neighbour, cosine
    map_of_titles : from `product_map`
    steps : commands to try next
    """
    figures = curve.with_columns(
        auc=pl.format(
            "{} ± {}",
            *(pl.col(name).map_elements("{:.3f}".format, pl.String) for name in ("auc", "std")),
        )
    )
    wide = figures.pivot("labels", index=["task", "model"], values="auc")
    sizes = [f"{int(size):,} labels" for size in wide.columns[2:]]
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
    spread = log[-1]["spread"] / log[0]["spread"]
    return page(
        "vitrina: product embeddings from shopping baskets",
        _LEAD,
        {
            "What the vectors are worth": text(_TASKS.format_map(summary))
            + learning_curves(curve)
            + table(["task", "model", *sizes], wide.rows()),
            "Training": text(
                f"The spread of the representations ended at {spread:.0%} of its start. Near 0 all "
                "titles would look alike; the dashed line, at 10%, is where training warns."
            )
            + training_curves(log),
            "Neighbours": text(
                "Titles bought much, and the nearest title of each of three other product types."
            )
            + table(["title", "neighbour", "cosine"], neighbours),
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


def page(title: str, lead: str, sections: Mapping[str, str]) -> str:
    """The whole page: a heading, a paragraph of text, and pieces of HTML under their headings."""
    light, dark = (
        " ".join(f"--c{i}: {pair[side]};" for i, pair in enumerate(_COLOURS)) for side in (0, 1)
    )
    body = "\n".join(f"<h2>{escape(name)}</h2>\n{html}" for name, html in sections.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_STYLE % (light, dark)}</style>
</head>
<body><main>
<h1>{escape(title)}</h1>
{text(lead)}
{body}
</main></body>
</html>
"""


def text(paragraph: str, *, soft: bool = False) -> str:
    """A paragraph of plain text."""
    return f"<p{' class=soft' if soft else ''}>{escape(paragraph)}</p>"


def tiles(facts: Mapping[str, Any]) -> str:
    """Figures with their names; integers get thousands separators."""
    shown = (
        f"<div><b>{_number(value)}</b><span>{escape(name)}</span></div>"
        for name, value in facts.items()
    )
    return f"<div class=tiles>{''.join(shown)}</div>"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; columns of numbers are set flush right."""
    shown = [[_number(value) for value in row] for row in rows]
    flush = [
        " class=n" if all(re.fullmatch(r"[-\d.,± ]+", row[i]) for row in shown) else ""
        for i in range(len(columns))
    ]
    head = "".join(f"<th{f}>{escape(name)}</th>" for f, name in zip(flush, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{f}>{v}</td>" for f, v in zip(flush, row, strict=True)) + "</tr>"
        for row in shown
    )
    return (
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )


def commands(lines: Sequence[str]) -> str:
    """Commands to copy."""
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def learning_curves(summary: pl.DataFrame) -> str:
    """One plot a task: mean AUC by number of labels, with a band of one standard deviation.

    Parameters
    ----------
    summary : what `vitrina.downstream.protocol.summarise` gave

    Raises
    ------
    MissingExtraError
        if matplotlib is not installed
    """
    models = summary["model"].unique(maintain_order=True).to_list()
    plots = []
    for (task,), part in summary.group_by("task", maintain_order=True):
        figure, axes = _axes(4.4, 3.2)
        for i, model in enumerate(models):
            of_model = part.filter(pl.col("model") == model)
            labels, auc, std = (of_model[name].to_numpy() for name in ("labels", "auc", "std"))
            std = np.nan_to_num(std.astype(np.float64))  # a single subsample has none
            colour = _SERIES[i % len(_SERIES)]
            axes.fill_between(labels, auc - std, auc + std, color=colour, alpha=0.18, lw=0)
            axes.plot(labels, auc, color=colour, marker=_MARKERS[i % len(_MARKERS)], ms=5, lw=1.8)
        axes.set_xscale("log")
        ticks = sorted(part["labels"].unique())
        axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
        axes.minorticks_off()
        axes.set_xlabel("labels (logarithmic)")
        axes.set_ylabel("AUC ROC, test titles")
        plots.append(_figure(_svg(figure, f"learning curves: {task}"), str(task)))
    return f"{_legend(models)}<div class=grid>{''.join(plots)}</div>"


def training_curves(log: Sequence[Mapping[str, Any]], collapsed: float = 0.1) -> str:
    """Losses and the collapse gauge of a training log, by pairs seen.

    Parameters
    ----------
    log : records with pairs, byol, cross_entropy and spread
    collapsed : the gauge's share of its start that counts as collapse

    Raises
    ------
    MissingExtraError
        if matplotlib is not installed
    """
    panels = {
        "byol": "BYOL loss (sum of both directions)",
        "cross_entropy": "category loss (sum of both directions)",
        "spread": "collapse gauge: spread of the representations",
    }
    plots = []
    for i, (name, caption) in enumerate(panels.items()):
        points = [(r["pairs"] / 1e6, r[name]) for r in log if r.get(name) is not None]
        if not points:
            continue
        figure, axes = _axes(3.8, 2.5)
        axes.plot(*np.array(points).T, color=_SERIES[i], lw=1.6, marker="o" * (len(points) < 3))
        axes.set_xlabel("million pairs")
        if name == "spread":
            axes.axhline(collapsed * points[0][1], color=_INK, lw=1, ls="--")
            axes.set_ylim(bottom=0)
        plots.append(_figure(_svg(figure, caption), caption))
    return f"<div class=grid>{''.join(plots)}</div>"


def product_map(
    points: npt.NDArray[np.floating[Any]], titles: Sequence[str], groups: Sequence[str | None]
) -> str:
    """Products in the plane, (n, 2), coloured by the most frequent groups; hover for the title."""
    width, height, edge = 720, 520, 10
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1)
    places = edge + (points - low) / span * (np.array([width, height]) - 2 * edge)
    named = [name for name, _ in Counter(filter(None, groups)).most_common(len(_COLOURS))]
    colour = {name: f"var(--c{i})" for i, name in enumerate(named)}
    drawn = []
    for (x, y), title, group in zip(places.tolist(), titles, groups, strict=True):
        hover = f"{title} ({group})" if group else title
        fill = colour.get(group or "", "var(--soft)")
        radius, fainter = (3.2, "") if group in colour else (2.2, " fill-opacity=.45")
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="fill:{fill}"{fainter}>'
            f"<title>{escape(hover)}</title></circle>"
        )
    others = len(set(filter(None, groups)) - set(named)) > 0 or None in groups
    legend = _legend(named, "circle", others)
    svg = f'<svg class=map viewBox="0 0 {width} {height}" role="img">{"".join(drawn)}</svg>'
    return f"{legend}<figure>{svg}</figure>"


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escape(str(value))
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def _figure(svg: str, caption: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"


def _legend(names: Sequence[str], shape: str | None = None, others: bool = False) -> str:
    """The names with their colour, and for curves with the marker of their points."""
    shapes = {
        "o": '<circle cx="8" cy="8" r="7"/>',
        "s": '<rect x="1" y="1" width="14" height="14"/>',
        "^": '<path d="M8 1 15 15H1z"/>',
        "D": '<path d="M8 0 16 8 8 16 0 8z"/>',
        "v": '<path d="M8 15 15 1H1z"/>',
        "*": '<path d="m8 0 2 6h6l-5 4 2 6-5-4-5 4 2-6-5-4h6z"/>',
    }
    entries = [
        (
            f"var(--c{i % len(_COLOURS)})",
            shapes["o" if shape else _MARKERS[i % len(_MARKERS)]],
            name,
        )
        for i, name in enumerate(names)
    ]
    if others:
        entries.append(("var(--soft)", shapes["o"], "all others"))
    shown = "".join(
        f'<span><svg viewBox="0 0 16 16" style="fill:{fill}" aria-hidden="true">{drawn}</svg>'
        f"{escape(name)}</span>"
        for fill, drawn, name in entries
    )
    return f"<div class=legend>{shown}</div>"


def _axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure of the given size in inches, with plain axes."""
    try:
        from matplotlib.figure import Figure  # not pyplot: no state, no display
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "demo") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    axes.grid(color=_INK, alpha=0.12, lw=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any, label: str) -> str:
    """A figure as inline SVG in the page's font and colours."""
    import matplotlib

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # text stays text, and the same figure gives the same bytes
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    for i, colour in enumerate(_SERIES):
        svg = svg.replace(colour, f"var(--c{i})")
    svg = re.sub(r"(font: [^;']*px|font-family:)[^;\"]*", r"\1 system-ui, sans-serif", svg)
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)  # not referred to, and not unique in a page
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
