"""Large uploads: opened at ingest, sent straight to the element, resumed until they are whole."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace

from artstore.v1 import ingest_pb2_grpc, types_pb2, uploads_pb2
from artstore_client import errors
from artstore_client.calls import retry
from artstore_client.calls.calls import Calls
from artstore_client.contract import CHUNK_BYTES, MAX_CHUNK_BYTES
from artstore_client.local.digest import RunningDigest
from artstore_client.results import Progress, UploadedFile
from artstore_client.uploads.outgoing import catch_up, outgoing_chunks
from artstore_client.uploads.sources import Source
from artstore_client.uploads.state_file import StateFile, UploadTicket
from artstore_client.uploads.upload_route import UploadRoute
from artstore_client.uploads.verification import check_answer, check_repeat

MOST_RESTARTS = 2


class ResumableUpload:
    """One upload of a seekable source of known size, over as many connections as it takes.

    Args:
        routes_of: the ways to the upload, the best first.
        state: where the ticket is remembered for a later process; None keeps it in memory.
    """

    def __init__(
        self,
        calls: Calls,
        ingest: ingest_pb2_grpc.IngestServiceAsyncStub,
        routes_of: Callable[[UploadTicket], list[UploadRoute]],
        source: Source,
        header: uploads_pb2.UploadHeader,
        *,
        state: StateFile | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._calls = calls
        self._ingest = ingest
        self._routes_of = routes_of
        self._source = source
        self._size = source.size_bytes or 0
        self._header = header
        self._given_request_id = header.request_id
        self._state = state
        self._progress = progress
        self._digest = RunningDigest()
        self._patience = calls.patience()
        self._ticket = self._new_ticket()
        self._taken_up = False
        self._resumed_at = 0
        self._restarts = 0
        self._renewals = 0
        self._turn = 0
        self._accepted = False

    async def run(self) -> UploadedFile:
        """Upload it.

        Raises:
            ArtStoreError: it was refused, taken over, or did not move for `retry_for` seconds;
                what was sent stays on the element for 7 days, and the state file with it.
            OSError: the source can't be read.
        """
        left = self._state.read() if self._state is not None else None
        if left is not None:
            self._ticket, self._taken_up = left, True
        while True:
            committing = self._accepted = False
            try:
                result = await self._send_all()
                if isinstance(result, UploadedFile):
                    return self._done(result)
                committing = True
                route = self._route()
                sha256 = self._digest.sha256
                answer = await route.commit(self._ticket, self._size, sha256)
                check_answer(answer.file, self._size, sha256)
                return self._done(answer)
            except errors.ArtStoreError as error:
                step = retry.after_commit(error) if committing else retry.after_write(error)
                await self._prepare(step, error)

    async def _committed(self, file: types_pb2.File) -> UploadedFile:
        """The answer to a commit that was lost, asked for again: it says which change it was."""
        try:
            return await self._route().commit(
                self._ticket,
                file.size_bytes,
                file.sha256,
                timeout_seconds=self._calls.timeouts.call,
            )
        except errors.ArtStoreError:
            return UploadedFile(file)

    async def _send_all(self) -> UploadedFile | None:
        """Bring the element to the last byte; answers the file if it is committed already."""
        if not self._ticket.upload_id:
            await self._open()
        # Also of an upload just opened: its request id may have been used before.
        position, file = await self._route().position(self._ticket)
        if file is not None:
            await check_repeat(self._source, file, self._ticket.request_id)
            return await self._committed(file)
        if self._taken_up:
            self._taken_up, self._resumed_at = False, position
        self._moved(position)
        await catch_up(self._source, position, self._digest)
        if position < self._size:
            # The answer counts what survives a restart, which on S3 leaves out the last piece.
            # The commit tells whether the element has it: OUT_OF_RANGE resumes.
            kept = await self._route().write(self._ticket, self._outgoing(position))
            self._patience.note(kept, of="kept")
        else:
            self._source.check_unchanged()
        return None

    async def _open(self) -> None:
        # Remembered before it is asked for, so that a repeat finds an upload whose answer was lost.
        self._remember()
        self._header.request_id = self._ticket.request_id
        answer = await self._calls.unary(
            self._ingest.StartUpload,
            uploads_pb2.StartUploadRequest(header=self._header),
            doing="StartUpload on ingest",
        )
        self._ticket = replace(
            self._ticket,
            upload_id=answer.upload_id,
            upload_token=answer.upload_token,
            storage_element_id=answer.storage_element_id,
            endpoint=answer.endpoint,
            chunk_bytes=answer.chunk_size_bytes,
        )
        self._remember()

    async def _outgoing(self, position: int) -> AsyncGenerator[bytes, None]:
        self._accepted = True
        size = min(self._ticket.chunk_bytes or CHUNK_BYTES, MAX_CHUNK_BYTES)
        async with aclosing(
            outgoing_chunks(self._source, position, self._digest, chunk_bytes=size)
        ) as outgoing:
            async for chunk in outgoing:
                yield chunk.message
                self._patience.note(chunk.end, of="sent")
                if self._progress is not None:
                    self._progress(chunk.end, self._size)

    def _new_ticket(self, error: errors.ArtStoreError | None = None) -> UploadTicket:
        """Of an upload that is to be opened, `error` having ended the one before."""
        request_id = self._given_request_id
        if error is not None and error.reason == errors.STORE_READ_ONLY:
            # By this word the element gave the request up, but for a file that it may have made
            # already: the same id finds that one, instead of making a second.
            request_id = self._ticket.request_id
        return UploadTicket(request_id=request_id or str(uuid.uuid4()))

    def _route(self) -> UploadRoute:
        routes = self._routes_of(self._ticket)
        return routes[self._turn % len(routes)]

    def _moved(self, position: int) -> None:
        self._patience.note(position, of="kept")
        if self._progress is not None:
            self._progress(position, self._size)

    async def _prepare(self, step: retry.Next, error: errors.ArtStoreError) -> None:
        """Make ready for the next try, or raise `error`."""
        opened = bool(self._ticket.upload_id)
        self._renewals = self._renewals + 1 if step is retry.Next.RENEW_TOKEN else 0
        if step is retry.Next.FAIL and not isinstance(error, errors.Aborted):
            await self._abandon(error)
        if step is retry.Next.FAIL or self._renewals > 1:
            raise error
        if step is retry.Next.RESTART:
            await self._abandon(error)
            self._restarts += 1
            if not opened or self._restarts > MOST_RESTARTS:
                raise error
            self._ticket = self._new_ticket(error)
            self._patience = self._calls.patience()
        if opened and isinstance(error, errors.Unavailable):
            # A way that bytes went is tried again first, one that leads nowhere is left.
            self._turn = 0 if self._accepted else self._turn + 1
        delay = self._patience.next_delay(error)
        if delay is None:
            raise self._gave_up(error) from error
        await asyncio.sleep(delay)

    def _gave_up(self, error: errors.ArtStoreError) -> errors.Unavailable:
        return errors.Unavailable(
            f"{error.message} Gave up after {self._calls.timeouts.retry_for:g} s without progress;"
            " what was sent is kept for 7 days, the same upload goes on from there.",
            reason="NO_PROGRESS",
            metadata={"upload_id": self._ticket.upload_id},
        )

    def _remember(self) -> None:
        if self._state is not None:
            self._state.save(self._ticket)

    async def _abandon(self, error: errors.ArtStoreError) -> None:
        """Free the room of an upload that can't become this file, and forget it."""
        if self._state is not None:
            self._state.forget()
        gone = isinstance(error, errors.NotFound | errors.PermissionDenied | errors.AlreadyExists)
        if self._ticket.upload_id and not gone:
            with suppress(errors.ArtStoreError):
                await self._route().abort(self._ticket)

    def _done(self, result: UploadedFile) -> UploadedFile:
        if self._state is not None:
            self._state.forget()
        return replace(result, resumed_at_bytes=self._resumed_at)
