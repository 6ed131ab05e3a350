"""Asking everybody about one file: all admitted elements side by side. Silence is no answer."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import grpc.aio
import structlog

from admin_server.clock import Clock
from admin_server.elements.element import RegisteredElement
from admin_server.elements.registered import RegisteredElements
from admin_server.life.homes import HomeSteps, OnRecord
from admin_server.life.seen import Copy, CopyState, Seen
from artstore.v1.storage_pb2 import StorageServiceGetFileRequest, StorageServiceGetFileResponse
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from artstore.v1.types_pb2 import File, FileState
from mesh.calls.status import from_rpc_error
from mesh.errors import ArtStoreError, NotFound, Unavailable
from mesh.file_ids import first_home_since, time_in
from mesh.follower.lookups import ElementMetadata

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

LOOK_SECONDS = 5.0
# One that has not reported lately is asked as well, and waited for less.
SILENT_LOOK_SECONDS = 1.0
# Clocks differ, and a home_since grows by one beyond those that are known.
HOME_SINCE_AHEAD_MS = 24 * 3600 * 1000

# What each element has of its own, and what an answer tells of it and of its cache.
_NOT_TEXT = (
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
    "storage_element_id",
    "cache_updated_at",
    "cache_ttl_hours",
    "cache_expired",
    "cache_stale",
)
_STATES = {
    number: CopyState(name.removeprefix("FILE_STATE_").lower())
    for name, number in FileState.items()
    if number != FileState.FILE_STATE_UNSPECIFIED
}

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found when everybody was asked about a file.

    Attributes:
        seen: for `next_steps`.
        files: as each element that has one told it.
        on_record: what admin knew just before.
        decided_at: by admin's clock; what is decided now was decided then.
        began: the same by the monotonic clock.
    """

    file_id: str
    seen: Seen
    files: Mapping[str, File]
    on_record: OnRecord
    decided_at: datetime
    began: float

    @property
    def seconds_ago(self) -> float:
        """How long ago the look began."""
        return time.monotonic() - self.began

    @property
    def home(self) -> Copy | None:
        """The latest of those that say that they are the home, or its tombstone."""
        homes = {CopyState.ACTIVE, CopyState.DELETED, CopyState.ERASED}
        return max(
            (one for one in self.seen.copies if one.state in homes),
            key=lambda one: (one.state is CopyState.ERASED, one.lateness),
            default=None,
        )

    @property
    def without_waiting(self) -> Looked:
        """The same, where it is known that no Activate was sent that the tables do not know."""
        on_record = replace(self.on_record, waits=False, waits_until=None)
        seen = replace(self.seen, making_home=on_record.may_be_making_home)
        return replace(self, on_record=on_record, seen=seen)

    def on(self, element_id: str) -> Copy | None:
        """What that element has."""
        return next((one for one in self.seen.copies if one.element_id == element_id), None)

    def require_answer(self, *element_ids: str) -> None:
        """
        Raises:
            Unavailable: one of these did not answer (reason ELEMENT_UNAVAILABLE).
        """
        silent = sorted({one for one in element_ids if one not in self.seen.answered})
        if silent:
            raise silence(silent)


class Look(Protocol):
    """Asks everybody about a file."""

    async def __call__(self, file_id: str) -> Looked: ...


