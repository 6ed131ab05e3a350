"""Reading a snapshot from a feed into the table."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import structlog

from artstore.v1 import changes_pb2
from artstore.v1.types_pb2 import File
from mesh.errors import Unavailable
from mesh.follower.cursor import Cursor, cursor_of
from mesh.follower.lag import FINDINGS, SET_ASIDE, SNAPSHOTS
from mesh.follower.lookups import BATCH, FileLookups
from mesh.follower.replicas import ReplicaTable, SnapshotRun
from mesh.follower.stream import FeedStream
from mesh.follower.writing import POISON, Numbered

log = structlog.get_logger("mesh.follower")


class SnapshotReader:
    """Applies snapshots of one element, one at a time."""

    def __init__(self, element_id: str, table: ReplicaTable, files: FileLookups) -> None:
        self._element_id = element_id
        self._table = table
        self._files = files

    async def read(
        self,
        begin: changes_pb2.SnapshotBegin,
        stream: FeedStream,
        *,
        number: int,
        replace: bool,
        dropped: Callable[[], Sequence[str]] = tuple,
    ) -> Cursor:
        """Apply the snapshot that `begin` opens; the cursor it ends at.

        Args:
            number: of the last snapshot that was asked for before the call was made.
            replace: see `SnapshotRun`.
            dropped: ids that the tail has dropped meanwhile.
        """
        run = SnapshotRun(self._element_id, secrets.token_hex(8), begin.head_position, replace)
        log.info(
            "snapshot begins", element=self._element_id, total=begin.file_count, replace=replace
        )
        await self._table.begin_snapshot(run)
        count, differing, end = await self._body(run, stream)
        if await self._table.seen(run) != count:
            raise Unavailable("the record of the snapshot was lost on the way")
        differing += await self._unseen(run)
        await self._ask(run, dropped())
        cursor = cursor_of(end.cursor)
        await self._table.finish_snapshot(run, cursor, number=number, files=count)
        SNAPSHOTS.labels(self._element_id).inc()
        if not replace:
            FINDINGS.labels(self._element_id).inc(differing)
        log.info("snapshot applied", element=self._element_id, files=count, differing=differing)
        return cursor

    async def _body(
        self, run: SnapshotRun, stream: FeedStream
    ) -> tuple[int, int, changes_pb2.SnapshotEnd]:
        count = differing = 0
        while True:
            batch = await stream.batch()
            ends = [n for n, message in enumerate(batch) if message.HasField("snapshot_end")]
            body = batch[: ends[0]] if ends else batch
            if any(message.HasField("snapshot_begin") for message in body):
                raise Unavailable("the element began its snapshot anew")
            files = [
                (change.position, change.file)
                for message in body
                for change in message.changes.changes
            ]
            if files:
                differing += await self._write(run, files)
                count += len(files)
            elif any(message.HasField("heartbeat") for message in body):
                await self._table.note_snapshot_alive(self._element_id)
            if ends:
                stream.push_back(batch[ends[0] + 1 :])
                return count, differing, batch[ends[0]].snapshot_end

    async def _write(self, run: SnapshotRun, files: Sequence[Numbered]) -> int:
        """Write a piece of it. What cannot be written is set aside, and the rest is written."""
        try:
            return await self._table.apply_snapshot(run, files)
        except POISON as error:
            if len(files) == 1:
                await self._set_aside(run, files[0], error, seen=True)
                return 1
        middle = len(files) // 2
        return await self._write(run, files[:middle]) + await self._write(run, files[middle:])

    async def _unseen(self, run: SnapshotRun) -> int:
        """Ask about each row that the snapshot lacks, and believe NOT_FOUND only."""
        after, total = "", 0
        while ids := await self._table.unseen(run, after, BATCH):
            after = ids[-1]
            total += len(ids)
            await self._ask(run, ids)
        return total

    async def _ask(self, run: SnapshotRun, ids: Sequence[str]) -> None:
        if ids:
            answers = await self._files.look_up(ids)
            await self._write_answers(run, answers.found, answers.gone)

    async def _write_answers(
        self, run: SnapshotRun, files: Sequence[File], removed: Sequence[str]
    ) -> None:
        try:
            await self._table.apply_unseen(run, files=files, removed=removed)
            return
        except POISON as error:
            if len(files) == 1 and not removed:
                await self._set_aside(run, (run.head, files[0]), error, seen=False)
                return
        middle = len(files) // 2
        await self._write_answers(run, (), removed)
        for half in filter(None, (files[:middle], files[middle:])):
            await self._write_answers(run, half, ())

    async def _set_aside(
        self, run: SnapshotRun, numbered: Numbered, error: Exception, *, seen: bool
    ) -> None:
        sequence, file = numbered
        await self._table.set_aside_of_snapshot(run, file.file_id, sequence, error, seen=seen)
        SET_ASIDE.labels(self._element_id).inc()
        log.warning(
            "a file cannot be taken over",
            element=self._element_id,
            file_id=file.file_id,
            reason=type(error).__name__,
        )
