"""Marking what matched in the texts of a result."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson

START, STOP = "\u0002", "\u0003"
EXCERPT_CHARACTERS = 240
# Words of one page that the database is asked about; those beyond stay unmarked.
MAX_CANDIDATES = 20_000
_WORD = re.compile(r"[^\W_]+")

Row = Mapping[str, Any]


def _texts(row: Row) -> Iterator[tuple[str, str]]:
    yield "original_filename", composed(row["original_filename"])
    yield "description", composed(row["description"])
    yield "tags", composed(", ".join(row["tags"]))
    attributes = row["attributes"]
    pairs = orjson.loads(attributes) if isinstance(attributes, str) else attributes
    for key, value in pairs.items():
        yield f"attributes.{key}", composed(value)


def composed(text: str) -> str:
    """`text` with each letter as one character, as the index has it."""
    return unicodedata.normalize("NFC", text)


def candidates(rows: Sequence[Row], words: Collection[str]) -> set[str]:
    """Words of the rows that may match one of `words`, lower case, at most MAX_CANDIDATES.

    A prefix or another grammatical form of a word begins with the same letter, which leaves
    few of the words of a large page.
    """
    first = "".join({word[0] for word in words} | {word[0].upper() for word in words})
    pattern = re.compile(rf"(?<![^\W_])[{first}][^\W_]*")
    found: set[str] = set()
    for row in rows:
        for _, text in _texts(row):
            found.update(match.group().lower() for match in pattern.finditer(text))
        if len(found) > MAX_CANDIDATES:
            return set(sorted(found)[:MAX_CANDIDATES])
    return found


def name_words(rows: Sequence[Row]) -> set[str]:
    """The words of the rows' names, lower case."""
    names = (composed(row["original_filename"]).lower() for row in rows)
    return {match.group() for name in names for match in _WORD.finditer(name)}


def of_row(row: Row, matched: Collection[str]) -> dict[str, str]:
    """Field -> its text with the words of `matched` between START and STOP.

    Long texts are cut to an excerpt around the first match; texts without one are left out.
    """
    found = {}
    for name, text in _texts(row) if matched else ():
        marked = mark(text, matched)
        if marked is not None:
            found[name] = marked
    return found


def mark(text: str, matched: Collection[str]) -> str | None:
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
