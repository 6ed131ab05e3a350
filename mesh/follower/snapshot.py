"""Reading a snapshot from a feed into the table."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import structlog

from artstore.v1 import storage_pb2 as pb
from artstore.v1.types_pb2 import File
from mesh.errors import Unavailable
from mesh.follower.cursor import Cursor
from mesh.follower.lag import FINDINGS, SNAPSHOTS
from mesh.follower.replicas import ReplicaTable, SnapshotRun
from mesh.follower.stream import BATCH, FeedStream

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

log = structlog.get_logger("mesh.follower")

LOOK_UP_SECONDS = 10.0
LOOK_UPS_IN_FLIGHT = 4
LOOK_UP_ATTEMPTS = 5

Metadata = Callable[[], Awaitable[Sequence[tuple[str, str]]]]


class ElementFiles:
    """Asks one element about files by id."""

    def __init__(self, stub: StorageServiceAsyncStub, metadata: Metadata) -> None:
        self._stub = stub
        self._metadata = metadata

    async def look_up(self, file_ids: Sequence[str]) -> tuple[list[File], list[str]]:
        """(files that the element has after all, ids that it says are NOT_FOUND).

        Raises:
            AioRpcError: any other answer; then nothing is known of any of them.
        """
        if not file_ids:
            return [], []
        slots = asyncio.Semaphore(LOOK_UPS_IN_FLIGHT)

        async def one(file_id: str) -> File | None:
            async with slots:
                return await self._get(file_id)

        answers = await asyncio.gather(*(one(file_id) for file_id in file_ids))
        gone = [i for i, answer in zip(file_ids, answers, strict=True) if answer is None]
        return [answer for answer in answers if answer is not None], gone

    async def _get(self, file_id: str) -> File | None:
        for attempt in range(LOOK_UP_ATTEMPTS):
            try:
                answer = await self._stub.GetFile(
                    pb.StorageServiceGetFileRequest(file_id=file_id),
                    metadata=tuple(await self._metadata()),
                    timeout=LOOK_UP_SECONDS,
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return None
                # The element looks for few unknown ids at a time.
                busy = error.code() is grpc.StatusCode.UNAVAILABLE
                if not busy or attempt + 1 == LOOK_UP_ATTEMPTS:
                    raise
                await asyncio.sleep(0.1 * 2**attempt)
                continue
            return answer.file
        raise AssertionError("the last attempt answers or raises")


class SnapshotReader:
    """Applies snapshots of one element, one at a time."""

    def __init__(self, element_id: str, table: ReplicaTable, files: ElementFiles) -> None:
        self._element_id = element_id
        self._table = table
        self._files = files

    async def read(
        self,
        begin: pb.SnapshotBegin,
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
        run = SnapshotRun(self._element_id, secrets.token_hex(8), begin.head, replace)
        log.info("snapshot begins", element=self._element_id, total=begin.total, replace=replace)
        await self._table.begin_snapshot(run)
        count, differing, end = await self._body(run, stream)
        if await self._table.seen(run) != count:
            raise Unavailable("the record of the snapshot was lost on the way")
        differing += await self._unseen(run)
        await self._ask(run, dropped())
        cursor = Cursor(end.epoch, end.head, end.change_id)
        await self._table.finish_snapshot(run, cursor, number=number)
        SNAPSHOTS.labels(self._element_id).inc()
        FINDINGS.labels(self._element_id).inc(differing)
        log.info("snapshot applied", element=self._element_id, files=count, differing=differing)
        return cursor

    async def _body(self, run: SnapshotRun, stream: FeedStream) -> tuple[int, int, pb.SnapshotEnd]:
        count = differing = 0
        while True:
            batch = await stream.batch()
            ends = [n for n, message in enumerate(batch) if message.HasField("snapshot_end")]
            body = batch[: ends[0]] if ends else batch
            if any(message.HasField("snapshot_begin") for message in body):
                raise Unavailable("the element began its snapshot anew")
            files = [
                (message.change.sequence, message.change.file)
                for message in body
                if message.HasField("change")
            ]
            if files:
                differing += await self._table.apply_snapshot(run, files)
                count += len(files)
            if ends:
                stream.push_back(batch[ends[0] + 1 :])
                return count, differing, batch[ends[0]].snapshot_end

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
            found, gone = await self._files.look_up(ids)
            await self._table.apply_unseen(run, files=found, removed=gone)
