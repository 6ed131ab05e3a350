"""Cursors of change feeds as texts: opaque to the contract, read by servers of one mesh only.

The text is `{epoch}.{sequence}.{change_id}`; neither epoch nor change_id holds a dot.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.errors import InvalidArgument

_MAX_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """A place in a feed: everything up to `sequence` of `epoch` is applied.

    Attributes:
        epoch: the feed's history; empty asks for a snapshot.
        sequence: last change applied; sequences of one epoch have no gaps.
        change_id: random id of that change: an element restored from a backup may use the
            same sequence again for another change. Empty at a place that no change has.
    """

    epoch: str = ""
    sequence: int = 0
    change_id: str = ""


def encode(epoch: str, sequence: int, change_id: str) -> str:
    """The text of a cursor; empty for none."""
    return f"{epoch}.{sequence}.{change_id}" if epoch else ""


def decode(text: str) -> FeedCursor:
    """Undo `encode`. Raises InvalidArgument (field `cursor`) for any other text."""
    if not text:
        return FeedCursor()
    parts = text.split(".")
    if len(text) <= _MAX_CHARACTERS and len(parts) == 3 and parts[0]:
        digits = parts[1]
        if digits.isascii() and digits.isdecimal() and len(digits) <= 18:
            return FeedCursor(parts[0], int(digits), parts[2])
    raise InvalidArgument(
        "not a cursor of a change feed; leave it empty for a snapshot", field="cursor"
    )
