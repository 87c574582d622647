"""Charts as SVG: lines over two logarithmic axes, a few kilobytes, readable on light and on dark. Pure.

A plotting library would draw more than is needed here, in files ten times as large and in one scheme of colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 40, 40, 50
LEGEND = 18
"""Height of a line of the legend."""

_STYLE = """
svg { font: 13px system-ui, sans-serif; color: #24292f; background: #fff }
text { fill: currentColor } .title { font-size: 15px; font-weight: 600 }
.grid { stroke: currentColor; stroke-opacity: .15 } .line { fill: none; stroke-width: 2 }
.floor { stroke-dasharray: 5 4 }
.c0 { color: #0969da } .c1 { color: #bc4c00 } .c2 { color: #1a7f37 } .c3 { color: #8250df } .c4 { color: #57606a }
@media (prefers-color-scheme: dark) {
svg { color: #e6edf3; background: #0d1117 }
.c0 { color: #58a6ff } .c1 { color: #f0883e } .c2 { color: #3fb950 } .c3 { color: #bc8cff } .c4 { color: #8b949e }
}
"""
COLOURS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """Points, each x and y above 0. A `floor` is drawn dashed."""

    name: str
    points: Sequence[tuple[float, float]]
    floor: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A title; what stands at both axes; the values that the x axis names, in words; and up to `COLOURS` lines."""

    title: str
    x: str
    y: str
    ticks: Sequence[tuple[float, str]]
    lines: Sequence[Line]


def draw(chart: Chart) -> str:
    """The chart as an SVG document."""
    xs = [x for x, _ in chart.ticks] + [x for line in chart.lines for x, _ in line.points]
    ys = [y for line in chart.lines for _, y in line.points]
    decades = range(floor(log10(min(ys))), ceil(log10(max(ys))) + 1)
    top = TOP + LEGEND * len(chart.lines)
    across = _Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _Scale(10.0 ** decades[0], 10.0 ** max(decades[-1], decades[0] + 1), HEIGHT - BOTTOM, top)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(chart.title)}</title><style>{_STYLE}</style>",
        _text(LEFT, 24, chart.title, "start", "title"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, chart.x),
        f'<g transform="rotate(-90)">{_text(-(top + HEIGHT - BOTTOM) / 2, 16, chart.y)}</g>',
    ]
    for value, name in chart.ticks:
        at = across.at(value)
        parts += [_grid(at, top, at, HEIGHT - BOTTOM), _text(at, HEIGHT - BOTTOM + 18, name)]
    for decade in decades:
        at = up.at(10.0**decade)
        parts += [_grid(LEFT, at, WIDTH - RIGHT, at), _text(LEFT - 8, at + 4, _short(10.0**decade), "end")]
    for number, line in enumerate(chart.lines):
        points = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in line.points)
        kind = "line floor" if line.floor else "line"
        at = TOP + LEGEND * number
        parts += [
            f'<g class="c{number}"><polyline class="{kind}" stroke="currentColor" points="{points}"/>',
            f'<polyline class="{kind}" stroke="currentColor" points="{LEFT},{at} {LEFT + 26},{at}"/></g>',
            _text(LEFT + 34, at + 4, line.name, "start"),
        ]
    return "\n".join((*parts, "</svg>\n"))


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places, logarithmically."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """The place of a value."""
        share = log10(value / self.low) / log10(self.high / self.low)
        return self.begin + share * (self.end - self.begin)


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _grid(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
