"""Drawings of results: curves on two logarithmic axes, and changes from before to now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

Series = Mapping[str, Sequence[tuple[int, float]]]
"""Curves by name: (files, seconds)."""

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 240, 30, 50
COLOURS = (
    "#1b6ca8",
    "#c0392b",
    "#27864c",
    "#8e44ad",
    "#b9770e",
    "#555555",
    "#138d90",
    "#a04070",
    "#111111",
)
_GREY = "#dddddd"
_ROW, _NAMES = 18, 540


@dataclass(frozen=True, slots=True)
class Change:
    """How near to a goal something was and is: 1 is the goal, more is better; None if unknown."""

    name: str
    before: float | None
    now: float


def curves(series: Series, before: Series | None = None) -> str:
    """A drawing of at least one curve with at least one point; seconds are above 0.

    Args:
        before: curves of the same names, to be dashed.
    """
    earlier = {name: points for name, points in (before or {}).items() if name in series}
    every = [point for one in (series, earlier) for points in one.values() for point in points]
    across = _Axis.around([count for count, _ in every], LEFT, WIDTH - RIGHT)
    up = _Axis.around([took for _, took in every], HEIGHT - BOTTOM, TOP)
    parts = []
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
        for some, dashes in ((points, ""), (earlier.get(name, ()), ' stroke-dasharray="5 4"')):
            if some:
                parts += _curve([(across.place(n), up.place(took)) for n, took in some],
                                colour, dashes)  # fmt: skip
        label = TOP + 12 + 20 * number
        parts.append(_line(WIDTH - RIGHT + 15, label - 4, WIDTH - RIGHT + 35, label - 4, colour))
        parts.append(_text(WIDTH - RIGHT + 42, label, name, "start"))
    return _page(WIDTH, HEIGHT, parts)


def changes(found: Sequence[Change]) -> str:
    """A line for each of at least one: hollow is before, filled is now."""
    shares = [share for one in found for share in (one.before, one.now) if share]
    across = _Axis.around([*shares, 1.0], _NAMES + 20, WIDTH + 240)
    bottom = TOP + _ROW * len(found)
    parts = []
    for value in across.decades():
        at = across.place(value)
        parts.append(_line(at, TOP - 8, at, bottom, "#333333" if value == 1 else _GREY))
        parts.append(_text(at, TOP - 14, f"{value:g}", "middle"))
    for number, one in enumerate(found):
        at = TOP + _ROW * number + _ROW / 2
        parts.append(_text(_NAMES, at + 4, one.name, "end"))
        now = across.place(one.now)
        if one.before:
            was = across.place(one.before)
            parts.append(_line(was, at, now, at, COLOURS[0]))
            parts.append(_dot(was, at, COLOURS[0], "white"))
        parts.append(_dot(now, at, COLOURS[0], COLOURS[0]))
    return _page(WIDTH + 260, bottom + 10, parts)


def _curve(places: Sequence[tuple[float, float]], colour: str, dashes: str) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
    return [drawn, *(_dot(x, y, colour, "white" if dashes else colour) for x, y in places)]


class _Axis:
    """A logarithmic axis of whole decades, from pixel `begin` to pixel `end`."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self._low = math.floor(math.log10(low))
        self._high = max(math.ceil(math.log10(high)), self._low + 1)
        self._begin, self._end = begin, end

    @classmethod
    def around(cls, values: Sequence[float], begin: float, end: float) -> _Axis:
        return cls(min(values), max(values), begin, end)

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)

    def decades(self) -> list[float]:
        return [10.0**exponent for exponent in range(self._low, self._high + 1)]


def _page(width: float, height: float, parts: Sequence[str]) -> str:
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = _GREY) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _dot(x: float, y: float, stroke: str, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" stroke="{stroke}" fill="{fill}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
