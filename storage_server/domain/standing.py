"""What a sidecar tells of where it stands in its file's life: home, deletion, text, bytes.

Sidecars of older versions tell less; what a missing field means is said here. How they change:
`domain/life.py`.
"""

from __future__ import annotations

from datetime import datetime

from mesh.file_ids import first_home_since
from storage_server.domain.fields import NAMES
from storage_server.domain.sidecar import FileState, Sidecar

HOMES = frozenset({FileState.ACTIVE, FileState.DELETED})
"""States of a file's home."""

HAVE_BYTES = frozenset({FileState.ACTIVE, FileState.COPY, FileState.INCOMING, FileState.MOVED})
"""States that always have their blob; a deleted file has it while it is in the trash."""

# What each element has of its own: the rest is the file's text, the same on all of them.
_OWN = frozenset(
    {
        "schema_version",
        "revision",
        "state",
        "storage_filename",
        "storage_path",
        "updated_at",
        "home_since",
        "moved_to",
        "finalized_at",
        "finalized_to",
        "deleted_at",
    }
)
_ORIGIN = ("namespace", "created_at", "created_by", "request_id")
_TEXT = tuple(sorted((NAMES | {"unknown"}) - _OWN))


def home_since_of(sidecar: Sidecar) -> int:
    """Since when it is the home, or its home is; milliseconds since 1970.

    One that tells none has been so since its upload.
    """
    if sidecar.home_since is not None:
        return sidecar.home_since
    return first_home_since(sidecar.file_id, sidecar.created_at)


def pair_of(sidecar: Sidecar) -> tuple[int, int]:
    """Its place in the file's history: of two homes the higher is right."""
    return home_since_of(sidecar), sidecar.revision


def moved_to_of(sidecar: Sidecar) -> str:
    """The element that it went to, of one that is moved or gone; empty of all others."""
    if sidecar.state in (FileState.MOVED, FileState.GONE):
        return sidecar.moved_to or sidecar.finalized_to
    return ""


def deleted_at_of(sidecar: Sidecar) -> datetime | None:
    """When the file was deleted, of a tombstone and of a copy of one; None of all others."""
    if sidecar.deleted_at is None and sidecar.state is FileState.DELETED:
        return sidecar.updated_at
    return None if is_set_aside(sidecar) else sidecar.deleted_at


def is_set_aside(sidecar: Sidecar) -> bool:
    """Whether it is kept for ADMIN's word: its deleted_at is not the file's."""
    return sidecar.state is FileState.COPY and sidecar.moved_to != ""


def same_text(one: Sidecar, other: Sidecar) -> bool:
    """Whether two sidecars of one file say the same of it, and of whether it is deleted.

    Not compared is what each element has of its own: state, revision, updated_at, home_since,
    moved_to, finalized_at, finalized_to, and where the blob lies. When it was deleted is not
    compared either: a step that comes twice would write two times.
    """
    if (deleted_at_of(one) is None) != (deleted_at_of(other) is None):
        return False
    return all(getattr(one, name) == getattr(other, name) for name in _TEXT)


def same_origin(one: Sidecar, other: Sidecar) -> bool:
    """Whether two sidecars say the same of how the file came to be, which nothing changes later.

    A stub of an earlier version may have less of it.
    """
    for name in _ORIGIN:
        said, also = getattr(one, name), getattr(other, name)
        less = (one.state is FileState.GONE and not said) or (
            other.state is FileState.GONE and not also
        )
        if said != also and not less:
            return False
    return True


def same_bytes(one: Sidecar, other: Sidecar) -> bool:
    """Whether two sidecars are of the same content; an unknown crc32c says nothing."""
    if None not in (one.crc32c, other.crc32c) and one.crc32c != other.crc32c:
        return False
    return (one.size_bytes, one.sha256) == (other.size_bytes, other.sha256)
