"""Marking what matched in the texts of a result: the database says where (`artstore_marks`)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

START, STOP = "\u0002", "\u0003"
EXCERPT_CHARACTERS = 240
# Parameters: texts; a tsquery, and what words that match it begin with; or words that others are
# to resemble; how far beyond the first match to look.
MARKS = """
    SELECT artstore_marks(text, $2::text::tsquery, $3::text[], $4::text[], $5::integer) AS marks
    FROM unnest($1::text[]) WITH ORDINALITY AS given(text, at) ORDER BY at
"""

Row = Mapping[str, Any]
# Field, and its text.
Texts = Sequence[tuple[str, str]]


def texts_of(row: Row) -> Texts:
    """What may be marked in a row, as it stands: the fields that its `matched` names, in the order
    of weights, or the name alone without one.
    """
    return list(_texts(row, row.get("matched") or (True, False, False, False)))


def _texts(row: Row, matched: Sequence[bool]) -> Iterator[tuple[str, str]]:
    name, tags, description, rest = matched
    if name:
        yield "original_filename", row["original_filename"]
    if tags:
        yield "tags", ", ".join(row["tags"])
    if description:
        yield "description", row["description"]
    if rest:
        attributes = row["attributes"]
        pairs = orjson.loads(attributes) if isinstance(attributes, str) else attributes
        for key, value in pairs.items():
            yield f"attributes.{key}", value


def composed(text: str) -> str:
    """`text` with each letter as one character, as it is typed and as the database looks at it."""
    return unicodedata.normalize("NFC", text)


def _uncomposed(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where `spans` of the composed text are in `text`."""
    if unicodedata.is_normalized("NFC", text):
        return spans
    # For each character of the composed text, where in `text` the letter it is of begins.
    begins: list[int] = []
    begin = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or _begins(text[begin:at], text[at]):
            begins += [begin] * len(composed(text[begin:at]))
            begin = at
    begins.append(len(text))
    if len(begins) != len(composed(text)) + 1:
        return [(0, len(text))]
    return _joined([at for first, last in spans for at in (begins[first], begins[last])])


def _begins(before: str, character: str) -> bool:
    """Whether a character after that letter is of it no more."""
    if unicodedata.combining(character):
        return False
    return character.isascii() or composed(before + character) == composed(before) + composed(
        character
    )


def marked(texts: Texts, marks: Sequence[Sequence[int]]) -> dict[str, str]:
    """Field -> its text with what matched between START and STOP.

    Long texts are cut to an excerpt around the first match; texts without one are left out.

    Args:
        marks: for each text where, composed, a match begins and where it ends, again and again.
    """
    return {
        name: mark(text, _uncomposed(text, _joined(at)))
        for (name, text), at in zip(texts, marks, strict=True)
        if at
    }


def _joined(marks: Sequence[int]) -> list[tuple[int, int]]:
    """Those that meet or overlap as one."""
    spans: list[tuple[int, int]] = []
    for first, last in zip(marks[::2], marks[1::2], strict=True):
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return spans


def mark(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """`text` with the spans marked."""
    begin = max(0, spans[0][0] - EXCERPT_CHARACTERS // 3) if len(text) > EXCERPT_CHARACTERS else 0
    end = min(len(text), max(begin + EXCERPT_CHARACTERS, spans[0][1]))
    pieces, at = ["…" if begin else ""], begin
    for first, last in spans:
        if last > end:
            break
        pieces += [text[at:first], START, text[first:last], STOP]
        at = last
    return "".join([*pieces, text[at:end], "…" if end < len(text) else ""])
