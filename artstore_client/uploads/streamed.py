"""Small and unrepeatable uploads: one stream through ingest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from artstore.v1 import ingest_pb2_grpc, uploads_pb2
from artstore_client import errors
from artstore_client.calls import retry
from artstore_client.calls.calls import Calls
from artstore_client.local.digest import RunningDigest
from artstore_client.results import Progress, UploadedFile
from artstore_client.uploads.outgoing import outgoing_chunks
from artstore_client.uploads.sending import send_stream
from artstore_client.uploads.sources import Source
from artstore_client.uploads.verification import check_answer, check_repeat

# Elements fill up one after the other; more refusals in a row mean something else.
MOST_REFUSALS = 3


class StreamedUpload:
    """Sends a source with IngestService.Upload, again from the start where that is possible.

    `header.request_id` must be set: it makes the repeats harmless.
    """

    def __init__(
        self,
        calls: Calls,
        ingest: ingest_pb2_grpc.IngestServiceAsyncStub,
        source: Source,
        header: uploads_pb2.UploadHeader,
        progress: Progress | None = None,
    ) -> None:
        self._calls = calls
        self._ingest = ingest
        self._source = source
        self._header = header
        self._progress = progress
        self._digest = RunningDigest()
        self._sent = 0
        self._finished = False

    async def run(self) -> UploadedFile:
        """Upload it.

        Raises:
            ArtStoreError: it was refused, or all tries failed.
            OSError: the source can't be read.
        """
        patience = self._calls.patience()
        refusals = renewals = 0
        while True:
            try:
                return await self._once()
            except errors.ArtStoreError as error:
                step = retry.after_stream(error, bytes_sent=self._sent)
                renewals += step is retry.Next.RENEW_TOKEN
                refusals += not isinstance(error, errors.Unavailable | errors.Internal)
                if step is retry.Next.FAIL:
                    raise
                if not self._source.can_restart:
                    _say_read_once(error)
                    raise
                if renewals > 1 or refusals > MOST_REFUSALS:
                    raise
                delay = patience.next_delay(error)
                if delay is None:
                    raise
            await asyncio.sleep(delay)

    async def _once(self) -> UploadedFile:
        self._sent, self._finished = 0, False
        response = await send_stream(
            self._calls,
            self._ingest.Upload,
            uploads_pb2.UploadRequest(header=self._header),
            self._rest(),
            doing="Upload on ingest",
        )
        if self._finished:
            check_answer(response.file, self._sent, self._digest.sha256)
        else:
            # The answer came before all was sent: the request id has its file already.
            await check_repeat(self._source, response.file, self._header.request_id)
        return UploadedFile(response.file, response.change_token)

    async def _rest(self) -> AsyncGenerator[uploads_pb2.UploadRequest | bytes, None]:
        async with aclosing(outgoing_chunks(self._source, 0, self._digest)) as outgoing:
            async for chunk in outgoing:
                yield chunk.message
                self._sent = chunk.end
                if self._progress is not None:
                    self._progress(self._sent, self._source.size_bytes)
        self._finished = True
        yield uploads_pb2.UploadRequest(
            finish=uploads_pb2.UploadFinish(size_bytes=self._sent, sha256=self._digest.sha256)
        )


def _say_read_once(error: errors.ArtStoreError) -> None:
    """Say in a refusal why another element was not tried, and what to do."""
    if isinstance(error, errors.FailedPrecondition | errors.ResourceExhausted):
        error.message += (
            " Nothing was stored, and the source can be read only once: give it again, or put it"
            " into a file first, which is then sent again by itself."
        )
        error.args = (error.message,)
