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

from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import FileState

IdentityT = TypeVar("IdentityT")


class Verdict(enum.Enum):
    """What the comparison of a listing with a row asks for."""

    NOTHING = "nothing"
    """Neither side has it."""
    RENEW = "renew"
    """Both agree: only cache_updated_at may move."""
    READ = "read"
    """The sidecar is new, or not the one the row was made from: read it, then merge."""
    SUSPECT = "suspect"
    """A row without a sidecar: look at the path itself before it is dropped."""


class MergeAction(enum.Enum):
    """What a merge does to the row of a sidecar that it has read."""

    LEAVE = "leave"
    """Somebody who held the file's lock has written it since S0, or is about to: read it again."""
    INSERT = "insert"
    """There is no row."""
    WRITE = "write"
    """The row says something else, or is damaged."""
    RENEW = "renew"
    """The row says the same: only its identity and cache_updated_at move."""


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


def compare(listed: IdentityT | None, row: IdentityT | None, *, row_intact: bool = True) -> Verdict:
    """Compare what the listing has with what the row was made from.

    Rows written since S0 are compared like all others: a direct write may have been undone by
    hand before the listing. Whether the row may be changed is decided when that is tried.

    Args:
        listed: the sidecar's identity in the listing, None when it was not listed.
        row: the identity in the row, None when there is no row.
        row_intact: the row still has the content it was written with.
    """
    if row is None:
        return Verdict.NOTHING if listed is None else Verdict.READ
    if listed is None:
        return Verdict.SUSPECT
    if listed != row or not row_intact:
        return Verdict.READ
    return Verdict.RENEW


def merge_action(
    row_sequence: int | None, s0: int, *, says_the_same: bool, uploading: bool
) -> MergeAction:
    """What a merge does with a sidecar read after S0.

    This is the model: the server decides in SQL (`catalog/merge.py`), which
    `tests/integration/catalog/test_merge_decides.py` holds to it.

    Args:
        row_sequence: of the row as it is at the merge, None when there is none.
        says_the_same: the row is intact and has the sidecar's content.
        uploading: an upload of the file has its intent on record and no row yet.
    """
    if row_sequence is None:
        return MergeAction.LEAVE if uploading else MergeAction.INSERT
    if row_sequence > s0:
        return MergeAction.LEAVE
    return MergeAction.RENEW if says_the_same else MergeAction.WRITE


def may_drop(row_sequence: int, s0: int, found: Found) -> bool:
    """Whether a row may go: not written since S0, and a direct look says that it has no sidecar.

    Args:
        s0: the feed's head before that look.
    """
    return found.disproves_row and row_sequence <= s0


def keeps_id(row_sequence: int, s0: int, found: Found) -> bool:
    """Of two sidecars with one id: whether the one that the row names wins over another."""
    return not found.disproves_row or row_sequence > s0


def kind_of_repair(state: FileState, row_state: FileState | None) -> ChangeKind:
    """What is told of a row that is written from a sidecar which nobody is known to have changed.

    Args:
        state: of the sidecar.
        row_state: of the row before; None when there was none.
    """
    if state is FileState.ERASED:
        return ChangeKind.ERASED
    if row_state is None:
        return ChangeKind.CREATED
    if state is FileState.DELETED and row_state is not FileState.DELETED:
        return ChangeKind.DELETED
    if state is not FileState.DELETED and row_state is FileState.DELETED:
        return ChangeKind.UNDELETED
    return ChangeKind.UPDATED
