"""Measured figures, their floors and goals, and how they are summed up."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


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
        return f"{self.median:.4g} ({self.low:.4g} to {self.high:.4g}, {self.rounds} rounds)"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


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
    """All figures of one run, and what they were measured with.

    Attributes:
        growth: seconds of an operation by the number of files: name -> (files, seconds).
    """

    machine: dict[str, str]
    parameters: dict[str, object]
    figures: list[Figure] = field(default_factory=list)
    growth: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """One document of parameters and results."""
        return {
            "machine": self.machine,
            "parameters": self.parameters,
            "figures": [
                asdict(one) | {"floor_met": one.meets(one.floor), "goal_met": one.meets(one.goal)}
                for one in self.figures
            ],
            "growth": self.growth,
        }
