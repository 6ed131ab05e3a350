"""Change tokens: "the index has this change" as an opaque text.

An upload answers one, a search waits for it. The text is `{element_id}.{epoch}.{sequence}`;
an epoch holds no dot.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.errors import InvalidArgument

_MAX_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class ChangeToken:
    """A place in one element's feed: the change with `sequence` in the feed `epoch`."""

    element_id: str
    epoch: str
    sequence: int


def encode(element_id: str, epoch: str, sequence: int) -> str:
    """The token of a change."""
    return f"{element_id}.{epoch}.{sequence}"


def decode(token: str) -> ChangeToken:
    """Undo `encode`. Raises InvalidArgument (field `min_change_tokens`) for any other text."""
    parts = token.rsplit(".", 2)
    if len(token) <= _MAX_CHARACTERS and len(parts) == 3 and parts[0] and parts[1]:
        digits = parts[2]
        if digits.isascii() and digits.isdecimal() and len(digits) <= 19:
            return ChangeToken(parts[0], parts[1], int(digits))
    raise InvalidArgument("not a change token of this mesh", field="min_change_tokens")
