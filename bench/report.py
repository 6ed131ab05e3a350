"""The figures as a page for people: first what has a floor or a goal, then what stands beside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bench import drawing
from bench.figures import Book, Figure, Results, Spread
from bench.goals import ROWS

CHANGE, GROWTH = "before-after.svg", "growth.svg"
_HEAD = ["| what | before | measured | floor | goal | |", "|---|---|---|---|---|---|"]
_NOT = "–"
_NONE = Spread(0, 0, 0, 0)


def as_markdown(book: Book, before: Book | None = None, *, whole: bool = True) -> str:
    """Machine and parameters of each part, one table of all floors and goals, one of the rest.

    Args:
        before: of an earlier version, to be shown beside it.
        whole: also rows that were not measured, and the drawings.
    """
    earlier = _by_name(before or {})
    now = _by_name(book)
    lines = ["# Measured", ""]
    lines += [
        "Median (lowest to highest round). Ratios are of pairs in one round, which take turns.",
        "Processor time is user + system of a process and of its children.",
        "",
    ]
    lines += _HEAD
    for row in ROWS.values():
        figure = now.pop(row.name, None)
        if figure is None and not whole:
            continue
        unmeasured = Figure(row.name, _NONE, row.floor, row.goal, row.higher_is_better)
        lines.append(_line(figure or unmeasured, earlier, measured=figure is not None))
    bounded = [one for one in now.values() if one.floor is not None or one.goal is not None]
    lines += [_line(one, earlier) for one in bounded]
    if whole:
        lines += _pictures(book, before or {})
    lines += ["", "## Beside them", "", *_HEAD]
    lines += [_line(one, earlier) for one in now.values() if one not in bounded]
    for title, parts in (("With what", book), ("With what before", before or {})):
        if parts:
            lines += ["", f"## {title}", "", *_surroundings(parts)]
    return "\n".join(lines) + "\n"


def write_page(folder: Path, book: Book, before: Book, name: str = "report.md") -> None:
    """The page and its drawings."""
    (folder / name).write_text(as_markdown(book, before))
    for path, picture in _drawings(book, before).items():
        (folder / path).write_text(picture)


def _by_name(book: Book) -> dict[str, Figure]:
    return {one.name: one for results in book.values() for one in results.figures}


def _line(figure: Figure, earlier: Mapping[str, Figure], *, measured: bool = True) -> str:
    before = earlier.get(figure.name)
    cells = [
        figure.name,
        f"{before.value}" if before else _NOT,
        f"{figure.value}" if measured else _NOT,
        _bound(figure.floor),
        _bound(figure.goal),
        _verdict(figure) if measured else "not measured",
    ]
    return f"| {' | '.join(cells)} |"


def _bound(bound: float | None) -> str:
    return _NOT if bound is None else f"{bound:.4g}"


def _verdict(figure: Figure) -> str:
    if figure.floor is None and figure.goal is None:
        return ""
    if figure.meets(figure.floor) is False:
        return "floor MISSED"
    if figure.goal is None:
        return "floor held"
    if figure.meets(figure.goal):
        return "goal met"
    return "goal missed" if figure.floor is None else "floor held, goal missed"


def _surroundings(book: Book) -> Iterator[str]:
    for name, results in book.items():
        told = [*results.machine.items(), *results.parameters.items()]
        yield f"- {name}: " + "; ".join(f"{key} {value}" for key, value in told)


def _drawings(book: Book, before: Book) -> dict[str, str]:
    found = {}
    changed = _changed(book, before)
    if changed:
        found[CHANGE] = drawing.changes(changed)
    curves = _curves(book.values())
    if curves:
        found[GROWTH] = drawing.curves(curves, _curves(before.values()))
    return found


def _curves(parts: Iterable[Results]) -> dict[str, list[tuple[int, float]]]:
    return {name: points for results in parts for name, points in results.growth.items()}


def _changed(book: Book, before: Book) -> list[drawing.Change]:
    """Of the rows with a goal above 0: how many times better than the goal, before and now."""
    earlier, now = _by_name(before), _by_name(book)
    found = []
    for row in ROWS.values():
        figure = now.get(row.name)
        if figure is None or not row.goal or not figure.value.median:
            continue
        was = earlier.get(row.name)
        found.append(
            drawing.Change(
                row.name,
                _of_goal(was, row.goal) if was and was.value.median else None,
                _of_goal(figure, row.goal),
            )
        )
    return found


def _of_goal(figure: Figure, goal: float) -> float:
    share = figure.value.median / goal
    return share if figure.higher_is_better else 1 / share


def _pictures(book: Book, before: Book) -> list[str]:
    captions = {
        CHANGE: "Of the goal: before (hollow) and now; right of the line it is met.",
        GROWTH: "How the cost grows with the number of files (dashed: before).",
    }
    lines = []
    for path in _drawings(book, before):
        lines += ["", captions[path], "", f"![]({path})"]
    return lines
