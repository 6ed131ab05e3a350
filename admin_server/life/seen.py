"""What admin knows of a file when it decides: the sidecars that answered, what is on record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class CopyState(StrEnum):
    """As in sidecars."""

    ACTIVE = "active"
    COPY = "copy"
    INCOMING = "incoming"
    MOVED = "moved"
    DELETED = "deleted"
    GONE = "gone"
    ERASED = "erased"


HOMES = frozenset({CopyState.ACTIVE, CopyState.DELETED})
"""A file has at most one of these."""

MAY_BECOME_HOME = frozenset({CopyState.COPY, CopyState.INCOMING, CopyState.MOVED})
"""Those with bytes that are no home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One file's sidecar on one element.

    Attributes:
        home_since: milliseconds since 1970; where a sidecar tells none, the time in the file's id.
        digest: of the sidecar, what a step is conditional on.
        moved_to: of moved and gone; of a copy, its own element: it was set aside and waits for a
            home or for ADMIN's word.
        deleted_at: as the sidecar has it.
        bytes_present: whether its blob is there; only of a tombstone it may rightly be missing.
        text: equal for two sidecars exactly if they say the same of the file. What each element has
            of its own is left out: state, revision, updated_at, home_since, moved_to, finalized_at,
            finalized_to, deleted_at, where the blob lies, and what an answer tells of the element
            and of its cache.
    """

    element_id: str
    state: CopyState
    home_since: int
    revision: int
    digest: str
    updated_at: datetime
    text: bytes
    moved_to: str = ""
    deleted_at: datetime | None = None
    expires_at: datetime | None = None
    bytes_present: bool = True
    sha256: str = ""
    legal_hold: bool = False

    @property
    def pair(self) -> tuple[int, int]:
        """Its place in the file's history; of two homes the higher is right."""
        return self.home_since, self.revision

    @property
    def lateness(self) -> tuple[int, int, tuple[int, ...]]:
        """The higher is later; of equal ones that on the lower element id."""
        return (*self.pair, tuple(-ord(letter) for letter in self.element_id))

    @property
    def is_set_aside(self) -> bool:
        """Whether it is kept for ADMIN's word: its deleted_at is not the file's."""
        return self.state is CopyState.COPY and self.moved_to != ""

    @property
    def is_of_deleted(self) -> bool:
        """Whether it is the tombstone, or says that its home is deleted."""
        if self.state is CopyState.DELETED:
            return True
        return self.deleted_at is not None and not self.is_set_aside

    def says_as(self, other: Copy) -> bool:
        """Whether both say the same of the file, and of whether it is deleted."""
        return self.text == other.text and self.is_of_deleted == other.is_of_deleted


class TransferKind(StrEnum):
    """As in the contract."""

    FINALIZE = "finalize"
    MOVE = "move"
    COPY = "copy"
    HEAL = "heal"


@dataclass(frozen=True, slots=True)
class Transfer:
    """The one transfer of the file that is under way."""

    kind: TransferKind
    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was found when everybody was asked about one file.

    The copies were looked at one after another: a step's 60 seconds count from the first.

    Attributes:
        copies: the sidecars that answered, of every state, at most one of each element.
        answered: elements that answered, with a sidecar or without.
        silent: elements that did not and are not marked as lost.
        lost: elements marked as lost that did not answer.
        everybody: each element that admin or any element's `peers` names has answered or is lost.
        closed: of those that answered, the ones that were away and are being compared.
        transfer: the one under way, COPYING or SWITCHING.
        making_home: an Activate of this file is on record whose end is not known, or admin's tables
            are younger than 60 seconds, so that one may be.
    """

    copies: tuple[Copy, ...]
    answered: frozenset[str]
    silent: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    everybody: bool
    closed: frozenset[str] = frozenset()
    transfer: Transfer | None = None
    making_home: bool = False

    @property
    def rules_out_unknown_homes(self) -> bool:
        """Whether no Activate can be taken that admin's tables do not know, now or later.

        One is conditional on a sidecar that was there when it was decided. None is there that one
        could be taken on, and what comes from here on is another one.
        """
        at_rest = self.everybody and not self.lost
        is_active = any(one.state is CopyState.ACTIVE for one in self.copies)
        may_become = any(one.state in MAY_BECOME_HOME for one in self.copies)
        return at_rest and is_active and not may_become


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How many copies are wanted where, and how long what is left over stays.

    Attributes:
        copies: wanted, the home counted; 1 to 5.
        targets: elements that take a copy, the best first: open, not draining, of a mode that
            creates, with room, of failure domains that the file is not in yet.
        moved_keep: how long a source gives bytes after its file has moved.
        incoming_keep: how long what arrived waits for a transfer.
        expired_keep: from expires_at to the trash.
        tombstone_keep: how long the last record of a deleted file stays at least; more than a
            ticket's life and a call's 60 seconds.
    """

    copies: int = 1
    targets: tuple[str, ...] = ()
    moved_keep: timedelta = timedelta(hours=24)
    incoming_keep: timedelta = timedelta(days=7)
    expired_keep: timedelta = timedelta(hours=24)
    tombstone_keep: timedelta = timedelta(days=30)
