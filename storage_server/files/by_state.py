"""What a file's state answers to whoever reads or changes it here.

Who may not read the file's namespace is told nothing of all this: ask that first.
"""

from __future__ import annotations

from mesh.errors import ArtStoreError, FailedPrecondition, NotFound, Unavailable
from mesh.identity.caller import Caller, Role
from storage_server.domain.life import deleted_at_of, moved_to_of
from storage_server.domain.sidecar import FileState, Sidecar

# A switch takes two calls of admin's.
SWITCHING_RETRY_SECONDS = 0.5


def not_found(file_id: str) -> NotFound:
    """The one answer for a file that never was here, or is not for this caller."""
    return NotFound(f"no file {file_id[:64]!r}")


def sees_every_state(caller: Caller) -> bool:
    """Whether it is a server that asks for itself: on others' behalf the caller is them."""
    return caller.from_admin or caller.role is Role.SERVICE


def is_readable(sidecar: Sidecar) -> bool:
    """Whether a user reads it here."""
    return unreadable(sidecar) is None


def unreadable(sidecar: Sidecar) -> NotFound | None:
    """Why a user does not read it here; None when it is read."""
    state = sidecar.state
    if state in (FileState.ACTIVE, FileState.MOVED):
        return None
    if state is FileState.GONE:
        elsewhere = moved_to_of(sidecar)
        return NotFound(
            f"file {sidecar.file_id} is not here any more: ask storage element {elsewhere}",
            metadata={"moved_to": elsewhere},
        )
    if state is FileState.DELETED or (state is FileState.COPY and deleted_at_of(sidecar)):
        return _deleted(sidecar)
    if state is FileState.COPY:
        # A set-aside one has a deleted_at that is not the file's: it waits for its home.
        return None if sidecar.deleted_at is None else not_found(sidecar.file_id)
    return not_found(sidecar.file_id)


def unchangeable(sidecar: Sidecar) -> ArtStoreError | None:
    """Why a user does not change it here; None of a home, deleted ones too."""
    file_id, state = sidecar.file_id, sidecar.state
    if state in (FileState.ACTIVE, FileState.DELETED):
        return None
    if state in (FileState.MOVED, FileState.GONE):
        elsewhere = moved_to_of(sidecar)
        return FailedPrecondition(
            f"file {file_id} lives on storage element {elsewhere}: change it there",
            reason="MOVED",
            metadata={"moved_to": elsewhere},
        )
    if state is FileState.COPY:
        return FailedPrecondition(
            f"file {file_id} is only a copy here: change it where its home is;"
            f" `artstore explain {file_id}` shows where",
            reason="NOT_HOME",
        )
    if state is FileState.INCOMING:
        return Unavailable(
            f"file {file_id} is on its way to this storage element: try again",
            reason="SWITCHING",
            retry_after_seconds=SWITCHING_RETRY_SECONDS,
        )
    return not_found(file_id)


def _deleted(sidecar: Sidecar) -> NotFound:
    return NotFound(f"file {sidecar.file_id!r} was deleted", reason="FILE_DELETED")
