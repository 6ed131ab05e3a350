"""What a repair may do to one row. Pure: the server and the exhaustive model both call this.

A repair notes the feed's head S0 before it lists or reads anything. It may change or drop only
rows that were last written at or before S0: a row with a later sequence was written by somebody
who held the file's lock and had the newer sidecar in hand. Revision never decides, since a
store that was restored or edited by hand has lower ones and is the truth all the same
(correctness 8).
"""

from __future__ import annotations

import enum
from typing import TypeVar

IdentityT = TypeVar("IdentityT")


class Verdict(enum.Enum):
    """What the comparison of a listing with a row asks for."""

    NOTHING = "nothing"
    """Neither side has it, or a direct write has dealt with it since S0."""
    RENEW = "renew"
    """Both agree: only cache_updated_at may move."""
    READ = "read"
    """The sidecar is new, or not the one the row was made from: read it, then merge."""
    SUSPECT = "suspect"
    """A row without a sidecar: look at the path itself before it is dropped."""


class Found(enum.Enum):
    """What a direct look finds at the path that a row names."""

    ABSENT = "absent"
    """Nothing: there is no sidecar."""
    OWN = "own"
    """A valid sidecar of the row's file."""
    OTHERS = "others"
    """A valid sidecar of another file."""
    INVALID = "invalid"
    """Something that can't be used. The row stays: it is the best that is known."""

    @property
    def disproves_row(self) -> bool:
        """The row's file has no sidecar where the row says."""
        return self in (Found.ABSENT, Found.OTHERS)


def compare(
    listed: IdentityT | None,
    row: IdentityT | None,
    *,
    row_sequence: int,
    row_intact: bool,
    s0: int,
) -> Verdict:
    """Compare what the listing has with what the row was made from.

    Args:
        listed: the sidecar's identity in the listing, None when it was not listed.
        row: the identity in the row, None when there is no row.
        row_sequence: the sequence that wrote the row; ignored without a row.
        row_intact: the row still has the content it was written with.
        s0: the feed's head before the listing began.
    """
    if row is None:
        return Verdict.NOTHING if listed is None else Verdict.READ
    if row_sequence > s0:
        return Verdict.NOTHING
    if listed is None:
        return Verdict.SUSPECT
    if listed != row or not row_intact:
        return Verdict.READ
    return Verdict.RENEW


def may_change(row_sequence: int | None, s0: int) -> bool:
    """Whether a merge may write what it read over the row that is there now.

    None stands for no row: then it inserts, and does nothing on a conflict.
    """
    return row_sequence is None or row_sequence <= s0


def may_drop(row_sequence: int, s0: int, found: Found) -> bool:
    """Whether a row may go: not written since S0, and a direct look says that it has no sidecar."""
    return found.disproves_row and row_sequence <= s0


def keeps_id(row_sequence: int, s0: int, found: Found) -> bool:
    """Of two sidecars with one id: whether the one that the row names wins over another."""
    return not found.disproves_row or not may_change(row_sequence, s0)
