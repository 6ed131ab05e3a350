"""Following every element's feed into the audit, each change once, whoever dies in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import grpc
import grpc.aio
import structlog

from admin_server.audit.changes import events_of, hole
from admin_server.audit.cursors import AuditCursors, Elsewhere
from artstore.v1 import changes_pb2
from mesh.concurrency.backoff import Backoff
from mesh.elements.feed_cursor import FeedCursor, decode, encode
from mesh.errors import ArtStoreError, Unavailable
from mesh.follower.each_element import EachElement
from mesh.follower.lookups import ElementMetadata
from mesh.follower.stream import FeedStream, token_ended

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

# Another process takes over as long after the one that leads was last heard of.
LEAD_SECONDS = 12.0
RENEW_SECONDS = 4.0
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0
CALM_SECONDS = 10.0
LOOK_SECONDS = 2.0

FAILURES = (
    grpc.aio.AioRpcError,
    ArtStoreError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)

_log = structlog.stdlib.get_logger(__name__)


class ElementAudit:
    """Follows one element; `run` until it is cancelled.

    Args:
        metadata: gives that of a call of an element (admin's own token for it).
        refused: told which element answered UNAUTHENTICATED.
    """

    def __init__(
        self,
        element_id: str,
        stub: StorageServiceAsyncStub,
        cursors: AuditCursors,
        *,
        metadata: ElementMetadata,
        refused: Callable[[str], None],
    ) -> None:
        self._element_id = element_id
        self._stub = stub
        self._cursors = cursors
        self._metadata = metadata
        self._refused = refused
        self._renewed_at = 0.0

    async def run(self) -> None:
        """Follow for ever; every failure is logged and tried again."""
        backoff, told = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS), ""
        while True:
            started = time.monotonic()
            try:
                cursor = await self._lead()
                if cursor is None:
                    await asyncio.sleep(RENEW_SECONDS)
                    continue
                await self._follow(cursor)
            except FAILURES as error:
                if time.monotonic() - started > CALM_SECONDS and token_ended(error):
                    # Foreseen: it goes on from where it is, with the token of now.
                    backoff.reset()
                    told = ""
                    continue
                reason = self._reason(error)
                if reason != told:
                    _log.info("the audit stands still", element=self._element_id, reason=reason)
                told = reason
            if time.monotonic() - started > CALM_SECONDS:
                backoff.reset()
                told = ""
            await backoff.pause()

    def _reason(self, error: Exception) -> str:
        if isinstance(error, grpc.aio.AioRpcError):
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                self._refused(self._element_id)
            return f"{error.code().name}: {error.details()}"
        return str(error) or repr(error)

    async def _lead(self) -> FeedCursor | None:
        self._renewed_at = time.monotonic()
        return await self._cursors.lead(self._element_id, seconds=LEAD_SECONDS)

    async def _follow(self, cursor: FeedCursor) -> None:
        request = changes_pb2.WatchChangesRequest(cursor=_text(cursor), changes_only=True)
        metadata = tuple(await self._metadata(self._element_id))
        in_snapshot = False
        async with FeedStream(self._stub.WatchChanges(request, metadata=metadata)) as stream:
            while True:
                found: list[changes_pb2.Change] = []
                for message in await stream.batch():
                    if message.HasField("snapshot_begin"):
                        cursor, found = await self._write(cursor, found), []
                        in_snapshot = True
                    elif message.HasField("snapshot_end"):
                        cursor = await self._jump(cursor, decode(message.snapshot_end.cursor))
                        in_snapshot = False
                    elif not in_snapshot:
                        # An element of an earlier version sends files with its snapshot.
                        found.extend(message.changes.changes)
                cursor = await self._write(cursor, found)
                await self._renew(cursor)

    async def _write(self, cursor: FeedCursor, changes: Sequence[changes_pb2.Change]) -> FeedCursor:
        if not changes:
            return cursor
        expected = range(cursor.sequence + 1, cursor.sequence + 1 + len(changes))
        if any(one.position != n for one, n in zip(changes, expected, strict=True)):
            raise Unavailable("the element's change feed has a gap")
        new = decode(changes[-1].cursor)
        events = events_of(self._element_id, changes)
        await self._cursors.record(self._element_id, cursor, new, events)
        return new

    async def _jump(self, old: FeedCursor, new: FeedCursor) -> FeedCursor:
        """Go on elsewhere, and put on record that there is a hole."""
        events = hole(self._element_id, old, new)
        await self._cursors.record(self._element_id, old, new, events)
        for event in events:
            _log.warning("a hole in the audit", element=self._element_id, **event.details)
        return new

    async def _renew(self, cursor: FeedCursor) -> None:
        if time.monotonic() - self._renewed_at < RENEW_SECONDS:
            return
        if await self._lead() != cursor:
            raise Elsewhere(f"the audit follows {self._element_id} from elsewhere")

    async def resign(self) -> None:
        """Let another process go on at once; else it does when the lead has ended."""
        with suppress(*FAILURES):
            await self._cursors.resign(self._element_id)


class AuditFollowing:
    """Keeps one for every element that there is.

    Args:
        elements: id -> host:port of the elements known now.
        open_channel: to an address. It must not ask for health: the feed goes on while the
            element's storage is down.
        metadata, refused: see `ElementAudit`.
    """

    def __init__(
        self,
        cursors: AuditCursors,
        *,
        elements: Callable[[], Mapping[str, str]],
        open_channel: Callable[[str], grpc.aio.Channel],
        metadata: ElementMetadata,
        refused: Callable[[str], None],
    ) -> None:
        self._cursors = cursors
        self._elements = elements
        self._metadata = metadata
        self._refused = refused
        self._followed = EachElement(open_channel, self._audit, name="follow {} for the audit")
        self._places: Mapping[str, str] = {}

    def audited(self, element_id: str) -> str:
        """Cursor of the last change of an element's feed that the audit has; empty if unknown."""
        return self._places.get(element_id, "")

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                elements = self._elements()
                for element_id in self._followed.running.keys() - elements.keys():
                    await self._leave(element_id)
                for element_id, endpoint in elements.items():
                    await self._followed.ensure(element_id, endpoint)
                with suppress(Unavailable):
                    self._places = await self._cursors.places()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for element_id in self._followed.running:
                await self._leave(element_id)

    def _audit(self, element_id: str, stub: StorageServiceAsyncStub) -> ElementAudit:
        return ElementAudit(
            element_id,
            stub,
            self._cursors,
            metadata=self._metadata,
            refused=self._refused,
        )

    async def _leave(self, element_id: str) -> None:
        audit = await self._followed.end(element_id)
        if audit is not None:
            await audit.resign()


def _text(cursor: FeedCursor) -> str:
    return encode(cursor.epoch, cursor.sequence, cursor.change_id)
