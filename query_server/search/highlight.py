"""Marking what matched in the texts of a result."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

START, STOP = "\u0002", "\u0003"
EXCERPT_CHARACTERS = 240
_WORD = re.compile(r"[^\W_]+")


def _texts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "original_filename", row["original_filename"]
    yield "description", row["description"]
    yield "tags", ", ".join(row["tags"])
    attributes = row["attributes"]
    pairs = orjson.loads(attributes) if isinstance(attributes, str) else attributes
    for key, value in pairs.items():
        yield f"attributes.{key}", value


def words_of_row(row: Mapping[str, Any]) -> set[str]:
    """Every word of the row's searchable texts, lower case."""
    return {match.group().lower() for _, text in _texts(row) for match in _WORD.finditer(text)}


def of_row(row: Mapping[str, Any], matched: frozenset[str]) -> dict[str, str]:
    """Field -> its text with the words of `matched` between START and STOP.

    Long texts are cut to an excerpt around the first match; texts without one are left out.
    """
    found = {}
    for name, text in _texts(row):
        marked = mark(text, matched)
        if marked is not None:
            found[name] = marked
    return found


def mark(text: str, matched: frozenset[str]) -> str | None:
    """`text` with the matched words marked; None when there is none."""
    spans = [m.span() for m in _WORD.finditer(text) if m.group().lower() in matched]
    if not spans:
        return None
    begin = max(0, spans[0][0] - EXCERPT_CHARACTERS // 3) if len(text) > EXCERPT_CHARACTERS else 0
    end = min(len(text), max(begin + EXCERPT_CHARACTERS, spans[0][1]))
    pieces, at = ["…" if begin else ""], begin
    for first, last in spans:
        if last > end:
            break
        pieces += [text[at:first], START, text[first:last], STOP]
        at = last
    return "".join([*pieces, text[at:end], "…" if end < len(text) else ""])
