"""Following one element: snapshot, then tail, for ever; a snapshot beside the tail when due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog

from artstore.v1 import storage_pb2 as pb
from mesh.errors import Unavailable
from mesh.follower.cursor import Cursor
from mesh.follower.lag import Lag
from mesh.follower.replicas import CursorMoved, Numbered, ReplicaTable
from mesh.follower.snapshot import ElementFiles, Metadata, SnapshotReader
from mesh.follower.stream import FeedStream

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

log = structlog.get_logger("mesh.follower")

LEAD_SECONDS = 15.0
RENEW_SECONDS = 3.0
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
CALM_SECONDS = 10.0

# What following may run into; it is tried again.
FAILURES = (grpc.aio.AioRpcError, Unavailable, TimeoutError)


class ElementFollower:
    """Follows one element into a table; `run` until it is cancelled.

    Args:
        element_id: se-01.
        stub: of the element, on a channel that reconnects by itself.
        metadata: gives the metadata of a call (the server's own token).
        refused: told that the element answered UNAUTHENTICATED.
        table: what is written.
        reconcile_seconds: a whole snapshot is read this long after the last one.
        on_cursor: told of each cursor reached, None when this process does not lead.
    """

    def __init__(
        self,
        *,
        element_id: str,
        stub: StorageServiceAsyncStub,
        metadata: Metadata,
        refused: Callable[[], None],
        table: ReplicaTable,
        reconcile_seconds: float,
        on_cursor: Callable[[str, Cursor | None], None],
    ) -> None:
        self.element_id = element_id
        self._stub = stub
        self._metadata = metadata
        self._refused = refused
        self._table = table
        self._reconcile_seconds = reconcile_seconds
        self._on_cursor = on_cursor
        self._files = ElementFiles(stub, metadata)
        self._snapshots = SnapshotReader(element_id, table, self._files)
        self._reading = asyncio.Lock()
        self._dropped: set[str] = set()
        self._wake = asyncio.Event()
        self._asked = asyncio.Event()
        self.lag = Lag(element_id)

    def wake(self) -> None:
        """The element has news: try again now if following broke off."""
        self._wake.set()

    def ask(self) -> None:
        """Somebody wants a snapshot: look now."""
        self._asked.set()
        self._wake.set()

    async def run(self) -> None:
        """Follow for ever; every failure is noted beside the cursor and tried again."""
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                started = time.monotonic()
                try:
                    lead = await self._table.lead(self.element_id, seconds=LEAD_SECONDS)
                    if lead is None:
                        await self._watch_leader()
                        continue
                    await _both(self._tail(lead.cursor, lead.wanted), self._keep())
                except CursorMoved:
                    log.info("another process follows now", element=self.element_id)
                except FAILURES as error:
                    await self._note(error)
                self._on_cursor(self.element_id, None)
                if time.monotonic() - started > CALM_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                await _rest(self._wake, pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
        finally:
            self._on_cursor(self.element_id, None)
            self.lag.close()

    async def _watch_leader(self) -> None:
        """Another process leads: know how far it is, and be ready to take over."""
        for status in await self._table.statuses():
            if status.element_id == self.element_id:
                self.lag.reached(status.cursor.sequence)
                self.lag.heard(status.head)
        await asyncio.sleep(RENEW_SECONDS)

    async def _note(self, error: Exception) -> None:
        text = str(error) or repr(error)
        if isinstance(error, grpc.aio.AioRpcError):
            text = f"{error.code().name}: {error.details()}"
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                self._refused()
        log.warning("following broke off", element=self.element_id, reason=text)
        self.lag.disconnected()
        with suppress(Unavailable):
            await self._table.note_error(self.element_id, text)

    async def _watch(self, cursor: Cursor) -> FeedStream:
        request = pb.WatchChangesRequest(
            epoch=cursor.epoch, after_sequence=cursor.sequence, after_change_id=cursor.change_id
        )
        metadata = tuple(await self._metadata())
        return FeedStream(self._stub.WatchChanges(request, metadata=metadata))

    # --- the tail ------------------------------------------------------------------------

    async def _tail(self, cursor: Cursor, wanted: int) -> None:
        async with await self._watch(cursor) as stream:
            while True:
                batch = await stream.batch()
                kind = batch[0].WhichOneof("payload")
                length = next(
                    (n for n, one in enumerate(batch) if one.WhichOneof("payload") != kind),
                    len(batch),
                )
                stream.push_back(batch[length:])
                if kind == "change":
                    cursor = await self._apply(cursor, [one.change for one in batch[:length]])
                elif kind == "heartbeat":
                    await self._heard(batch[length - 1].heartbeat)
                elif kind == "snapshot_begin":
                    cursor = await self._start_over(batch[0].snapshot_begin, stream, wanted)
                else:
                    raise Unavailable("the element's change feed makes no sense")

    async def _heard(self, heartbeat: pb.Heartbeat) -> None:
        self.lag.heard(heartbeat.head)
        await self._table.note_contact(self.element_id, heartbeat.epoch, heartbeat.head)

    async def _apply(self, cursor: Cursor, changes: Sequence[pb.Change]) -> Cursor:
        fresh = [change for change in changes if change.sequence > cursor.sequence]
        if not fresh:
            return cursor
        if fresh[0].sequence != cursor.sequence + 1:
            raise Unavailable("the element's change feed has a gap")
        last: dict[str, pb.Change] = {change.file.file_id: change for change in fresh}
        files: list[Numbered] = []
        dropped: list[str] = []
        for file_id, change in last.items():
            if change.kind == pb.ChangeKind.CHANGE_KIND_DROPPED:
                dropped.append(file_id)
            else:
                files.append((change.sequence, change.file))
        if self._reading.locked():
            self._dropped.update(dropped)
        found, gone = await self._files.look_up(dropped)
        end = fresh[-1]
        files.extend((end.sequence, file) for file in found)
        new = Cursor(cursor.epoch, end.sequence, end.change_id)
        await self._table.apply(
            self.element_id,
            cursor,
            new,
            files=files,
            removed=gone,
            changed_at=end.changed_at.ToDatetime(tzinfo=UTC),
        )
        self.lag.applied(fresh)
        self._on_cursor(self.element_id, new)
        return new

    async def _start_over(self, begin: pb.SnapshotBegin, stream: FeedStream, wanted: int) -> Cursor:
        async with self._reading:
            cursor = await self._snapshots.read(begin, stream, number=wanted, replace=True)
        self.lag.reached(cursor.sequence)
        self._on_cursor(self.element_id, cursor)
        return cursor

    # --- beside the tail -----------------------------------------------------------------

    async def _keep(self) -> None:
        """Renew the lead, and read a whole snapshot when one is due or wanted."""
        reading: asyncio.Task[None] | None = None
        try:
            while True:
                lead = await self._table.lead(self.element_id, seconds=LEAD_SECONDS)
                if lead is None:
                    raise CursorMoved(f"another process follows {self.element_id} now")
                age = lead.snapshot_age_seconds
                due = age is not None and age > self._reconcile_seconds
                if reading is not None and reading.done():
                    reading.result()
                    reading = None
                if reading is None and (due or lead.wanted > lead.done) and lead.cursor.epoch:
                    reading = asyncio.create_task(self._reconcile(lead.wanted, lead.cursor.epoch))
                    reading.add_done_callback(lambda _: self._asked.set())
                await _rest(self._asked, RENEW_SECONDS)
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _reconcile(self, wanted: int, epoch: str) -> None:
        """Compare the whole table with the element while the tail goes on."""
        try:
            async with self._reading:
                self._dropped.clear()
                async with await self._watch(Cursor()) as stream:
                    begin = await self._snapshot_begin(stream)
                    if begin.epoch != epoch:
                        raise Unavailable("the element's feed has a new epoch")
                    await self._snapshots.read(
                        begin,
                        stream,
                        number=wanted,
                        replace=False,
                        dropped=lambda: sorted(self._dropped),
                    )
        except CursorMoved:
            raise
        except FAILURES as error:
            await self._note(error)

    async def _snapshot_begin(self, stream: FeedStream) -> pb.SnapshotBegin:
        while True:
            batch = await stream.batch()
            for position, message in enumerate(batch):
                if message.HasField("snapshot_begin"):
                    stream.push_back(batch[position + 1 :])
                    return message.snapshot_begin


async def _rest(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()


async def _both(*works: Coroutine[Any, Any, None]) -> None:
    """Run them until the first one fails; its exception, once all have ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
