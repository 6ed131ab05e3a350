"""The door of uploads: headers are checked here, and repeats of a request recognised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.contract import DEFAULT_NAMESPACE, REQUEST_LIFE_SECONDS
from mesh.errors import (
    Aborted,
    AlreadyExists,
    ArtStoreError,
    StoreReadOnly,
    Unavailable,
)
from mesh.identity.caller import Caller
from storage_server.catalog.port import FileCatalog
from storage_server.catalog.uploads import UploadRow
from storage_server.domain.file_id import new_file_id
from storage_server.domain.origin import Origin
from storage_server.element.clock import Clock
from storage_server.uploads.header import Header, checked, describes, draft, require_new
from storage_server.uploads.open_uploads import OpenUploads
from storage_server.uploads.parts import UploadParts
from storage_server.uploads.resumable_uploads import (
    Find,
    ResumableUploads,
    StartedUpload,
    require_present,
)
from storage_server.uploads.streamed import StreamedUpload
from storage_server.writing.replay import Replay
from storage_server.writing.view import FileView, of_row

TAKE_OVER_SECONDS = 60.0

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Repeated:
    """The request was served before: this is its file."""

    view: FileView


class Intake:
    """Begins uploads of both kinds.

    A request_id belongs to one account. Within this process, which alone writes the element,
    a lock for each makes looking and beginning one step.
    """

    def __init__(
        self,
        parts: UploadParts,
        catalog: FileCatalog,
        uploads: OpenUploads,
        resumable: ResumableUploads,
        replay: Replay,
        *,
        find: Find,
        clock: Clock,
    ) -> None:
        self._parts = parts
        self._catalog = catalog
        self._uploads = uploads
        self._resumable = resumable
        self._replay = replay
        self._find = find
        self._clock = clock
        self._request_locks = KeyedLocks()
        self._running: dict[str, StreamedUpload] = {}
        self._by_request: dict[tuple[str, str], StreamedUpload] = {}

    @property
    def running(self) -> frozenset[str]:
        """File ids of the streamed uploads, whether they have a stage yet or not."""
        return frozenset(self._running)

    async def begin(
        self, header: Header, caller: Caller, *, by: Origin
    ) -> StreamedUpload | Repeated:
        """Accept the header of a streamed upload: reserve its room.

        Args:
            by: whose file it will be, for the feed.

        Raises:
            InvalidArgument, PermissionDenied, FailedPrecondition, ResourceExhausted,
            AlreadyExists, Unavailable: nothing was begun.
        """
        days_said, header = bool(header.retention_days), self._checked(header, caller)
        if not header.request_id:
            return await self._begin_stream(header, caller, by)
        key = (caller.subject, header.request_id)
        async with self._request_locks.hold(key):
            await self._take_over_stream(key, header, days_said=days_said)
            view, upload = await self._served(key, header, days_said=days_said)
            if view is not None:
                return Repeated(view)
            if upload is not None:
                await self._end_upload(upload)
            stream = await self._begin_stream(header, caller, by)
            self._by_request[key] = stream
            return stream

    async def start(self, header: Header, caller: Caller) -> StartedUpload:
        """Open a resumable upload, or answer the one that this request has opened before.

        Raises: as `begin`.
        """
        days_said, header = bool(header.retention_days), self._checked(header, caller)
        if not header.request_id:
            return await self._start_upload(header, caller)
        key = (caller.subject, header.request_id)
        async with self._request_locks.hold(key):
            await self._take_over_stream(key, header, days_said=days_said)
            view, upload = await self._served(key, header, days_said=days_said)
            if upload is not None:
                if view is None:
                    await self._end_unless_writing(upload)
                return await self._resumable.reopen(upload)
            if view is not None:
                return await self._resumable.open_for_file(header, view.sidecar)
            return await self._start_upload(header, caller)

    # --- for the element -------------------------------------------------------------

    def require_writer(self) -> None:
        """Raise Unavailable unless this process writes the element."""
        self._parts.element.writing()

    async def interrupt_all(self, error: ArtStoreError) -> None:
        """End all streamed uploads that are not past that, and wait until they have ended."""
        running = list(self._running.values())
        for upload in running:
            upload.interrupt(error)
        if running:
            waits = [asyncio.ensure_future(upload.until_over()) for upload in running]
            await asyncio.wait(waits, timeout=TAKE_OVER_SECONDS)

    def requests_of(self, file_id: str) -> Collection[tuple[str, str]]:
        """Account and request id of the streamed upload of a file."""
        stream = self._running.get(file_id)
        return [] if stream is None else [(stream.sidecar.created_by, stream.header.request_id)]

    async def end(self, file_id: str, error: ArtStoreError) -> None:
        """End the streamed upload of a file, and wait until that is done, or it is a file.

        Raises:
            Unavailable: it takes too long.
        """
        stream = self._running.get(file_id)
        if stream is None:
            return
        stream.interrupt(error)
        try:
            async with asyncio.timeout(TAKE_OVER_SECONDS):
                await stream.until_over()
        except TimeoutError as exc:
            raise Unavailable(f"the upload of {file_id} is still ending") from exc

    def interrupt_idle(self, idle_seconds: float) -> None:
        """End the streamed uploads that have been silent for so long."""
        limit = time.monotonic() - idle_seconds
        for upload in list(self._running.values()):
            if upload.active_at < limit:
                upload.interrupt(
                    Aborted(f"nothing came for {idle_seconds:g} s; begin again", reason="IDLE")
                )

    def rest_idle(self, idle_seconds: float) -> None:
        """Have stages let go of their descriptors on which nothing came for so long."""
        limit = time.monotonic() - idle_seconds
        for upload in self._running.values():
            if upload.active_at < limit:
                upload.rest()

    # --- inside ----------------------------------------------------------------------

    def _checked(self, header: Header, caller: Caller) -> Header:
        self._parts.element.writing()
        if not self._catalog.available:
            raise Unavailable("the database does not answer, so no upload could be committed")
        namespace = header.namespace or DEFAULT_NAMESPACE
        days = self._parts.terms.retention.default_days(namespace)
        header = checked(header, caller.subject, default_days=days)
        caller.require_write(header.namespace)
        return header

    async def _take_over_stream(
        self, key: tuple[str, str], header: Header, *, days_said: bool
    ) -> None:
        """End the running stream of the same request, if there is one, and wait for its end."""
        stream = self._by_request.get(key)
        if stream is None:
            return
        if not header.repeats(stream.header, days_said=days_said):
            raise _other_header(key[1])
        stream.interrupt(Aborted("a newer call with the same request_id", reason="TAKEN_OVER"))
        try:
            async with asyncio.timeout(TAKE_OVER_SECONDS):
                await stream.until_over()
        except TimeoutError as exc:
            raise Unavailable("the first upload with this request_id is still ending") from exc

    async def _served(
        self, key: tuple[str, str], header: Header, *, days_said: bool
    ) -> tuple[FileView | None, UploadRow | None]:
        """The file and the resumable upload of this request, where there are such.

        Raises:
            AlreadyExists: of another header.
            NotFound: its file was deleted since, or has expired.
        """
        since = datetime.now(UTC) - timedelta(seconds=REQUEST_LIFE_SECONDS)
        # A commit that was cut off has an intent and no row yet.
        await self._replay.of_request(header.request_id)
        row = await self._catalog.reads.find_by_request(*key, since=since)
        upload = await self._catalog.uploads.find_by_request(*key, since=since)
        view = None if row is None else of_row(row, datetime.now(UTC))
        if upload is None:
            if view is not None and not describes(header, view.sidecar, days_said=days_said):
                raise _other_header(key[1])
        elif not header.repeats(Header.from_bytes(upload.header), days_said=days_said):
            raise _other_header(key[1])
        elif view is None and upload.committed:
            # Its row was cleaned away; the sidecar is still there.
            view = await self._find(upload.file_id)
        if view is not None:
            require_present(view)
            self._parts.terms.retention.require_current(view.sidecar)
        return view, upload

    async def _begin_stream(self, header: Header, caller: Caller, by: Origin) -> StreamedUpload:
        parts = self._parts
        self._require_new(header)
        sidecar = draft(header, new_file_id(self._clock.now()), caller.subject)
        await parts.reserving.take(
            sidecar.file_id, header.size_bytes, account=caller.subject, limits=caller.limits
        )
        stream = StreamedUpload(
            parts, header, sidecar, limits=caller.limits, by=by, on_end=self._ended
        )
        self._running[sidecar.file_id] = stream
        return stream

    async def _start_upload(self, header: Header, caller: Caller) -> StartedUpload:
        self._require_new(header)
        return await self._resumable.open(header, new_file_id(self._clock.now()), caller)

    def _require_new(self, header: Header) -> None:
        """Refuse what only a repeat may ask for, and what the namespace has no room for."""
        parts = self._parts
        parts.element.require_creating()
        require_new(header, longest_days=parts.terms.retention.longest_days(header.namespace))
        parts.terms.quotas.require(header.namespace, header.size_bytes)

    async def _end_unless_writing(self, row: UploadRow) -> None:
        """Give an open upload up when the store takes no writes.

        The request then goes to another element, and this upload must never become a second file.

        Raises:
            StoreReadOnly: it has ended, and there is no file.
        """
        try:
            self._parts.element.require_writes()
        except StoreReadOnly:
            upload = await self._uploads.load(row.upload_id)
            if upload is not None:
                await self._parts.unbroken.run(self._uploads.end(upload))
            if upload is None or not upload.state.is_file:
                raise

    async def _end_upload(self, row: UploadRow) -> None:
        upload = await self._uploads.load(row.upload_id)
        if upload is not None:
            await self._uploads.end(upload)

    def _ended(self, stream: StreamedUpload) -> None:
        self._running.pop(stream.file_id, None)
        key = (stream.sidecar.created_by, stream.header.request_id)
        if self._by_request.get(key) is stream:
            del self._by_request[key]


def _other_header(request_id: str) -> AlreadyExists:
    return AlreadyExists(
        f"request_id {request_id!r} was used with another header", reason="REQUEST_ID"
    )
