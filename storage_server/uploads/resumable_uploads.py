"""What callers do with resumable uploads: open, write, ask, commit, abort, list."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from mesh.errors import NotFound, PermissionDenied, Unavailable
from mesh.identity.caller import ALL_NAMESPACES, Caller, Role, current_file_id
from mesh.paging import AskedPage
from storage_server.catalog.uploads import UploadRow
from storage_server.domain.life import deleted_at_of
from storage_server.domain.naming import blob_path
from storage_server.domain.origin import Origin
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.store.port import StagedState
from storage_server.uploads.header import Header, check_declared, draft
from storage_server.uploads.open_uploads import OpenUploads
from storage_server.uploads.parts import UploadParts
from storage_server.uploads.recorded_stage import first_key
from storage_server.uploads.resumable import ResumableUpload, UploadWriter
from storage_server.writing.view import FileView

Find = Callable[[str], Awaitable[FileView | None]]


@dataclass(frozen=True, slots=True)
class StartedUpload:
    """An upload and the token that was just made for it."""

    upload_id: str
    token: str
    expires_at: datetime


class ResumableUploads:
    """Serves StartUpload, WriteUpload, GetUpload, CommitUpload, AbortUpload and ListUploads.

    Args:
        find: a file in any state, by id.
        idle_for: an upload that nobody touches for so long is dropped.
    """

    def __init__(
        self, parts: UploadParts, uploads: OpenUploads, *, find: Find, idle_for: timedelta
    ) -> None:
        self._parts = parts
        self._uploads = uploads
        self._find = find
        self._idle_for = idle_for

    async def open(self, header: Header, file_id: str, caller: Caller) -> StartedUpload:
        """A new upload; its room is reserved.

        Raises:
            ResourceExhausted: no room, or the account's limits.
            Unavailable: the database does not answer.
        """
        parts = self._parts
        sidecar = draft(header, file_id, caller.subject)
        upload_id = f"{parts.element.element_id}.{secrets.token_urlsafe(18)}"
        held = await parts.reserving.take(
            upload_id, header.size_bytes, account=caller.subject, limits=caller.limits
        )
        token = secrets.token_urlsafe(32)
        row = _new_row(upload_id, sidecar, header, token, held)
        row = replace(row, stage=StagedState(first_key(parts.element, upload_id)))
        try:
            await parts.records.create(row)
        except BaseException:
            parts.space.release(upload_id)
            raise
        self._uploads.add(row, header, sidecar)
        current_file_id.set(file_id)
        return StartedUpload(upload_id, token, row.touched_at + self._idle_for)

    async def open_for_file(self, header: Header, sidecar: Sidecar) -> StartedUpload:
        """An upload that is committed from its start: of a file that is there already."""
        upload_id = f"{self._parts.element.element_id}.{secrets.token_urlsafe(18)}"
        token = secrets.token_urlsafe(32)
        row = replace(_new_row(upload_id, sidecar, header, token, 0), committed=True)
        await self._parts.records.create(row)
        return StartedUpload(upload_id, token, row.touched_at + self._idle_for)

    async def reopen(self, row: UploadRow) -> StartedUpload:
        """A new token for an upload; the old one stops working."""
        token, now = secrets.token_urlsafe(32), datetime.now(UTC)
        if not await self._parts.records.replace_token(row.upload_id, _hashed(token), now=now):
            raise Unavailable("the upload was ended meanwhile; try again")
        upload = self._uploads.find(row.upload_id)
        if upload is not None:
            upload.stage.row = replace(upload.row, token_hash=_hashed(token), touched_at=now)
        return StartedUpload(row.upload_id, token, now + self._idle_for)

    async def writer(
        self, upload_id: str, token: str, caller: Caller
    ) -> tuple[ResumableUpload, UploadWriter]:
        """Become the writer of an upload.

        Raises:
            NotFound, PermissionDenied: the id, its token, or who brings it.
            FailedPrecondition: it is committed, or the element left its writing mode.
        """
        upload = await self._get(upload_id, token, caller)
        await self._uploads.settle(upload)
        return upload, await upload.take_over(caller.limits)

    async def progress(
        self, upload_id: str, token: str, caller: Caller
    ) -> tuple[int, FileView | None]:
        """Bytes on record, and the file once there is one."""
        upload = await self._get(upload_id, token, caller)
        await self._uploads.settle(upload)
        if not upload.state.is_file:
            size = await self._parts.unbroken.run(upload.committed_size())
            upload.require_present()
            return size, None
        view = await self._file_of(upload)
        return view.sidecar.size_bytes, view

    async def commit(
        self,
        upload_id: str,
        token: str,
        caller: Caller,
        size_bytes: int | None,
        sha256: str | None,
        *,
        by: Origin,
        deadline: float | None = None,
    ) -> FileView:
        """Make the file; committed before, it answers that file.

        Args:
            by: who commits.
            deadline: see `make_file`.

        Raises:
            OutOfRange, DataLoss: see `ResumableUpload.commit`.
        """
        check_declared(size_bytes, sha256)
        upload = await self._get(upload_id, token, caller)
        return await self._parts.unbroken.run(
            self._commit(upload, size_bytes, sha256, by, deadline)
        )

    async def abort(
        self, upload_id: str, token: str, caller: Caller, *, as_owner: bool = False
    ) -> None:
        """End an upload and free its room; a committed file stays, an unknown id is fine.

        Args:
            as_owner: `caller` opened it or is an ADMIN, and needs no token: ListUploads shows none.
        """
        try:
            upload = await self._get(upload_id, token, caller, as_owner=as_owner)
        except NotFound:
            return
        await self._parts.unbroken.run(self._uploads.end(upload))

    async def list_open(
        self, caller: Caller, *, created_by: str, page_size: int, page_token: str
    ) -> tuple[Sequence[UploadRow], str, int]:
        """(a page of open uploads, newest first; the next page's token; how many there are): those
        to namespaces that `caller` may read.

        Args:
            created_by: only of this account; empty means all.
            page_size: 0 means 100; more than 1,000 is lowered.

        Raises:
            InvalidArgument: page_size or page_token.
            Unavailable: the database does not answer.
        """
        asked = AskedPage.read(page_size, page_token, ("uploads", created_by), datetime, str)
        before = None if asked.after is None else (asked.after[0], asked.after[1])
        every = ALL_NAMESPACES in caller.namespaces_read
        rows, total = await self._parts.records.list_page(
            created_by=created_by,
            namespaces=None if every else caller.namespaces_read,
            before=before,
            limit=asked.size + 1,
        )
        return *asked.page(rows, _order), total

    def expires_at(self, row: UploadRow) -> datetime:
        """When an upload is dropped unless somebody touches it."""
        return row.touched_at + self._idle_for

    # --- inside ----------------------------------------------------------------------

    async def _get(
        self, upload_id: str, token: str, caller: Caller, *, as_owner: bool = False
    ) -> ResumableUpload:
        """The upload of this id, if its token is right and brought by the account that it was
        given to, or it is asked for by its owner, as long as that reaches the upload's namespace.
        """
        if not upload_id.startswith(f"{self._parts.element.element_id}."):
            raise NotFound(f"no upload {upload_id[:80]!r} on this element")
        if not token and not as_owner:
            raise _no_token()
        upload = await self._uploads.load(upload_id)
        if upload is None:
            raise NotFound(f"no upload {upload_id[:80]!r}; it was aborted, or idle for too long")
        if not (as_owner and _owns(caller, upload.row)):
            _require_token(token, caller, upload.row)
        caller.require_write(upload.header.namespace)
        upload.active_at = time.monotonic()
        current_file_id.set(upload.row.file_id)
        return upload

    async def _commit(
        self,
        upload: ResumableUpload,
        size_bytes: int | None,
        sha256: str | None,
        by: Origin,
        deadline: float | None,
    ) -> FileView:
        await self._uploads.settle(upload)
        async with upload.turn:
            if not upload.state.is_file:
                stored = await upload.commit(size_bytes, sha256, by=by, deadline=deadline)
                await self._uploads.finish(upload)
                return stored
        return await self._file_of(upload)

    async def _file_of(self, upload: ResumableUpload) -> FileView:
        view = await self._find(upload.row.file_id)
        if view is None:
            raise NotFound(f"the upload became file {upload.row.file_id}, which is gone")
        require_present(view)
        self._parts.terms.retention.require_current(view.sidecar)
        return view


def _owns(caller: Caller, row: UploadRow) -> bool:
    return caller.role is Role.ADMIN or caller.subject == row.created_by


def _require_token(token: str, caller: Caller, row: UploadRow) -> None:
    if not token:
        raise _no_token()
    if not hmac.compare_digest(_hashed(token), row.token_hash):
        raise PermissionDenied("the upload's token is wrong", reason="UPLOAD_TOKEN")
    if caller.subject != row.created_by:
        raise PermissionDenied(
            "the upload's token was given to another account", reason="UPLOAD_TOKEN"
        )


def _no_token() -> PermissionDenied:
    return PermissionDenied(
        "send the upload's token as metadata `artstore-upload-token`", reason="UPLOAD_TOKEN"
    )


def require_present(view: FileView) -> None:
    """Raise NotFound for the file of an earlier upload that was deleted since: an answer that
    says OK would be taken for a file that is kept. One that went elsewhere is kept there, and its
    `moved_to` says where.
    """
    sidecar = view.sidecar
    if sidecar.state is FileState.ERASED:
        raise NotFound(
            f"the upload became file {sidecar.file_id}, which was erased for ever",
            metadata={"file_id": sidecar.file_id},
        )
    if sidecar.state is FileState.DELETED or (
        sidecar.state is FileState.COPY and deleted_at_of(sidecar)
    ):
        raise NotFound(
            f"the upload became file {view.sidecar.file_id}, which was deleted since; "
            "UndeleteFile may bring it back, a new request_id makes another file",
            reason="FILE_DELETED",
            metadata={"file_id": view.sidecar.file_id},
        )


def _new_row(upload_id: str, sidecar: Sidecar, header: Header, token: str, held: int) -> UploadRow:
    now = datetime.now(UTC)
    return UploadRow(
        upload_id=upload_id,
        file_id=sidecar.file_id,
        path=blob_path(sidecar.storage_path, sidecar.storage_filename),
        created_by=sidecar.created_by,
        request_id=header.request_id,
        header=header.to_bytes(),
        token_hash=_hashed(token),
        reserved_bytes=held,
        stage=StagedState(""),
        created_at=now,
        touched_at=now,
    )


def _order(row: UploadRow) -> tuple[datetime, str]:
    return row.created_at, row.upload_id


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
