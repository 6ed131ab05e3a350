"""The figures as a table for people."""

from __future__ import annotations

from bench.figures import Figure, Results

GROWTH = "growth.svg"


def _bound(figure: Figure, bound: float | None) -> str:
    if bound is None:
        return "–"
    return f"{bound:g} {'met' if figure.meets(bound) else 'MISSED'}"


def as_markdown(results: Results) -> str:
    """A page with machine, parameters and one row a figure."""
    lines = ["# Measured", ""]
    lines += [f"- {name}: {value}" for name, value in results.machine.items()]
    lines += [f"- {name}: {value}" for name, value in results.parameters.items()]
    lines += ["", "Median (lowest to highest round). Ratios are of pairs in one round.", ""]
    lines += ["| what | measured | floor | goal |", "|---|---|---|---|"]
    lines += [
        f"| {one.name} | {one.value} | {_bound(one, one.floor)} | {_bound(one, one.goal)} |"
        for one in results.figures
    ]
    if results.growth:
        lines += ["", "How the cost grows with the number of files:", "", f"![]({GROWTH})"]
    return "\n".join(lines) + "\n"
