"""Following one element: snapshot, then tail, for ever; a snapshot beside the tail when due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
import grpc.aio
import structlog

from artstore.v1 import changes_pb2
from mesh.concurrency.backoff import Backoff
from mesh.concurrency.bell import Bell
from mesh.concurrency.watched import cancel_and_wait
from mesh.elements.feed_cursor import encode
from mesh.errors import Unavailable
from mesh.follower.changes import ChangeWriter
from mesh.follower.cursor import Cursor, Lead, cursor_of
from mesh.follower.lag import Lag
from mesh.follower.lookups import FileLookups, Metadata
from mesh.follower.replicas import ReplicaTable
from mesh.follower.rows import KNOWN_STATES
from mesh.follower.snapshot import SnapshotReader
from mesh.follower.stream import FeedStream, token_ended
from mesh.follower.writing import POISON, CursorMoved

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

log = structlog.get_logger("mesh.follower")

# Another process takes over as long after the leader was last heard of: searches that wait for a
# change wait for it too, and most callers wait for ten seconds.
LEAD_SECONDS = 6.0
RENEW_SECONDS = 1.5
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
CALM_SECONDS = 10.0
# A stream that was refused at once had no token that lives, whatever the reason.
BRIEF_SECONDS = 1.0

# What following may run into; it is tried again.
FAILURES = (
    grpc.aio.AioRpcError,
    Unavailable,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    *POISON,
)


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
        files = FileLookups(stub, metadata)
        self._snapshots = SnapshotReader(element_id, table, files)
        self._changes = ChangeWriter(element_id, table, files)
        self._reading = asyncio.Lock()
        self._news = Bell()
        self._asked = Bell()
        # Epoch of the cursor that the tail goes by; None while a snapshot replaces it.
        self._epoch: str | None = None
        self._turns = 0
        self._tidying: asyncio.Task[None] | None = None
        self.lag = Lag(element_id)

    def wake(self) -> None:
        """The element has news: try again now if following broke off."""
        self._news.ring()

    def ask(self) -> None:
        """Somebody wants a snapshot: look now."""
        self._asked.ring()
        self._news.ring()

    async def run(self) -> None:
        """Follow for ever; every failure is noted beside the cursor and tried again."""
        backoff, news = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS), self._news.listen()
        try:
            while True:
                started = time.monotonic()
                try:
                    lead = await self._table.lead(self.element_id, seconds=LEAD_SECONDS)
                    if lead is None:
                        await self._watch_leader()
                        continue
                    await self._table.forget_snapshot(self.element_id)
                    self._goes_by(lead.cursor.epoch)
                    await _both(self._tail(lead.cursor, lead.wanted), self._keep())
                except CursorMoved as moved:
                    log.info("following anew", element=self.element_id, reason=moved.message)
                except FAILURES as error:
                    await self._note(error)
                self._on_cursor(self.element_id, None)
                if time.monotonic() - started > CALM_SECONDS:
                    backoff.reset()
                await news.wait(backoff.delay())
                news.take()
        finally:
            self._on_cursor(self.element_id, None)
            self.lag.close()
            await cancel_and_wait(self._tidying)

    def _goes_by(self, epoch: str | None) -> None:
        self._epoch = epoch
        self._turns += 1

    async def _watch_leader(self) -> None:
        """Another process leads: know how far it is, and be ready to take over."""
        for status in await self._table.statuses():
            if status.element_id == self.element_id:
                self.lag.reached(status.cursor.sequence)
                self.lag.heard(status.head)
        await asyncio.sleep(RENEW_SECONDS)

    async def _note(self, error: Exception) -> None:
        self.lag.unknown()
        with suppress(Unavailable, asyncpg.PostgresError):
            await self._table.note_error(self.element_id, self._told(error))

    def _told(self, error: Exception) -> str:
        """What went wrong, in words; counted and logged."""
        text = str(error) or repr(error)
        if isinstance(error, grpc.aio.AioRpcError):
            text = f"{error.code().name}: {error.details()}"
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                self._refused()
        log.warning("following broke off", element=self.element_id, reason=text)
        self.lag.failed()
        return text

    async def _watch(self, cursor: Cursor) -> FeedStream:
        request = changes_pb2.WatchChangesRequest(
            cursor=encode(cursor.epoch, cursor.sequence, cursor.change_id),
            known_states=KNOWN_STATES,
        )
        metadata = tuple(await self._metadata())
        return FeedStream(self._stub.WatchChanges(request, metadata=metadata))

    # --- the tail ------------------------------------------------------------------------

    async def _tail(self, cursor: Cursor, wanted: int) -> None:
        while True:
            opened_at = time.monotonic()
            async with await self._watch(cursor) as stream:
                while True:
                    try:
                        batch = await stream.batch()
                    except grpc.aio.AioRpcError as error:
                        if time.monotonic() - opened_at < BRIEF_SECONDS or not token_ended(error):
                            raise
                        # Foreseen: it goes on from where it is, with the token of now, and so
                        # does a snapshot that is read beside it.
                        log.info("following goes on with a new token", element=self.element_id)
                        break
                    cursor = await self._take(batch, stream, cursor, wanted)
                    if stream.empty:
                        self._table.pending.through()

    async def _take(
        self,
        batch: list[changes_pb2.WatchChangesResponse],
        stream: FeedStream,
        cursor: Cursor,
        wanted: int,
    ) -> Cursor:
        """Apply what is of one kind, and leave the rest to the next batch; where it is then."""
        kind = batch[0].WhichOneof("payload")
        length = next(
            (n for n, one in enumerate(batch) if one.WhichOneof("payload") != kind), len(batch)
        )
        stream.push_back(batch[length:])
        if kind == "changes":
            return await self._apply(
                cursor, [change for one in batch[:length] for change in one.changes.changes]
            )
        if kind == "snapshot_begin":
            return await self._start_over(batch[0].snapshot_begin, stream, wanted)
        if kind != "heartbeat":
            raise Unavailable("the element's change feed makes no sense")
        await self._heard(cursor, batch[length - 1].heartbeat)
        return cursor

    async def _heard(self, cursor: Cursor, heartbeat: changes_pb2.Heartbeat) -> None:
        told = cursor_of(heartbeat.cursor)
        if told.epoch == cursor.epoch:
            self.lag.heard(heartbeat.head_position)
        else:
            self.lag.unknown()
        epoch = await self._table.note_contact(self.element_id, told.epoch, heartbeat.head_position)
        if epoch != cursor.epoch:
            raise CursorMoved(f"the cursor of {self.element_id} was lost or moved")

    async def _apply(self, cursor: Cursor, changes: Sequence[changes_pb2.Change]) -> Cursor:
        fresh = [change for change in changes if change.position > cursor.sequence]
        if not fresh:
            return cursor
        if fresh[0].position != cursor.sequence + 1:
            raise Unavailable("the element's change feed has a gap")
        new = await self._changes.write(cursor, fresh)
        self.lag.applied(fresh)
        self._on_cursor(self.element_id, new)
        return new

    async def _start_over(
        self, begin: changes_pb2.SnapshotBegin, stream: FeedStream, wanted: int
    ) -> Cursor:
        async with self._reading:
            self._goes_by(None)
            cursor = await self._snapshots.read(begin, stream, number=wanted, replace=True)
            self._goes_by(cursor.epoch)
        self.lag.reached(cursor.sequence)
        self._on_cursor(self.element_id, cursor)
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy())
        return cursor

    async def _tidy(self) -> None:
        try:
            await self._table.tidy()
        except FAILURES as error:
            log.info("not tidied", table=self._table.table, reason=str(error))

    # --- beside the tail -----------------------------------------------------------------

    async def _keep(self) -> None:
        """Renew the lead, and read a whole snapshot when one is due or wanted."""
        reading: asyncio.Task[bool] | None = None
        backoff, not_before = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS), 0.0
        asked = self._asked.listen()
        try:
            while True:
                lead = await self._renew()
                if reading is not None and reading.done():
                    if reading.result():
                        backoff.reset()
                    else:
                        not_before = time.monotonic() + backoff.delay()
                    reading = None
                age = lead.snapshot_age_seconds
                due = age is not None and age > self._reconcile_seconds
                due = (due or lead.wanted > lead.done) and bool(lead.cursor.epoch)
                wait = not_before - time.monotonic()
                if due and reading is None and wait > 0:
                    await asyncio.sleep(min(wait, RENEW_SECONDS))
                    continue
                if due and reading is None:
                    reading = asyncio.create_task(self._reconcile(lead.wanted, lead.cursor.epoch))
                    reading.add_done_callback(lambda _: self._asked.ring())
                await asked.wait(RENEW_SECONDS)
                asked.take()
        finally:
            await cancel_and_wait(reading)

    async def _renew(self) -> Lead:
        """Renew the lead.

        Raises:
            CursorMoved: another process has it, or the cursor is not the tail's: somebody
                made the tables anew.
        """
        epoch, turns = self._epoch, self._turns
        lead = await self._table.lead(self.element_id, seconds=LEAD_SECONDS)
        if lead is None:
            raise CursorMoved(f"another process follows {self.element_id} now")
        if epoch is not None and turns == self._turns and lead.cursor.epoch != epoch:
            raise CursorMoved(f"the cursor of {self.element_id} was lost")
        return lead

    async def _reconcile(self, wanted: int, epoch: str) -> bool:
        """Compare the whole table with the element while the tail goes on; whether it was done."""
        try:
            async with self._reading:
                dropped = self._changes.dropped = set[str]()
                await self._table.announce_snapshot(self.element_id)
                async with await self._watch(Cursor()) as stream:
                    begin = await self._snapshot_begin(stream)
                    if cursor_of(begin.cursor).epoch != epoch:
                        raise Unavailable("the element's feed has a new epoch")
                    await self._snapshots.read(
                        begin,
                        stream,
                        number=wanted,
                        replace=False,
                        dropped=lambda: sorted(dropped),
                    )
            return True
        except CursorMoved:
            raise
        except FAILURES as error:
            text = self._told(error)
            with suppress(Unavailable, asyncpg.PostgresError):
                await self._table.note_snapshot_error(self.element_id, text)
                await self._table.forget_snapshot(self.element_id)
            return False
        finally:
            self._changes.dropped = None

    async def _snapshot_begin(self, stream: FeedStream) -> changes_pb2.SnapshotBegin:
        while True:
            batch = await stream.batch()
            for position, message in enumerate(batch):
                if message.HasField("snapshot_begin"):
                    stream.push_back(batch[position + 1 :])
                    return message.snapshot_begin
            await self._table.note_snapshot_alive(self.element_id)


async def _both(*works: Coroutine[Any, Any, None]) -> None:
    """Run them until the first one fails; its exception, once all have ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait(*tasks)
    for task in done:
        task.result()
