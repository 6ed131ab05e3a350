"""What the servers of a mesh said of one file when they were asked about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar
from uuid import UUID

from artstore.v1 import (
    audit_pb2,
    cache_pb2,
    elements_pb2,
    lifecycle_pb2,
    query_pb2,
    registry_pb2,
    types_pb2,
)
from artstore_client import errors
from artstore_client.files.home import home, latest
from artstore_client.files.replicas import replica_of

T = TypeVar("T")

# The home, and its tombstone; of other copies the mesh goes by these.
HOME_STATES = frozenset({types_pb2.FILE_STATE_ACTIVE, types_pb2.FILE_STATE_DELETED})
_HOMES = frozenset({"active", "deleted"})


class Verdict(StrEnum):
    """What the elements' answers come to."""

    LIVE = "live"
    """An element has it, and gives it to readers."""
    DELETED = "deleted"
    """What is left is a tombstone."""
    UNKNOWN = "unknown"
    """Every element says that it has no such file."""
    UNSURE = "unsure"
    """None that answered has it, and some did not answer."""


class Word(StrEnum):
    """What one element answers when it is asked for the file."""

    HAS = "has"
    DELETED = "deleted"
    NOT_THERE = "not_there"
    SILENT = "silent"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """An answer, or the error that came instead: then the answer is not known."""

    value: T | None = None
    error: errors.ArtStoreError | None = None

    @property
    def is_served(self) -> bool | None:
        """Whether this version of the mesh serves the call; None when that can't be told."""
        if isinstance(self.error, errors.Unimplemented):
            return False
        return True if self.error is None else None

    @property
    def why_not(self) -> str:
        """Why there is no answer, for people; empty when there is one."""
        if self.error is None:
            return ""
        if isinstance(self.error, errors.Unimplemented):
            return "this version of the mesh does not serve it yet"
        if isinstance(self.error, errors.PermissionDenied):
            return "your account's role or namespaces do not reach it"
        return self.error.message


@dataclass(frozen=True, slots=True)
class ElementSeen:
    """One storage element, and what it says of the file.

    Attributes:
        file: the description there, of HAS and DELETED; None of a tombstone that an older element
            does not show.
        error: of SILENT and REFUSED.
        element: as it describes itself, else as admin last heard of it; None when neither is known.
        listed: as admin lists it, with `registered_at`; None when admin did not list it.
        replica: what the registry says that it has; None when it knows of nothing there.
        went_to: of NOT_THERE: the element to which it went from there; empty when it never was.
    """

    storage_element_id: str
    word: Word
    file: types_pb2.File | None = None
    error: errors.ArtStoreError | None = None
    element: elements_pb2.StorageElement | None = None
    listed: elements_pb2.StorageElement | None = None
    replica: registry_pb2.Replica | None = None
    went_to: str = ""


@dataclass(frozen=True, slots=True)
class Indexed:
    """What search knows of the file.

    Attributes:
        file: as a search finds it now; None when no search does.
        following: how far the index follows the file's element; None when it has none or that
            was not told.
        complete: every element was read whole once.
    """

    file: types_pb2.File | None
    following: query_pb2.ElementSyncStatus | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was seen of one file.

    Attributes:
        file_id: in its canonical form; as it was written when it is no id.
        elements: in the order in which they are filled, lowest priority number first.
        doubt: why there may be elements that were not asked; empty when there are none.
        locks: of its element: those on the whole element and on the file, as far as they concern
            it.
        policy: of its namespace.
        events: the last ones of the audit, newest first.
        transfer: its newest one; None when it never was on its way.
    """

    file_id: str
    elements: tuple[ElementSeen, ...]
    doubt: str
    registry: Told[tuple[registry_pb2.Replica, ...]]
    locks: Told[tuple[cache_pb2.Lock, ...]]
    policy: Told[lifecycle_pb2.Policy]
    indexed: Told[Indexed]
    events: Told[tuple[audit_pb2.AuditEvent, ...]]
    transfer: Told[lifecycle_pb2.Transfer] = field(default_factory=Told)

    @property
    def home(self) -> ElementSeen | None:
        """The element that speaks for the file; None when none that answered has it."""
        return home_of(self.elements)

    @property
    def file(self) -> types_pb2.File | None:
        """The file as its home describes it."""
        return self.home.file if self.home is not None else None

    @property
    def verdict(self) -> Verdict:
        """What the answers come to."""
        if self.home is not None:
            return Verdict.DELETED if self.home.word is Word.DELETED else Verdict.LIVE
        if self.doubting:
            return Verdict.UNSURE
        return Verdict.UNKNOWN

    @property
    def doubting(self) -> tuple[ElementSeen, ...]:
        """Elements that did not say whether they have it."""
        return tuple(one for one in self.elements if one.word in (Word.SILENT, Word.REFUSED))


def home_of(elements: Iterable[ElementSeen]) -> ElementSeen | None:
    """The one that speaks for the file (`files.home`), its tombstone too.

    A copy, or a source that was moved away, speaks only while no home answers.
    """
    found = [one for one in elements if one.word in (Word.HAS, Word.DELETED)]
    by_id = {one.storage_element_id: one for one in found}
    told = [replica_of(one.file, name) for name, one in by_id.items() if one.file is not None]
    speaking = home(one for one in told if one.state in _HOMES) or home(told) or latest(told)
    undescribed = next((one for one in found if one.file is None), None)
    if speaking is None or (speaking.state not in _HOMES and undescribed is not None):
        return undescribed
    return by_id[speaking.element_id]


def is_file_id(text: str) -> bool:
    """Whether it is written as ids are, in their canonical form."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