class Looking:
    """Asks everybody.

    Args:
        channel: to an address, kept by whoever gives it.
        metadata: of a call of an element, with admin's own token for it.
        homes: what is on record, read before anybody is asked.
    """

    def __init__(
        self,
        elements: RegisteredElements,
        homes: HomeSteps,
        *,
        channel: Callable[[str], grpc.aio.Channel],
        metadata: ElementMetadata,
        now: Clock,
        timeout_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._elements = elements
        self._homes = homes
        self._channel = channel
        self._metadata = metadata
        self._now = now
        self._timeout_seconds = timeout_seconds

    async def __call__(self, file_id: str) -> Looked:
        """What each element has of a file, by its sidecar, whatever the state.

        Raises:
            Unavailable: the database is down, or which elements there are is not known yet.
        """
        on_record = await self._homes.of(file_id)
        decided_at, began = self._now(), time.monotonic()
        # One that was made and has never reported has no files.
        elements = self._elements.joined()
        answers = await asyncio.gather(*(self._ask(element, file_id) for element in elements))
        copies: list[Copy] = []
        files: dict[str, File] = {}
        silent = set(self._elements.unheard())
        for element, answer in zip(elements, answers, strict=True):
            element_id = element.storage_element_id
            if isinstance(answer, ArtStoreError):
                silent.add(element_id)
                _log.debug("silent", element=element_id, file_id=file_id, reason=answer.message)
            elif answer is not None:
                copies.append(copy_of(element_id, answer))
                files[element_id] = answer.file
        answered = frozenset(one.storage_element_id for one in elements) - silent
        seen = Seen(
            copies=tuple(copies),
            answered=answered,
            silent=frozenset(silent),
            everybody=not silent and bool(answered),
            transfer=on_record.transfer,
            making_home=on_record.may_be_making_home,
        )
        looked = Looked(
            file_id=file_id,
            seen=seen,
            files=files,
            on_record=on_record,
            decided_at=decided_at,
            began=began,
        )
        if seen.rules_out_unknown_homes:
            looked = looked.without_waiting
        return await self._known_now(looked)

    async def _known_now(self, looked: Looked) -> Looked:
        """A home-making step whose end shows, or that no element takes any more, has ended."""
        sent = looked.on_record.sent
        if sent is None:
            return looked
        there = looked.on(sent.element_id)
        taken = there is not None and there.home_since >= sent.home_since
        if not taken and not sent.is_over:
            return looked
        await self._homes.end(looked.file_id, sent.home_since)
        on_record = replace(looked.on_record, sent=None)
        seen = replace(looked.seen, making_home=on_record.may_be_making_home)
        return replace(looked, on_record=on_record, seen=seen)

    async def _ask(
        self, element: RegisteredElement, file_id: str
    ) -> StorageServiceGetFileResponse | ArtStoreError | None:
        """Its answer; None if it has no sidecar of the file; an error is no answer."""
        if not element.endpoint:
            return Unavailable("it is not admitted, so it is sent nothing")
        seconds = self._timeout_seconds
        if not self._elements.is_healthy(element):
            seconds = min(seconds, SILENT_LOOK_SECONDS)
        stub: StorageServiceAsyncStub = StorageServiceStub(self._channel(element.endpoint))
        try:
            answer = await stub.GetFile(
                StorageServiceGetFileRequest(file_id=file_id, show_deleted=True),
                metadata=tuple(await self._metadata(element.storage_element_id)),
                timeout=seconds,
            )
        except grpc.aio.AioRpcError as exc:
            error = from_rpc_error(exc)
            # One that answers users only, of an earlier version, does not say what it has.
            if isinstance(error, NotFound) and error.reason in ("", "NOT_FOUND"):
                return None
            return error
        except ArtStoreError as exc:
            return exc
        return self._believed(element, answer)

    def _believed(
        self, element: RegisteredElement, answer: StorageServiceGetFileResponse
    ) -> StorageServiceGetFileResponse | Unavailable:
        """The answer, if it can be one."""
        if not answer.digest or answer.file.state not in _STATES:
            return Unavailable("it is of an earlier version, or of a later one: it can't tell")
        if _is_of_the_future(answer.file, self._now()):
            _log.warning(
                "an element tells a time that is still to come: its answer counts as none",
                element=element.storage_element_id,
                file_id=answer.file.file_id,
                home_since=answer.file.home_since,
            )
            return Unavailable("it tells of a home in the future")
        return answer


def copy_of(element_id: str, answer: StorageServiceGetFileResponse) -> Copy:
    """What an element told of a file, for `next_steps`."""
    file = answer.file
    return Copy(
        element_id=element_id,
        state=_STATES[file.state],
        home_since=_home_since(file),
        revision=file.revision,
        digest=answer.digest,
        updated_at=file.updated_at.ToDatetime(tzinfo=UTC),
        text=_text(file),
        moved_to=_moved_to(file),
        deleted_at=_time(file, "deleted_at"),
        expires_at=_time(file, "expires_at"),
        bytes_present=answer.bytes_present,
        sha256=file.sha256,
        legal_hold=file.legal_hold,
    )


def silence(element_ids: list[str]) -> Unavailable:
    """These may have the file and do not answer."""
    names = ", ".join(element_ids)
    return Unavailable(
        f"a storage element that may have the file does not answer: {names}",
        reason="ELEMENT_UNAVAILABLE",
        metadata={"storage_element_ids": ",".join(element_ids)},
    )


def _time(file: File, field: str) -> datetime | None:
    if not file.HasField(field):  # type: ignore[arg-type]
        return None
    found: datetime = getattr(file, field).ToDatetime(tzinfo=UTC)
    return found


def _is_of_the_future(file: File, now: datetime) -> bool:
    """Whether its home_since is none that admin can have given: later than all, it would win."""
    latest = max(now.timestamp() * 1000, time_in(file.file_id) or 0) + HOME_SINCE_AHEAD_MS
    return file.home_since > latest


def _home_since(file: File) -> int:
    if file.HasField("home_since"):
        return file.home_since
    return first_home_since(file.file_id, file.created_at.ToDatetime(tzinfo=UTC))


def _moved_to(file: File) -> str:
    """Files that older versions moved name it in finalized_to."""
    if file.state in (FileState.FILE_STATE_MOVED, FileState.FILE_STATE_GONE):
        return file.moved_to or file.finalized_to
    return file.moved_to


def _text(file: File) -> bytes:
    text = File()
    text.CopyFrom(file)
    for field in _NOT_TEXT:
        text.ClearField(field)  # type: ignore[arg-type]
    return hashlib.blake2b(text.SerializeToString(deterministic=True), digest_size=16).digest()
