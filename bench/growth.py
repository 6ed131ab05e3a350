"""How cost grows with the number of files: points, and a chart of two logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Series = Mapping[str, Sequence[tuple[int, float]]]
"""Curves by name: (files, seconds)."""

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 200, 30, 50
COLOURS = ("#1b6ca8", "#c0392b", "#27864c", "#8e44ad", "#b9770e", "#555555")


def as_svg(series: Series) -> str:
    """A drawing of at least one curve with at least one point; seconds are above 0."""
    files = [count for points in series.values() for count, _ in points]
    times = [took for points in series.values() for _, took in points]
    across = _Axis(min(files), max(files), LEFT, WIDTH - RIGHT)
    up = _Axis(min(times), max(times), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for value in across.decades():
        at = across.place(value)
        parts.append(_line(at, TOP, at, HEIGHT - BOTTOM))
        parts.append(_text(at, HEIGHT - BOTTOM + 18, f"{value:,.0f}", "middle"))
    for value in up.decades():
        at = up.place(value)
        parts.append(_line(LEFT, at, WIDTH - RIGHT, at))
        parts.append(_text(LEFT - 8, at + 4, f"{value:g} s", "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "files", "middle"))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across.place(count), up.place(took)) for count, took in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        label = TOP + 12 + 20 * number
        parts.append(_line(WIDTH - RIGHT + 15, label - 4, WIDTH - RIGHT + 35, label - 4, colour))
        parts.append(_text(WIDTH - RIGHT + 42, label, name, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """A logarithmic axis of whole decades, from pixel `begin` to pixel `end`."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self._low = math.floor(math.log10(low))
        self._high = max(math.ceil(math.log10(high)), self._low + 1)
        self._begin, self._end = begin, end

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)

    def decades(self) -> list[float]:
        return [10.0**exponent for exponent in range(self._low, self._high + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "#dddddd") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
