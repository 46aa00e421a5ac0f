"""Results as one HTML page that needs nothing else: no network, no script, light and dark.

`page` puts pieces of HTML under headings; the functions after it make them.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Container, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

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
# What figures are drawn with, and what `svg` makes of it: the page's colours, light or dark
COLOURS = [light.lower() for light, _ in _COLOURS]
INK, SOFT = "#1c1c1e", "#63636b"
_CSS = {INK: "currentColor", SOFT: "var(--soft)"}
_CSS |= {colour: f"var(--c{i})" for i, colour in enumerate(COLOURS)}

_MARKERS = {
    "o": '<circle cx="14" cy="8" r="5"/>',
    "s": '<path d="M9.5 3.5h9v9h-9z"/>',
    "^": '<path d="M14 2 20 13H8z"/>',
    "D": '<path d="M14 2 20 8 14 14 8 8z"/>',
    "v": '<path d="M14 14 20 3H8z"/>',
    "P": '<path d="M12 2h4v4h4v4h-4v4h-4v-4H8V6h4z"/>',
    "*": '<path d="m14 1 1.8 4.8 5.2.3-4 3.3 1.3 5-4.3-2.8-4.3 2.8 1.3-5-4-3.3 5.2-.3z"/>',
}
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
.legend svg { height: .9rem; margin-right: .35rem; vertical-align: -.1rem }
.scroll { overflow-x: auto; margin: .4rem 0 .8rem }
table { border-collapse: separate; border-spacing: 0; width: 100%%;
  font-size: .9rem; line-height: 1.375rem }
th, td { text-align: left; padding: 5px 11px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
th:last-child, td:last-child { padding-right: 0 }
th { font-weight: 600 }
.n { text-align: right; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--ground);
  min-width: 5.5rem }
td:last-child:not(.n) { min-width: 13rem }
tr.own td { background: var(--card) }
li { max-width: 46rem; margin: .3rem 0 }
ul { margin: .4rem 0 .8rem; padding-left: 1.2rem }
summary { cursor: pointer; padding: .35rem 0; font-weight: 600 }
pre { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; overflow-x: auto;
  font-size: .85rem }
.map circle { fill-opacity: .75 }
.map circle:hover { fill-opacity: 1; stroke: var(--ink) }
"""


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
        f"<div><b>{escape(_number(value))}</b><span>{escape(name)}</span></div>"
        for name, value in facts.items()
    )
    return f"<div class=tiles>{''.join(shown)}</div>"


def bullets(paragraphs: Sequence[str], heads: Sequence[str] = ()) -> str:
    """A list of paragraphs of plain text, each behind its head if they have heads."""
    bold = [f"<b>{escape(head)}</b>: " for head in heads] or [""] * len(paragraphs)
    items = zip(bold, paragraphs, strict=True)
    return f"<ul>{''.join(f'<li>{head}{escape(paragraph)}</li>' for head, paragraph in items)}</ul>"


def fold(name: str, html: str, *, opened: bool = False) -> str:
    """A piece of HTML that opens and shuts when its name is chosen."""
    return f"<details{' open' * opened}><summary>{escape(name)}</summary>\n{html}</details>"


