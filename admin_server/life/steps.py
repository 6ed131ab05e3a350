"""The steps an element may be told to take, each conditional on the sidecar it was decided on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from admin_server.life.seen import Copy, CopyState, Seen, TransferKind

SWITCHING_RETRY_SECONDS = 5.0
"""When it is worth asking again for what waits for the end of a step that makes a home."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Collected(StrEnum):
    """What Collect takes away, as in the contract.

    TO_GONE: a stub stays. TO_DELETED: a home that expired goes into the trash. PURGE: the last
    record. TO_COPY: nothing but being the home. GIVE_UP: what a pull has left; a transfer's worker
    alone asks for it.
    """

    TO_GONE = "to_gone"
    TO_DELETED = "to_deleted"
    PURGE = "purge"
    TO_COPY = "to_copy"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """PullFile: `element_id` reads the file from `source`. `state` is INCOMING or COPY.

    `digest` is empty where there is no sidecar, here as in all steps.
    """

    element_id: str
    digest: str
    source: str
    state: CopyState


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkMoved:
    """The home becomes the source of a move."""

    element_id: str
    digest: str
    moved_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncCopy:
    """`element_id` takes over what `home` says.

    `home` is the home, or the moved source of a switch; or the copy that a closed home takes the
    text of. An earlier home that is told a later one becomes its copy.
    """

    element_id: str
    digest: str
    home: Copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate:
    """`element_id` becomes the home, as ACTIVE or DELETED: put on record before it is sent.

    Attributes:
        revision: that of the moved source; None adds one to its own.
        finalizes: it ends a finalization: finalized_at and finalized_to are set.
    """

    element_id: str
    digest: str
    home_since: int
    revision: int | None
    state: CopyState
    finalizes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Collect:
    """Something of the file is taken away.

    Attributes:
        moved_to: element of the home, for TO_GONE.
        read_back: the file is held: the bytes of its home are read and compared first.
    """

    element_id: str
    digest: str
    step: Collected
    moved_to: str = ""
    read_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Heal:
    """Bytes that are missing here are read from `source`."""

    element_id: str
    digest: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """What only elements that were away have becomes a copy that nobody reads, for ADMIN's word.

    No element takes it yet: it comes with closed elements.
    """

    element_id: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """The file is erased here, also where there is no sidecar of it."""

    element_id: str
    digest: str


Step = Pull | MarkMoved | SyncCopy | Activate | Collect | Heal | SetAside | Erase


def pull(element_id: str, there: Copy | None, home: Copy, *, moves: bool) -> Pull:
    """Over what is there; for a move, or for a copy that is wanted."""
    return Pull(
        element_id=element_id,
        digest=there.digest if there is not None else "",
        source=home.element_id,
        state=CopyState.INCOMING if moves else CopyState.COPY,
    )


def sync(one: Copy, home: Copy) -> SyncCopy:
    """`one` takes over what `home` says."""
    return SyncCopy(element_id=one.element_id, digest=one.digest, home=home)


def collect(one: Copy, step: Collected) -> Collect:
    """A step that names no other element."""
    return Collect(element_id=one.element_id, digest=one.digest, step=step)


def to_copy(one: Copy) -> Collect:
    """A home is none any more, and stays as it stands."""
    return collect(one, Collected.TO_COPY)


def to_gone(one: Copy, home: Copy) -> Collect:
    """A stub stays, which names the home."""
    return Collect(
        element_id=one.element_id,
        digest=one.digest,
        step=Collected.TO_GONE,
        moved_to=home.element_id,
        read_back=home.legal_hold,
    )


def activate(one: Copy, seen: Seen, now: datetime, *, revision: int | None) -> Activate:
    """Later than all that are known, and than all that were decided before: by the clock."""
    known = max(other.home_since for other in seen.copies)
    transfer = seen.transfer
    return Activate(
        element_id=one.element_id,
        digest=one.digest,
        home_since=max((now - _EPOCH) // _MILLISECOND, known + 1),
        revision=revision,
        state=CopyState.DELETED if one.is_of_deleted else CopyState.ACTIVE,
        finalizes=transfer is not None
        and transfer.kind is TransferKind.FINALIZE
        and transfer.target == one.element_id,
    )
