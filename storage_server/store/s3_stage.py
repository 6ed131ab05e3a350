"""A blob on its way into S3: a multipart upload, or one PUT when it fits into one part.

Bytes gather into parts in memory; full parts are sent side by side while the next one fills,
and a thread hashes. What is committed is what whole parts the server has.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Sequence

from mesh.checksum import crc32c
from mesh.concurrency.watched import cancel_and_wait
from mesh.errors import (
    ArtStoreError,
    DataLoss,
    FailedPrecondition,
    OutOfRange,
    ResourceExhausted,
)
from storage_server.store.digest import RunningDigest, after
from storage_server.store.pipeline import Pipeline, Written
from storage_server.store.port import SealedBlob, StagedState
from storage_server.store.s3_client import Refused, S3Client
from storage_server.store.s3_object import S3Object
from storage_server.store.s3_tails import Tail, Tails
from storage_server.store.s3_uploads import Part, abort_upload

MIN_PART_BYTES = 8 << 20
_PARTS_OF_ONE_SIZE = 1000
_MAX_DOUBLINGS = 2
_MAX_PARTS = 10_000
_IN_FLIGHT_BYTES = 24 << 20
_MIN_IN_FLIGHT = 2


def part_bytes(number: int) -> int:
    """Size of part `number` (from 1): 8, 16, then 32 MiB, since parts are limited in number.

    Raises:
        ResourceExhausted: the blob is too large for S3 (273 GiB).
    """
    if number > _MAX_PARTS:
        raise ResourceExhausted("the file is too large for the storage", reason="FILE_TOO_LARGE")
    return MIN_PART_BYTES << min(_MAX_DOUBLINGS, (number - 1) // _PARTS_OF_ONE_SIZE)


def parts_in_flight(size: int) -> int:
    """How many parts of `size` are sent side by side: enough to hide a round trip, and few
    enough for the memory of a server that takes several uploads.
    """
    return max(_MIN_IN_FLIGHT, _IN_FLIGHT_BYTES // size)


class S3Stage:
    """See `storage_server.store.port.Stage`.

    Args:
        made: the object that comes of it.
        upload_id: of the multipart upload; empty while there is none.
        parts: what the server has of it, checked.
        placed_bytes: size of the object, when it is complete already.
        forget: called once, when this stage is closed or discarded.
    """

    def __init__(
        self,
        client: S3Client,
        tails: Tails,
        *,
        made: S3Object,
        upload_id: str = "",
        parts: Sequence[Part] = (),
        placed_bytes: int | None = None,
        forget: Callable[[S3Stage], None],
    ) -> None:
        self.key = made.key
        self._made = made
        self._client = client
        self._tails = tails
        self._threads = tails.threads
        self._upload_id = upload_id
        self._sent = {number: (etag, size) for number, etag, size, _ in parts}
        self._crcs = {number: crc for number, _, _, crc in parts}
        self._complete_bytes = placed_bytes
        self._put_tried = placed_bytes is not None
        self._forget = forget
        start = sum(part[2] for part in parts) if placed_bytes is None else placed_bytes
        self._offset = start
        self._number = len(parts) + 1
        self._tail = tails.begin()
        self._sending: set[asyncio.Task[None]] = set()
        self._error: ArtStoreError | None = None
        self._pipeline = Pipeline(tails.threads, self._hash, what=client.name(made.key))
        self._digest = RunningDigest() if start == 0 else None
        self._hashing = (self._number, 0, 0)
        self._sealed: SealedBlob | None = None
        self._closed = False

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        return self._offset

    async def write(self, data: bytes | memoryview, crc32c: int | None = None) -> None:
        """Append; a full part is sent, and waits when too much is under way."""
        self._require_writable()
        while data:
            room = part_bytes(self._number) - self._tail.size_bytes
            piece = data
            if len(data) > room:
                # Each has bytes of its own: a view would hold the whole for the little in it.
                piece, data, crc32c = bytes(data[:room]), bytes(data[room:]), None
            else:
                data = b""
            await self._pipeline.write(piece, crc32c)
            self._tail.add(piece)
            self._offset += len(piece)
            if len(piece) == room:
                await self._send_tail()
        await self._tails.make_room()

    async def checkpoint(self) -> StagedState:
        """Wait for the parts under way. The tail below a part stays in memory."""
        self._require_open()
        await self._pipeline.drain()
        await self._all_sent()
        # The last part of a blob that could not be completed is no whole one.
        whole = sorted(self._sent.keys() & self._crcs.keys())
        parts = tuple((number, *self._sent[number], self._crcs[number]) for number in whole)
        return StagedState(self._upload_id, sum(part[2] for part in parts), parts)

    async def truncate(self, offset: int) -> None:
        """Go back within the tail, or to the border of a part."""
        self._require_writable()
        if not 0 <= offset <= self._offset:
            raise OutOfRange(f"offset {offset} is beyond the end, {self._offset}")
        await self._pipeline.drain()
        await self._all_sent()
        if offset == self._offset:
            return
        start, kept = self._offset - self._tail.size_bytes, b""
        if offset >= start:
            kept = (await self._tail.whole())[: offset - start]
        else:
            while start > offset:
                self._number -= 1
                start -= self._sent.pop(self._number)[1]
                self._crcs.pop(self._number, None)
            if not self._sent:
                # Begun anew, since not every server lets a part be sent again with other bytes.
                await abort_upload(self._client, self.key, self._upload_id)
                self._upload_id = ""
        self._begin_tail()
        self._tail.add(kept)
        self._offset = start + len(kept)
        self._digest = RunningDigest() if self._offset == 0 else None
        self._hashing = (self._number, 0, 0)
        await self._threads.run("a part", self._hash, [Written(kept, None)] if kept else [])

    async def seal(
        self,
        check: Callable[[SealedBlob], None] = lambda _: None,
        *,
        seconds_left: float | None = None,
    ) -> SealedBlob:
        """Send the rest and make the object. A resumed one is read again for its digests."""
        self._require_open()
        if self._sealed is None:
            if self._complete_bytes is None:
                await self._pipeline.drain()
                await self._all_sent()
                if self._digest is not None:
                    check(self._digest.result())
                await self._make_object(seconds_left)
                self._complete_bytes = self._offset
            digest = self._digest or await self._made.read(self._offset)
            self._sealed = digest.result()
        check(self._sealed)
        return self._sealed

    async def place(self) -> None:
        """Check that the object is there, whole: sealing has put it in place."""
        self._require_open()
        if self._sealed is None:
            raise FailedPrecondition("the stage is not sealed")
        size = await self._made.size(self._offset)
        if size != self._sealed.size_bytes:
            raise DataLoss(
                f"{self._client.name(self.key)}: it has {size} bytes instead of"
                f" {self._sealed.size_bytes}",
                reason="BLOB_SHORT",
            )

    async def discard(self) -> None:
        """Abort the upload, or remove the object unless it has a sidecar."""
        removal = asyncio.ensure_future(self._discard())
        await asyncio.shield(removal)

    def rest(self) -> None:
        """It has no descriptor."""

    async def close(self) -> None:
        """Stop sending; the parts that the server has stay."""
        if self._closed:
            return
        self._closed = True
        try:
            await cancel_and_wait(*self._sending)
            await self._pipeline.settle()
        finally:
            self._tail.drop()
            self._forget(self)

    # --- inside --------------------------------------------------------------------

    async def _discard(self) -> None:
        await self.close()
        if self._upload_id and self._complete_bytes is None:
            await abort_upload(self._client, self.key, self._upload_id)
        if self._put_tried and not await self._made.has_sidecar():
            await self._client.call("delete_object", self.key)

    async def _send_tail(self) -> None:
        number, self._number = self._number, self._number + 1
        tail, self._tail = self._tail, self._tails.begin()
        size = tail.size_bytes
        try:
            if not self._upload_id:
                answer = await self._expect("create_multipart_upload")
                self._upload_id = str(answer["UploadId"])
            while len(self._sending) >= parts_in_flight(size):
                await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            self._raise_error()
        except BaseException:
            tail.drop()
            raise
        task = asyncio.create_task(self._send(number, tail, size))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        task.add_done_callback(lambda _: tail.drop())

    async def _send(self, number: int, tail: Tail, size: int) -> None:
        try:
            async with self._tails.sending(size):
                body = await tail.whole()
                tail.drop()
                answer = await self._expect(
                    "upload_part",
                    seconds=self._client.patient_seconds,
                    PartNumber=number,
                    UploadId=self._upload_id,
                    Body=io.BytesIO(body),
                )
            self._sent[number] = (str(answer["ETag"]), size)
        except ArtStoreError as exc:
            self._error = self._error or exc

    async def _all_sent(self) -> None:
        if self._sending:
            await asyncio.wait(self._sending)
        self._raise_error()

    async def _make_object(self, seconds_left: float | None) -> None:
        began = time.monotonic()
        digest = self._digest.result() if self._digest is not None else None
        if not self._upload_id or self._offset == 0:
            if self._upload_id:
                await abort_upload(self._client, self.key, self._upload_id)
                self._upload_id = ""
            self._put_tried = True
            async with self._tails.sending(self._tail.size_bytes):
                await self._made.put(await self._tail.whole(), digest)
        else:
            if self._tail.size_bytes:
                await self._send_tail()
                await self._all_sent()
            if seconds_left is not None:
                seconds_left -= time.monotonic() - began
            self._put_tried = True
            await self._made.complete(
                self._upload_id,
                [{"PartNumber": n, "ETag": self._sent[n][0]} for n in sorted(self._sent)],
                size=self._offset,
                digest=digest,
                seconds_left=seconds_left,
            )
        self._begin_tail()

    def _begin_tail(self) -> None:
        self._tail.drop()
        self._tail = self._tails.begin()

    async def _expect(
        self, operation: str, *, seconds: float | None = None, **parameters: object
    ) -> dict[str, object]:
        try:
            return await self._client.call(operation, self.key, seconds=seconds, **parameters)
        except Refused as exc:
            raise self._client.unexpected(exc, f"{operation} of {self.key}") from exc

    def _require_open(self) -> None:
        if self._closed:
            raise FailedPrecondition(
                "this stage is closed: another stream went on with the upload", reason="TAKEN_OVER"
            )
        self._raise_error()

    def _require_writable(self) -> None:
        self._require_open()
        if self._complete_bytes is not None:
            raise FailedPrecondition("the blob is complete and in place", reason="SEALED")

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    # --- in a thread ---------------------------------------------------------------

    def _hash(self, batch: Sequence[Written]) -> None:
        number, size, crc = self._hashing
        for data, said in batch:
            known = crc32c(data) if said is None else said
            if self._digest is not None:
                self._digest.update(data, known)
            size, crc = size + len(data), after(crc, data, known)
            if size == part_bytes(number):
                self._crcs[number] = crc
                number, size, crc = number + 1, 0, 0
        self._hashing = (number, size, crc)