class Table(NamedTuple):
    """Rows under the names of their columns.

    Attributes
    ----------
    columns, rows
        None and NaN are shown as a dash.
    strong : (row, column) of the cells that stand out
    own : number of the row that the others are compared with
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    strong: Container[tuple[int, int]] = frozenset()
    own: int | None = None

    def shown(self) -> list[list[str]]:
        """The rows as plain text."""
        return [[_number(value) for value in row] for row in self.rows]

    def html(self) -> str:
        """Columns of figures are set flush right; a table that is too wide scrolls in its box."""
        shown = self.shown()
        flush = [
            " class=n" * all(_is_figure(row[j]) for row in shown) for j in range(len(self.columns))
        ]
        head = "".join(
            f"<th{f}>{escape(name)}</th>" for f, name in zip(flush, self.columns, strict=True)
        )
        body = []
        for i, row in enumerate(shown):
            cells = []
            for j, (f, value) in enumerate(zip(flush, row, strict=True)):
                # a narrow cell breaks before the brackets only
                held = re.sub(" (±|to) ", "\u00a0\\1\u00a0", value) if f else value
                bold = ("<b>", "</b>") if (i, j) in self.strong else ("", "")
                cells.append(f"<td{f}>{bold[0]}{escape(held)}{bold[1]}</td>")
            body.append(f"<tr{' class=own' * (i == self.own)}>{''.join(cells)}</tr>")
        return (
            f"<div class=scroll><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )

    def markdown(self) -> str:
        """The same as a table of GitHub's Markdown."""
        shown = [[re.sub(r"([|*<\\])", r"\\\1", value) for value in row] for row in self.shown()]
        lines = [
            [f"**{v}**" if (i, j) in self.strong else v for j, v in enumerate(row)]
            for i, row in enumerate(shown)
        ]
        rule = ["---"] * len(self.columns)
        return "\n".join(f"| {' | '.join(line)} |" for line in [self.columns, rule, *lines])


def commands(lines: Sequence[str]) -> str:
    """Commands to copy."""
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def css(colour: str) -> str:
    """The page's own colour for one that figures are drawn with."""
    return _CSS[colour]


class Style(NamedTuple):
    """How one thing of many is drawn.

    Attributes
    ----------
    colour : of `COLOURS`, `INK` or `SOFT`
    marker : matplotlib's name of a shape
    width : of the line, 0 for points alone
    dashes : lengths of dashes and gaps in widths of the line
    """

    colour: str
    marker: str = "o"
    width: float = 0
    dashes: tuple[float, ...] = ()


def legend(styles: Mapping[str, Style]) -> str:
    """The names with how they are drawn."""
    entries = []
    for name, style in styles.items():
        dashes = " ".join(f"{length * style.width:g}" for length in style.dashes)
        line = (
            f'<path d="M0 8h28" stroke="currentColor" stroke-width="{style.width:g}"'
            f' stroke-dasharray="{dashes or "none"}"/>'
        )
        entries.append(
            f'<span><svg viewBox="0 0 28 16" aria-hidden="true" fill="currentColor" '
            f'style="color:{css(style.colour)}">{line * (style.width > 0)}'
            f"{_MARKERS[style.marker]}</svg>{escape(name)}</span>"
        )
    return f"<div class=legend>{''.join(entries)}</div>"


def figure(drawn: str, caption: str) -> str:
    """A drawing under its caption."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{drawn}</figure>"


def axes(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, list[Any]]:
    """A figure of the given size in inches, and its plain axes, row by row.

    Raises
    ------
    MissingExtraError
        if matplotlib is not installed
    """
    try:
        from matplotlib.figure import Figure  # not pyplot: no state, no display
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "demo") from error
    whole = Figure(figsize=(width, height), layout="constrained")
    panels = whole.subplots(rows, columns, squeeze=False).ravel().tolist()
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(INK)
        panel.tick_params(colors=INK, labelsize=9)
        panel.xaxis.label.set_color(INK)
        panel.yaxis.label.set_color(INK)
        panel.grid(color=INK, alpha=0.12, lw=0.8)
        panel.set_axisbelow(True)
    return whole, panels


def svg(whole: Any, label: str) -> str:
    """A figure as inline SVG in the page's font and colours; `label` is unique in the page."""
    import matplotlib

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # text stays text, and the same figure gives the same bytes
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        whole.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    for colour, own in _CSS.items():
        drawn = drawn.replace(colour, own)
    drawn = re.sub(r"(font: [^;']*px|font-family:)[^;\"]*", r"\1 system-ui, sans-serif", drawn)
    drawn = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", drawn)  # not referred to, nor unique in a page
    drawn = re.sub(r' xmlns(:xlink)?="[^"]*"', "", drawn).replace("xlink:href", "href")
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _number(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def _is_figure(shown: str) -> bool:
    """Whether a cell has nothing to read but numbers, such as "0.012 (0.003 to 0.021)"."""
    return not re.search(r"[^\W\d_]", shown.replace(" to ", ""))
