"""The resumable uploads that are in use: each once in memory, and what of them is a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import Unavailable
from storage_server.catalog.port import RowReads
from storage_server.catalog.uploads import UploadRow
from storage_server.domain.sidecar import Sidecar
from storage_server.uploads.header import Header, draft
from storage_server.uploads.parts import UploadParts
from storage_server.uploads.resumable import ResumableUpload
from storage_server.uploads.state import UploadState
from storage_server.writing.replay import Replay

MAX_ID_LENGTH = 200

_log = structlog.stdlib.get_logger(__name__)


class OpenUploads:
    """Keeps uploads in memory as long as they are used; the catalog has them all."""

    def __init__(self, parts: UploadParts, reads: RowReads, replay: Replay) -> None:
        self._parts = parts
        self._reads = reads
        self._replay = replay
        self._uploads: dict[str, ResumableUpload] = {}
        self._loading = KeyedLocks()

    @property
    def in_use(self) -> Sequence[ResumableUpload]:
        """Those that are in memory now."""
        return list(self._uploads.values())

    def add(self, row: UploadRow, header: Header, sidecar: Sidecar) -> None:
        """One that was just put on record: nobody can have committed it."""
        upload = ResumableUpload(self._parts, row, header, sidecar, UploadState.TAKING)
        self._uploads[row.upload_id] = upload

    def find(self, upload_id: str) -> ResumableUpload | None:
        """One that is in memory."""
        return self._uploads.get(upload_id)

    def forget(self, upload_id: str) -> None:
        """Let one go from memory."""
        self._uploads.pop(upload_id, None)

    def forget_all(self) -> Sequence[ResumableUpload]:
        """Let all go from memory, and answer them."""
        uploads, self._uploads = list(self._uploads.values()), {}
        return uploads

    async def load(self, upload_id: str) -> ResumableUpload | None:
        """An upload, whatever its token; None when there is none."""
        self._parts.element.writing()
        upload = self._uploads.get(upload_id)
        if upload is not None:
            return upload
        if "\0" in upload_id or len(upload_id) > MAX_ID_LENGTH:
            return None
        async with self._loading.hold(upload_id):
            upload = self._uploads.get(upload_id)
            if upload is not None:
                return upload
            row = await self._parts.records.get(upload_id)
            if row is None:
                return None
            header = Header.from_bytes(row.header)
            sidecar = draft(header, row.file_id, row.created_by)
            state = UploadState.FILE if row.committed else UploadState.UNCERTAIN
            upload = ResumableUpload(self._parts, row, header, sidecar, state)
            self._uploads[upload_id] = upload
            return upload

    async def settle(self, upload: ResumableUpload) -> None:
        """Find out whether a commit that was cut off has made the file.

        It stays open while the store may still write the sidecar that it was sent.
        """
        if upload.state.is_settled:
            return
        nothing_comes = await self._replay.of_file(upload.row.file_id)
        async with upload.turn:
            if upload.state.is_settled:
                return
            if await self._reads.get(upload.row.file_id) is not None:
                await self.finish(upload)
            elif upload.state is UploadState.STORED:
                # Its row was written, and has gone again.
                upload.state = UploadState.FILE
            elif nothing_comes:
                upload.state = UploadState.TAKING

    async def end(self, upload: ResumableUpload) -> None:
        """Abort, unless there is a file."""
        await self.settle(upload)
        async with upload.turn:
            if upload.state.is_file:
                return
            try:
                await upload.abort()
            finally:
                # Not before: whoever asks meanwhile must not find it on record once more.
                self.forget(upload.upload_id)

    async def finish(self, upload: ResumableUpload) -> None:
        """The upload is a file; what is not recorded of that now is found out later."""
        now = datetime.now(UTC)
        upload.state = UploadState.FILE
        try:
            await self._parts.records.finish(upload.upload_id, now=now)
        except Unavailable as exc:
            _log.info("upload not marked as committed", reason=exc.message)
        upload.stage.row = replace(upload.row, committed=True, touched_at=now)
        self._parts.space.release(upload.upload_id)
