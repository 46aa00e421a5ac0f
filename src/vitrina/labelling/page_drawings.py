"""The curve and the histogram of the labelling page, as SVG without styles of its own.

The page's policy forbids styles in attributes: classes of label.css give the colours.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from vitrina.labelling.audit import ClassScore, Estimate

_WIDTH, _HEIGHT = 400, 172
_LEFT, _RIGHT, _TOP, _BOTTOM = 32, 390, 8, 150
_LEAST_SIZE = 40
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw_curve(points: list[tuple[int, ClassScore]]) -> Markup:
    """Draw AUC and average precision with their intervals against the number of labels.

    Parameters
    ----------
    points : list of (int, ClassScore)

    Returns
    -------
    Markup
        SVG.
    """
    largest = max([_LEAST_SIZE, *(size for size, _ in points)])
    parts = [_grid()]
    for size in _round_sizes(largest):
        x = _LEFT + (_RIGHT - _LEFT) * size / largest
        parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 15}" text-anchor="middle">{size}</text>')
    for name, attribute in (("ap", "average_precision"), ("auc", "auc")):
        estimates = [(size, getattr(score, attribute)) for size, score in points]
        known = [(size, estimate) for size, estimate in estimates if estimate is not None]
        parts.append(_line(name, known, largest))
    return _svg(parts, "AUC and average precision against the number of labels")


def _line(name: str, known: list[tuple[int, Estimate]], largest: int) -> str:
    """A line with markers, and a band for the intervals."""
    if not known:
        return ""
    places = []
    for size, estimate in known:
        places.append((_LEFT + (_RIGHT - _LEFT) * size / largest, estimate))
    upper = [f"{x:.1f},{_y(estimate.high):.1f}" for x, estimate in places]
    lower = [f"{x:.1f},{_y(estimate.low):.1f}" for x, estimate in reversed(places)]
    middle = [f"{x:.1f},{_y(estimate.value):.1f}" for x, estimate in places]
    x, last = places[-1]
    return (
        f'<polygon class="band {name}" points="{" ".join(upper + lower)}"/>'
        f'<polyline class="line {name}" points="{" ".join(middle)}"/>'
        f'<circle class="dot {name}" cx="{x:.1f}" cy="{_y(last.value):.1f}" r="3.5"/>'
    )


def draw_histogram(counts: npt.NDArray[np.int64]) -> Markup:
    """Draw the counts of equal parts of the range from 0 to 1, with logarithmic heights.

    Parameters
    ----------
    counts : ndarray of shape (bins,), int64

    Returns
    -------
    Markup
        SVG.
    """
    highest = math.log1p(max(int(counts.max()), 1))
    width = (_RIGHT - _LEFT) / len(counts)
    parts = []
    power = 1
    while math.log1p(power) <= highest:
        y = _BOTTOM - (_BOTTOM - _TOP) * math.log1p(power) / highest
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>')
        parts.append(
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{_short(power)}</text>'
        )
        power *= 10
    for i, count in enumerate(counts.tolist()):
        height = (_BOTTOM - _TOP) * math.log1p(count) / highest
        low, high = i / len(counts), (i + 1) / len(counts)
        parts.append(
            f'<rect class="bar" x="{_LEFT + i * width + 0.75:.2f}" y="{_BOTTOM - height:.1f}" '
            f'width="{width - 1.5:.2f}" height="{height:.1f}">'
            f"<title>{low:.2f} to {high:.2f}: {count:,} titles</title></rect>"
        )
    parts.append(f'<path class="axis" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>')
    for value in _TICKS:
        x = _LEFT + (_RIGHT - _LEFT) * value
        anchor = "end" if value == 1 else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{_BOTTOM + 15}" text-anchor="{anchor}">{value:g}</text>'
        )
    return _svg(parts, "number of titles of the catalogue by their probability")


def _svg(parts: list[str], label: str) -> Markup:
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
    return Markup(f"{head}{''.join(parts)}</svg>")


def _grid() -> str:
    """Horizontal lines from 0 to 1 with their numbers."""
    parts = []
    for value in _TICKS:
        kind = "axis" if value == 0 else "grid"
        y = _y(value)
        parts.append(f'<path class="{kind}" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    return "".join(parts)


def _y(value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * value


def _round_sizes(largest: int) -> list[int]:
    """Up to five round numbers of labels."""
    step = 10 ** math.floor(math.log10(largest))
    while largest / step < 4:
        step = step // 2 if step % 2 == 0 else step // 5
    return list(range(0, largest + 1, step * math.ceil(largest / step / 5)))


def _short(count: int) -> str:
    """Write 10000 as "10k"."""
    return f"{count // 1000}k" if count >= 1000 else f"{count}"
