"""How a sidecar changes when its file moves, is copied, collected or erased.

Each function is one step of a file's life on one element: pure, a sidecar in, a sidecar out. Which
step comes next admin decides (`admin_server/life/next_steps.py`); the exhaustive model in
`tests/unit/life` takes the same functions. A step that was taken already gives the very sidecar
back (`is`), whatever the digest that it was decided on: so a step may be repeated, and whoever
takes it looks at the digest only if something else came back.

(home_since, revision) is a sidecar's place in the file's history: of two homes the higher is right.
Only a change of the home makes the revision grow; copies carry their home's pair; what leaves the
home (moved, gone, no home any more) keeps its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mesh.errors import DataLoss, FailedPrecondition
from storage_server.domain.file_id import time_of
from storage_server.domain.naming import erased_filename, folder_of
from storage_server.domain.revision import (
    moment_after,
    next_revision,
    require_not_held,
    wrong_state,
)
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar
from storage_server.domain.standing import (
    HAVE_BYTES,
    HOMES,
    deleted_at_of,
    home_since_of,
    is_set_aside,
    moved_to_of,
    pair_of,
    same_bytes,
    same_origin,
    same_text,
)

__all__ = [
    "HAVE_BYTES",
    "HOMES",
    "activated",
    "arrived",
    "deleted_at_of",
    "erased",
    "expired_to_trash",
    "gone",
    "home_since_of",
    "is_set_aside",
    "marked_moved",
    "moved_to_of",
    "no_home_any_more",
    "pair_of",
    "same_bytes",
    "same_origin",
    "same_text",
    "set_aside",
    "synced",
]

_FOLLOW_A_HOME = frozenset({FileState.COPY, FileState.INCOMING})
_BECOME_HOME = frozenset({*_FOLLOW_A_HOME, FileState.MOVED})


def arrived(
    home: Sidecar,
    state: FileState,
    placed: tuple[str, str],
    now: datetime,
    *,
    over: Sidecar | None = None,
) -> Sidecar:
    """What a pull writes once the bytes are verified.

    Args:
        home: the sidecar that was pulled from; deleted files are not.
        state: INCOMING, which counts its age from `now`, or COPY.
        placed: folder and name of the blob here.
        over: the sidecar that is here: none, one that is gone, or moved no later than `home`.

    Raises:
        FailedPrecondition: something else is here, or `home` is neither active, moved nor a copy.
        DataLoss: what is here says that it has other bytes, or came to be otherwise.
    """
    if over is not None and over.state is state and _is_same_file(over, home):
        return over
    if over is not None and over.state not in (FileState.GONE, FileState.MOVED):
        raise wrong_state(over, "pulled over")
    if over is not None and over.state is FileState.MOVED and pair_of(over) > pair_of(home):
        raise FailedPrecondition(
            f"file {home.file_id} was the home here later than there; look again",
            reason="FILE_STATE",
        )
    if over is not None:
        _require_same_file(over, home)
    if home.state not in (FileState.ACTIVE, FileState.MOVED, FileState.COPY):
        raise wrong_state(home, "pulled")
    folder, name = placed
    return replace(
        home,
        state=state,
        storage_path=folder,
        storage_filename=name,
        moved_to="",
        updated_at=now.astimezone(UTC) if state is FileState.INCOMING else home.updated_at,
    )


def marked_moved(sidecar: Sidecar, moved_to: str, now: datetime) -> Sidecar:
    """The home as the source of a move: it gives bytes, and takes no changes. One revision on.

    updated_at is when it moved. A held file may move.

    Raises:
        FailedPrecondition: the file is not active.
    """
    if sidecar.state is FileState.MOVED and sidecar.moved_to == moved_to:
        return sidecar
    if sidecar.state is not FileState.ACTIVE:
        raise wrong_state(sidecar, "moved")
    return next_revision(sidecar, now, state=FileState.MOVED, moved_to=moved_to)


def activated(
    sidecar: Sidecar,
    *,
    home_since: int,
    revision: int | None,
    state: FileState,
    finalized_at: datetime | None,
    finalized_to: str,
    now: datetime,
) -> Sidecar:
    """A copy, an incoming or a moved one as the file's home.

    Args:
        home_since: higher than all that are known.
        revision: of the source that was marked as moved, which has counted the move; None adds one
            to its own.
        state: ACTIVE, or DELETED for one that carries deleted_at.
        finalized_at, finalized_to: of a finalization; None and empty keep what it has.

    Raises:
        FailedPrecondition: it is none of these, knows of a home as late, or of another end.
    """
    if sidecar.state in (*HOMES, FileState.MOVED) and home_since_of(sidecar) == home_since:
        return sidecar
    if sidecar.state not in _BECOME_HOME:
        raise wrong_state(sidecar, "made the home")
    deleted = deleted_at_of(sidecar) is not None
    if home_since_of(sidecar) >= home_since or deleted != (state is FileState.DELETED):
        raise FailedPrecondition(
            f"file {sidecar.file_id} has changed since this was decided; look again",
            reason="FILE_STATE",
        )
    if finalized_at is not None:
        sidecar = replace(sidecar, finalized_at=finalized_at, finalized_to=finalized_to)
    deleted_at = deleted_at_of(sidecar)
    changed = next_revision(
        sidecar, now, state=state, home_since=home_since, moved_to="", deleted_at=deleted_at
    )
    return changed if revision is None else replace(changed, revision=revision)


def synced(sidecar: Sidecar, home: Sidecar, now: datetime) -> Sidecar:
    """A sidecar that takes over what its home says: text, deletion, (home_since, revision).

    A copy or an incoming one stays what it is. A home that is earlier than `home` becomes a copy;
    what its own text says beyond is the caller's to set aside. A home whose `home` is its copy, as
    late and with a higher revision (its store was restored), takes the copy's text and stays the
    home, one revision beyond the copy's; from one that is still incoming too.

    Args:
        home: its home, also one that is moved; or that copy.

    Raises:
        FailedPrecondition: `home` is earlier than what is here, or the two are not of that kind.
        DataLoss: they say that they have other bytes, or came to be otherwise.
    """
    _require_same_file(sidecar, home)
    here_is_home = sidecar.state in HOMES
    if here_is_home and home.state in _FOLLOW_A_HOME:
        return _caught_up(sidecar, home, now)
    if home.state not in (*HOMES, FileState.MOVED) or (
        sidecar.state not in (*_FOLLOW_A_HOME, FileState.ACTIVE)
    ):
        raise wrong_state(sidecar, f"synced with one that is {home.state.value}")
    if here_is_home and home.state is FileState.MOVED:
        raise wrong_state(sidecar, "synced with one that is moved")
    if pair_of(home) < pair_of(sidecar):
        raise FailedPrecondition(
            f"file {sidecar.file_id} is later here than its home; look again", reason="FILE_STATE"
        )
    same = pair_of(home) == pair_of(sidecar) and same_text(sidecar, home)
    if same and not here_is_home and not sidecar.moved_to:
        return sidecar
    state = FileState.COPY if here_is_home else sidecar.state
    at = home.updated_at if state is FileState.COPY else sidecar.updated_at
    return _with_text_of(
        home,
        sidecar,
        state=state,
        deleted_at=deleted_at_of(home),
        updated_at=at,
    )


def _caught_up(sidecar: Sidecar, copy: Sidecar, now: datetime) -> Sidecar:
    deleted_at = deleted_at_of(copy)
    if home_since_of(copy) != home_since_of(sidecar) or copy.revision <= sidecar.revision:
        raise FailedPrecondition(
            f"the copy of {sidecar.file_id} is not ahead of its home; look again",
            reason="FILE_STATE",
        )
    changed = _with_text_of(
        copy,
        sidecar,
        state=FileState.ACTIVE if deleted_at is None else FileState.DELETED,
        revision=copy.revision + 1,
        deleted_at=deleted_at,
    )
    return replace(changed, updated_at=moment_after(copy, now))


def no_home_any_more(sidecar: Sidecar, now: datetime) -> Sidecar:
    """A home as a copy, as it stands: somebody else was the home later.

    A tombstone becomes a copy with deleted_at. Nothing else of it changes.

    Raises:
        FailedPrecondition: it is no home.
    """
    if sidecar.state is FileState.COPY:
        return sidecar
    if sidecar.state not in HOMES:
        raise wrong_state(sidecar, "made a copy")
    return replace(
        sidecar,
        state=FileState.COPY,
        deleted_at=deleted_at_of(sidecar),
    )


def set_aside(sidecar: Sidecar, element_id: str, now: datetime) -> Sidecar:
    """What only elements that were away have, of a file without a home: kept, and not read.

    It is a copy with deleted_at that names its own element as moved_to, by which it is told from
    the copy of a deleted home: it waits for a home, or for ADMIN's word.

    Raises:
        FailedPrecondition: it is neither a copy, incoming nor moved.
    """
    if sidecar.state is FileState.COPY and sidecar.moved_to == element_id:
        return sidecar
    if sidecar.state not in _BECOME_HOME:
        raise wrong_state(sidecar, "set aside")
    return replace(
        sidecar,
        state=FileState.COPY,
        moved_to=element_id,
        deleted_at=sidecar.deleted_at or now.astimezone(UTC),
    )


def gone(sidecar: Sidecar, moved_to: str, now: datetime) -> Sidecar:
    """A stub without bytes: of what was moved away, dropped, or is too many.

    It names where the file is, keeps what a repeated request_id is known by, and forgets the user's
    words, the hold and the times of deletion and finalization. updated_at is when it went.

    Args:
        moved_to: element of the home.

    Raises:
        FailedPrecondition: it is active or erased.
    """
    if sidecar.state is FileState.GONE:
        return sidecar
    if sidecar.state not in (*_BECOME_HOME, FileState.DELETED):
        raise wrong_state(sidecar, "collected")
    return replace(
        sidecar,
        state=FileState.GONE,
        moved_to=moved_to,
        updated_at=moment_after(sidecar, now),
        description="",
        version="",
        tags=(),
        attributes={},
        copies=None,
        legal_hold=False,
        deleted_at=None,
        finalized_at=None,
        finalized_to="",
    )


def expired_to_trash(sidecar: Sidecar, now: datetime) -> Sidecar:
    """A home that expired, as the tombstone that lies in the trash. One revision on.

    How long ago it expired is the caller's to look at; `now` is this element's clock.

    Raises:
        FailedPrecondition: it is not active, has not expired, or is held (reason LEGAL_HOLD).
    """
    if sidecar.state is FileState.DELETED:
        return sidecar
    if sidecar.state is not FileState.ACTIVE:
        raise wrong_state(sidecar, "collected")
    require_not_held(sidecar)
    if sidecar.expires_at is None or now < sidecar.expires_at:
        raise FailedPrecondition(
            f"file {sidecar.file_id} has not expired here; look again", reason="FILE_STATE"
        )
    return next_revision(sidecar, now, state=FileState.DELETED)


def erased(
    file_id: str, sidecar: Sidecar | None, actor: str, reason: str, now: datetime
) -> Sidecar:
    """What stays of an erased file for ever: id, namespace, times, who erased it and why.

    No name, no digest, nothing that the user wrote. The namespace stays, since what followers of it
    are told goes by it, and home_since with the revision, by which admin tells a hold that was
    lifted before from one that came later. The reason stands in `description`, the actor in
    `updated_by`. The hold of what is no home is its home's word: admin decides about that.

    Args:
        sidecar: what is here; None of a file that is not.

    Raises:
        FailedPrecondition: it is a home and is held (reason LEGAL_HOLD).
        ValueError: nothing is here, and the id tells no time.
    """
    if sidecar is not None:
        if sidecar.state is FileState.ERASED:
            return sidecar
        if sidecar.state in HOMES:
            require_not_held(sidecar)
    created_at = sidecar.created_at if sidecar is not None else time_of(file_id)
    at = now.astimezone(UTC) if sidecar is None else moment_after(sidecar, now)
    kept: dict[str, Any] = {}
    if sidecar is not None:
        kept = {"namespace": sidecar.namespace, "home_since": sidecar.home_since}
    return Sidecar(
        file_id=file_id,
        revision=1 if sidecar is None else sidecar.revision + 1,
        state=FileState.ERASED,
        original_filename="",
        storage_filename=erased_filename(created_at, file_id),
        storage_path=folder_of(created_at),
        size_bytes=0,
        sha256="",
        created_at=created_at,
        created_by="",
        updated_at=at,
        updated_by=actor,
        description=reason,
        retention_policy=RetentionPolicy.PERMANENT,
        **kept,
    )


def _with_text_of(source: Sidecar, sidecar: Sidecar, **values: Any) -> Sidecar:
    """`source` at the place of `sidecar`; what is no text comes as `values`."""
    return replace(
        source,
        storage_path=sidecar.storage_path,
        storage_filename=sidecar.storage_filename,
        **{"moved_to": "", "updated_at": source.updated_at, **values},
    )


def _is_same_file(sidecar: Sidecar, other: Sidecar) -> bool:
    return same_bytes(sidecar, other) and same_origin(sidecar, other)


def _require_same_file(sidecar: Sidecar, other: Sidecar) -> None:
    """An element's word about another one's file goes no further than what changes."""
    if not same_origin(sidecar, other):
        raise DataLoss(
            f"two sidecars of {sidecar.file_id} differ in namespace, created_by, created_at or"
            " request_id, which nobody changes: one of the elements is not to be believed;"
            " `artstore check --mesh` tells which there are"
        )
    if not same_bytes(sidecar, other):
        raise DataLoss(
            f"two sidecars of {sidecar.file_id} are of different bytes; `artstore check --mesh` "
            "tells which",
            reason="CHECKSUM_MISMATCH",
        )
