"""Measured figures, their floors and goals, and how they are summed up."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and range of several rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def __str__(self) -> str:
        if self.rounds == 1:
            return _short(self.median)
        return (
            f"{_short(self.median)} ({_short(self.low)} to {_short(self.high)},"
            f" {self.rounds} rounds)"
        )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of each with the other of the same round."""
    return [one / other for one, other in zip(ones, others, strict=True)]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report.

    Attributes:
        name: what was measured, with its unit.
        value: as measured.
        floor, goal: of the contract; None where it has none.
        higher_is_better: a ratio or a rate, not a time.
    """

    name: str
    value: Spread
    floor: float | None = None
    goal: float | None = None
    higher_is_better: bool = True

    def meets(self, bound: float | None) -> bool | None:
        """Whether the median is on the right side of a bound."""
        if bound is None:
            return None
        if self.higher_is_better:
            return self.value.median >= bound
        return self.value.median <= bound


@dataclass(slots=True)
class Results:
    """All figures of one part, and what they were measured with.

    Attributes:
        growth: what an operation takes by the number of files: name -> (files, seconds).
    """

    machine: Mapping[str, str]
    parameters: dict[str, object]
    figures: list[Figure] = field(default_factory=list)
    growth: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """One document of parameters and results."""
        return {
            "machine": dict(self.machine),
            "parameters": self.parameters,
            "figures": [
                asdict(one) | {"floor_met": one.meets(one.floor), "goal_met": one.meets(one.goal)}
                for one in self.figures
            ],
            "growth": self.growth,
        }

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> Self:
        """What `as_json` made."""
        return cls(
            document["machine"],
            document["parameters"],
            [
                Figure(
                    one["name"],
                    Spread(**one["value"]),
                    one["floor"],
                    one["goal"],
                    one["higher_is_better"],
                )
                for one in document["figures"]
            ],
            {name: [(n, s) for n, s in points] for name, points in document["growth"].items()},
        )


Book = dict[str, Results]
"""The results of each part, by its name; parts may come from several runs."""


def read_book(path: Path) -> Book:
    """What `write_book` wrote; empty if nobody did."""
    if not path.exists():
        return {}
    parts = json.loads(path.read_text())["parts"]
    return {name: Results.of_json(document) for name, document in parts.items()}


def write_book(path: Path, book: Book) -> None:
    """Write all parts in one document."""
    parts = {name: results.as_json() for name, results in book.items()}
    path.write_text(json.dumps({"parts": parts}, indent=1) + "\n")
