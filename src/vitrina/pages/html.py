"""Self-contained HTML pages: no network, no scripts, a light and a dark theme.

`page` puts pieces of HTML under headings. The other functions make these pieces.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Container, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from vitrina.errors import MissingExtraError

# Okabe & Ito's palette for all kinds of colour vision, with a variant for the light theme and one
# for the dark theme. Black, grey and yellow have too little contrast in one of the two themes.
_COLOURS = [
    ("#D55E00", "#F07A1F"),  # vermilion
    ("#0072B2", "#56B4E9"),  # blue
    ("#009E73", "#1FBF93"),  # bluish green
    ("#CC79A7", "#E09BC2"),  # reddish purple
    ("#E69F00", "#F0B93A"),  # orange
    ("#56B4E9", "#3F7FD0"),  # sky blue
]
# Figures are drawn in the light theme's colours. `svg` replaces these by CSS variables, so that
# figures follow the theme of the page.
COLOURS = [light.lower() for light, _ in _COLOURS]
INK, SOFT = "#1c1c1e", "#63636b"
_CSS = {INK: "currentColor", SOFT: "var(--soft)"}
_CSS |= {colour: f"var(--c{i})" for i, colour in enumerate(COLOURS)}

# the markers of matplotlib as SVG, for legends
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
/* a shadow at an edge says that the table goes on there */
.scroll { overflow-x: auto; margin: .4rem 0 .8rem; background: linear-gradient(to left,
  var(--ground) 40%%, transparent) right / 2.5rem 100%% no-repeat local,
  linear-gradient(to left, #0004, transparent) right / .8rem 100%% no-repeat scroll, var(--ground) }
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
    """Return a whole page.

    Parameters
    ----------
    title : str
    lead : str
        First paragraph, plain text.
    sections : mapping of str to str
        Pieces of HTML by their headings.

    Returns
    -------
    str
        HTML.
    """
    light = " ".join(f"--c{i}: {colours[0]};" for i, colours in enumerate(_COLOURS))
    dark = " ".join(f"--c{i}: {colours[1]};" for i, colours in enumerate(_COLOURS))
    pieces = [f"<h2>{escape(name)}</h2>\n{html}" for name, html in sections.items()]
    body = "\n".join(pieces)
    # the policy forbids everything but the styles in the page
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
    """Return a paragraph of plain text, in a softer colour if `soft`."""
    attribute = " class=soft" if soft else ""
    return f"<p{attribute}>{escape(paragraph)}</p>"


def tiles(facts: Mapping[str, Any]) -> str:
    """Return a grid of figures with their names."""
    shown = []
    for name, value in facts.items():
        shown.append(f"<div><b>{escape(_number(value))}</b><span>{escape(name)}</span></div>")
    return f"<div class=tiles>{''.join(shown)}</div>"


def bullets(paragraphs: Sequence[str], heads: Sequence[str] = ()) -> str:
    """Return a list of paragraphs of plain text.

    Parameters
    ----------
    paragraphs : sequence of str
    heads : sequence of str, optional
        A heading for each paragraph, shown in bold before it.
    """
    prefixes = [""] * len(paragraphs)
    if heads:
        prefixes = [f"<b>{escape(head)}</b>: " for head in heads]
    items = []
    for prefix, paragraph in zip(prefixes, paragraphs, strict=True):
        items.append(f"<li>{prefix}{escape(paragraph)}</li>")
    return f"<ul>{''.join(items)}</ul>"


def fold(name: str, html: str, *, opened: bool = False) -> str:
    """Return a section that opens and closes with a click on its name."""
    attribute = " open" if opened else ""
    return f"<details{attribute}><summary>{escape(name)}</summary>\n{html}</details>"


class Table(NamedTuple):
    """A table, as HTML or as Markdown.

    Attributes
    ----------
    columns : sequence of str
        Names of the columns.
    rows : sequence of sequences
        Values. None and NaN are shown as a dash.
    strong : container of (int, int)
        Row and column of each cell that is shown in bold.
    own : int, optional
        Number of the row that the other rows are compared with. It gets a background colour.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    strong: Container[tuple[int, int]] = frozenset()
    own: int | None = None

    def shown(self) -> list[list[str]]:
        """Return the cells as plain text."""
        return [[_number(value) for value in row] for row in self.rows]

    def html(self) -> str:
        """Return the table as HTML. Columns of numbers are aligned right; wide tables scroll."""
        shown = self.shown()
        # a column is numeric if all its cells are
        numeric = []
        for column in range(len(self.columns)):
            numeric.append(all(_is_figure(row[column]) for row in shown))
        attributes = [" class=n" if is_numeric else "" for is_numeric in numeric]
        head = []
        for attribute, name in zip(attributes, self.columns, strict=True):
            head.append(f"<th{attribute}>{escape(name)}</th>")

        body = []
        for i, row in enumerate(shown):
            cells = []
            for j, value in enumerate(row):
                if numeric[j]:
                    # narrow cells may break before brackets, but not around "±" and "to"
                    value = re.sub(" (±|to) ", "\u00a0\\1\u00a0", value)
                content = escape(value)
                if (i, j) in self.strong:
                    content = f"<b>{content}</b>"
                cells.append(f"<td{attributes[j]}>{content}</td>")
            row_attribute = " class=own" if i == self.own else ""
            body.append(f"<tr{row_attribute}>{''.join(cells)}</tr>")
        return (
            f"<div class=scroll tabindex=0><table><thead><tr>{''.join(head)}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown."""
        lines = [list(self.columns), ["---"] * len(self.columns)]
        for i, row in enumerate(self.shown()):
            cells = []
            for j, value in enumerate(row):
                content = re.sub(r"([|*<\\])", r"\\\1", value)
                if (i, j) in self.strong:
                    content = f"**{content}**"
                cells.append(content)
            lines.append(cells)
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def commands(lines: Sequence[str]) -> str:
    """Return a block of commands to copy."""
    content = "\n".join(lines)
    return f"<pre>{escape(content)}</pre>"


def css(colour: str) -> str:
    """Return the CSS value for a colour of `COLOURS`, `INK` or `SOFT`."""
    return _CSS[colour]


class Style(NamedTuple):
    """How one curve or group of points is drawn.

    Attributes
    ----------
    colour : str
        One of `COLOURS`, `INK` or `SOFT`.
    marker : str
        Matplotlib's name of the marker.
    width : float
        Line width in points; 0 draws markers without a line.
    dashes : tuple of float
        Lengths of dashes and gaps, in line widths; empty for a solid line.
    """

    colour: str
    marker: str = "o"
    width: float = 0
    dashes: tuple[float, ...] = ()


def legend(styles: Mapping[str, Style]) -> str:
    """Return a legend: each name with its line and marker."""
    entries = []
    for name, style in styles.items():
        line = ""
        if style.width > 0:
            dashes = " ".join(f"{length * style.width:g}" for length in style.dashes)
            line = (
                f'<path d="M0 8h28" stroke="currentColor" stroke-width="{style.width:g}"'
                f' stroke-dasharray="{dashes or "none"}"/>'
            )
        entries.append(
            f'<span><svg viewBox="0 0 28 16" aria-hidden="true" fill="currentColor" '
            f'style="color:{css(style.colour)}">{line}{_MARKERS[style.marker]}</svg>'
            f"{escape(name)}</span>"
        )
    return f"<div class=legend>{''.join(entries)}</div>"


def figure(drawn: str, caption: str) -> str:
    """Return a figure: an SVG drawing with its caption."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{drawn}</figure>"


def axes(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, list[Any]]:
    """Make a matplotlib figure with plain axes.

    Parameters
    ----------
    width, height : float
        Size of the figure in inches.
    rows, columns : int, optional
        Grid of the axes.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : list of matplotlib.axes.Axes
        Row by row.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # pyplot would need global state and a display
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "report") from error
    whole = Figure(figsize=(width, height), layout="constrained")
    grid = whole.subplots(rows, columns, squeeze=False)
    panels = grid.ravel().tolist()
    # only the left and the lower axis, and a faint grid behind the curves
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
    """Return a matplotlib figure as inline SVG in the fonts and colours of the page.

    Parameters
    ----------
    whole : matplotlib.figure.Figure
    label : str
        Description for screen readers. It must be unique in the page.
    """
    import matplotlib

    # text stays text; a fixed salt and no metadata give the same bytes for the same figure
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        whole.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)

    # drop the XML header, and let fonts and colours follow the page
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    for colour, own in _CSS.items():
        drawn = drawn.replace(colour, own)
    drawn = re.sub(r"(font: [^;']*px|font-family:)[^;\"]*", r"\1 system-ui, sans-serif", drawn)
    # nothing refers to these ids, and a page with several figures would repeat them
    drawn = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", drawn)
    # SVG inside HTML needs no namespaces
    drawn = re.sub(r' xmlns(:xlink)?="[^"]*"', "", drawn).replace("xlink:href", "href")
    attributes = f'role="img" aria-label="{escape(label)}"'
    return drawn.replace("<svg ", f"<svg {attributes} ", 1)


def _number(value: Any) -> str:
    """Format a value: thousands separators, three significant digits, a dash for no value."""
    if value is None:
        return "–"
    if isinstance(value, float) and math.isnan(value):
        return "–"
    # a bool is an int too, so it comes first
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def _is_figure(shown: str) -> bool:
    """Whether a cell holds only numbers, such as "0.012 (0.003 to 0.021)"."""
    return not re.search(r"[^\W\d_]", shown.replace(" to ", ""))
