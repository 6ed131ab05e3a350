"""What happens to resumable uploads without their callers: by the clock, and with the element."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from mesh.errors import Aborted, ArtStoreError, FailedPrecondition, Unavailable
from storage_server.catalog.uploads import UploadRow
from storage_server.uploads.open_uploads import OpenUploads
from storage_server.uploads.parts import UploadParts

IDLE_CLOSE_SECONDS = 300.0

_log = structlog.stdlib.get_logger(__name__)


class UploadKeeping:
    """See the module.

    Args:
        idle_for: an upload that nobody touches for so long is dropped.
        lapse_after: one to which no byte came for so long since it began gives its room back.
    """

    def __init__(
        self,
        parts: UploadParts,
        uploads: OpenUploads,
        *,
        idle_for: timedelta,
        lapse_after: timedelta,
    ) -> None:
        self._parts = parts
        self._uploads = uploads
        self._idle_for = idle_for
        self._lapse_after = lapse_after
        self._unheard_lapse = False

    async def restore_room(self) -> None:
        """This process has just become the writer: take over the room of open uploads.

        Raises:
            Unavailable: the database does not answer.
        """
        for row in await self._parts.records.list_open():
            self._parts.space.restore(
                row.upload_id,
                row.reserved_bytes,
                account=row.created_by,
                sent_bytes=row.stage.committed_size_bytes,
            )

    async def forget(self) -> None:
        """This process is not the writer any more."""
        for upload in self._uploads.forget_all():
            upload.interrupt(Unavailable("this process is not the writer any more"))
            await upload.stage.close()

    async def stop(self) -> None:
        """The server stops: put on record what can be, and close all stages."""
        for upload in self._uploads.forget_all():
            upload.interrupt(Unavailable("the server is stopping"))
            try:
                await upload.committed_size()
            except ArtStoreError as exc:
                _log.info("progress not recorded", reason=exc.message)
            await upload.stage.close()

    async def abort_all(self) -> None:
        """The element left its writing mode for good: end every upload that is open."""
        for row in await self._parts.records.list_open():
            upload = await self._uploads.load(row.upload_id)
            if upload is not None:
                upload.interrupt(
                    FailedPrecondition("the element left its writing mode", reason="MODE")
                )
                await self._parts.unbroken.run(self._uploads.end(upload))

    async def requests_of(self, file_id: str) -> Collection[tuple[str, str]]:
        """Account and request id of the uploads of a file."""
        rows = await self._parts.records.of_file(file_id)
        return [(row.created_by, row.request_id) for row in rows]

    async def end(self, file_id: str, error: ArtStoreError) -> None:
        """End the uploads of a file, and let those go from memory that have become one.

        Raises:
            Unavailable: storage or database.
        """
        for row in await self._parts.records.of_file(file_id):
            upload = await self._uploads.load(row.upload_id)
            if upload is not None:
                upload.interrupt(error)
                await self._parts.unbroken.run(self._uploads.end(upload))
            self._uploads.forget(row.upload_id)

    async def settle_open(self) -> None:
        """Finish uploads whose file was made just before a crash."""
        for row in await self._parts.records.list_open():
            upload = await self._uploads.load(row.upload_id)
            if upload is not None:
                await self._uploads.settle(upload)

    async def idle(self) -> Sequence[UploadRow]:
        """The open uploads that nobody has touched for a week."""
        before = datetime.now(UTC) - self._idle_for
        return [row for row in await self._parts.records.list_open() if self._is_idle(row, before)]

    async def drop(self, row: UploadRow) -> bool:
        """Drop one that was idle, if it still is and has not become a file."""
        return await self._drop_idle(row, datetime.now(UTC) - self._idle_for)

    def _is_idle(self, row: UploadRow, before: datetime) -> bool:
        upload = self._uploads.find(row.upload_id)
        if upload is None:
            return row.touched_at < before
        return not upload.busy and upload.row.touched_at < before

    async def drop_idle(self) -> None:
        """Forget uploads that nobody has touched for a week."""
        before = datetime.now(UTC) - self._idle_for
        dropped = True
        while dropped:
            rows = await self._parts.records.list_idle(before)
            dropped = any([await self._drop_idle(row, before) for row in rows])

    async def _drop_idle(self, row: UploadRow, before: datetime) -> bool:
        if row.committed:
            self._uploads.forget(row.upload_id)
            await self._parts.records.delete(row.upload_id)
            return True
        upload = await self._uploads.load(row.upload_id)
        if upload is None or upload.busy or upload.row.touched_at >= before:
            return False
        await self._uploads.end(upload)
        _log.info("idle upload dropped", upload=row.upload_id, was_file=upload.state.is_file)
        return not upload.state.is_file

    async def lapse_empty(self) -> None:
        """Free the room of uploads to which no byte has come; they stay open.

        The next byte asks for room again. It is on record first, so that a restart in between
        finds what was true.
        """
        before = datetime.now(UTC) - self._lapse_after
        sending = [one.upload_id for one in self._uploads.in_use if one.stage.offset]
        try:
            lapsed = await self._parts.records.lapse(before, sending=sending)
        except ArtStoreError:
            self._unheard_lapse = True
            raise
        if self._unheard_lapse:
            # What the database did and could not tell.
            rows = await self._parts.records.list_open()
            lapsed = [row.upload_id for row in rows if not row.reserved_bytes]
            self._unheard_lapse = False
        for upload_id in lapsed:
            self._parts.space.cut(upload_id)
            upload = self._uploads.find(upload_id)
            if upload is not None:
                upload.stage.row = replace(upload.row, reserved_bytes=0)
        if lapsed:
            _log.info("reservations without bytes lapsed", count=len(lapsed))

    def interrupt_idle(self, idle_seconds: float) -> None:
        """End the streams that have been silent for so long; what came stays."""
        limit = time.monotonic() - idle_seconds
        for upload in self._uploads.in_use:
            if upload.active_at < limit:
                upload.pause(
                    Aborted(f"nothing came for {idle_seconds:g} s; go on later", reason="IDLE")
                )

    def rest_idle(self, idle_seconds: float) -> None:
        """Have stages let go of their descriptors on which nothing came for so long."""
        limit = time.monotonic() - idle_seconds
        for upload in self._uploads.in_use:
            if upload.active_at < limit and not upload.turn.locked():
                upload.stage.rest()

    async def close_idle(self) -> None:
        """Close the stages of uploads that are not used now; the catalog has what they need.

        What S3 does not keep of them, the part below a whole one, goes; how much came stays known.
        """
        limit = time.monotonic() - IDLE_CLOSE_SECONDS
        for upload in self._uploads.in_use:
            if upload.active_at < limit and not upload.busy:
                await upload.committed_size()
                async with upload.turn:
                    known = upload.state.is_file or upload.stage.is_on_record
                    if known and upload.active_at < limit:
                        self._uploads.forget(upload.upload_id)
                        await upload.stage.close()
