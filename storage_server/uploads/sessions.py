"""The resumable uploads of the element: opened, found again, ended."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from mesh.errors import (
    Aborted,
    ArtStoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from storage_server.catalog.reads import (
    DEFAULT_PAGE_SIZE,
    MAX_PAGE_SIZE,
    Reads,
    decode_page_token,
    encode_page_token,
)
from storage_server.catalog.uploads import UploadRow
from storage_server.domain.naming import blob_path
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.store.port import StagedState
from storage_server.uploads.header import Header, check_declared, draft
from storage_server.uploads.session import Session, SessionParts, Writer, first_key
from storage_server.writing.keyed_locks import KeyedLocks
from storage_server.writing.replay import Replay
from storage_server.writing.view import FileView

IDLE_CLOSE_SECONDS = 300.0

Find = Callable[[str], Awaitable[FileView | None]]

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StartedUpload:
    """An upload and the token that was just made for it."""

    upload_id: str
    token: str
    expires_at: datetime


class Sessions:
    """Keeps open uploads in memory as long as they are used; the catalog has them all.

    Args:
        find: a file in any state, by id.
        idle_for: an upload that nobody touches for so long is dropped.
    """

    def __init__(
        self,
        parts: SessionParts,
        reads: Reads,
        replay: Replay,
        *,
        find: Find,
        idle_for: timedelta,
    ) -> None:
        self._parts = parts
        self._reads = reads
        self._replay = replay
        self._find = find
        self._idle_for = idle_for
        self._sessions: dict[str, Session] = {}
        self._loading = KeyedLocks()

    # --- calls -----------------------------------------------------------------------

    async def open(self, header: Header, file_id: str, created_by: str) -> StartedUpload:
        """A new upload; its room is reserved.

        Raises:
            ResourceExhausted: no room.
            Unavailable: the database does not answer.
        """
        parts = self._parts
        sidecar = draft(header, file_id, created_by)
        upload_id = f"{parts.element.element_id}.{secrets.token_urlsafe(18)}"
        held = parts.space.take(upload_id, header.size_bytes)
        token = secrets.token_urlsafe(32)
        row = _new_row(upload_id, sidecar, header, token, held)
        row = replace(row, stage=StagedState(first_key(parts.element, upload_id)))
        try:
            await parts.uploads.create(row)
        except BaseException:
            parts.space.release(upload_id)
            raise
        session = Session(parts, row, header, sidecar)
        session.checked = True
        self._sessions[upload_id] = session
        return StartedUpload(upload_id, token, row.touched_at + self._idle_for)

    async def open_for_file(self, header: Header, sidecar: Sidecar) -> StartedUpload:
        """An upload that is committed from its start: of a file that is there already."""
        upload_id = f"{self._parts.element.element_id}.{secrets.token_urlsafe(18)}"
        token = secrets.token_urlsafe(32)
        row = replace(_new_row(upload_id, sidecar, header, token, 0), committed=True)
        await self._parts.uploads.create(row)
        return StartedUpload(upload_id, token, row.touched_at + self._idle_for)

    async def reopen(self, row: UploadRow) -> StartedUpload:
        """A new token for an upload; the old one stops working."""
        token, now = secrets.token_urlsafe(32), datetime.now(UTC)
        if not await self._parts.uploads.replace_token(row.upload_id, _hashed(token), now=now):
            raise Unavailable("the upload was ended meanwhile; try again")
        session = self._sessions.get(row.upload_id)
        if session is not None:
            session.row = replace(session.row, token_hash=_hashed(token), touched_at=now)
        return StartedUpload(row.upload_id, token, now + self._idle_for)

    async def writer(self, upload_id: str, token: str) -> tuple[Session, Writer]:
        """Become the writer of an upload.

        Raises:
            NotFound, PermissionDenied: the id or its token.
            FailedPrecondition: it is committed, or the element left its writing mode.
        """
        session = await self._get(upload_id, token)
        await self._settle(session)
        return session, await session.take_over()

    async def progress(self, upload_id: str, token: str) -> tuple[int, FileView | None]:
        """Bytes on record, and the file once there is one."""
        session = await self._get(upload_id, token)
        await self._settle(session)
        if not session.is_file:
            size = await self._parts.unbroken.run(session.committed_size())
            session.require_present()
            return size, None
        view = await self._file_of(session)
        return view.sidecar.size_bytes, view

    async def commit(
        self,
        upload_id: str,
        token: str,
        size_bytes: int | None,
        sha256: str | None,
        *,
        deadline: float | None = None,
    ) -> FileView:
        """Make the file; committed before, it answers that file.

        Args:
            deadline: see `Commit.run`.

        Raises:
            OutOfRange, DataLoss: see `Session.commit`.
        """
        check_declared(size_bytes, sha256)
        session = await self._get(upload_id, token)
        return await self._parts.unbroken.run(self._commit(session, size_bytes, sha256, deadline))

    async def abort(self, upload_id: str, token: str) -> None:
        """End an upload and free its room; a committed file stays, an unknown id is fine."""
        try:
            session = await self._get(upload_id, token)
        except NotFound:
            return
        await self._parts.unbroken.run(self.end(session))

    async def end(self, session: Session) -> None:
        """Abort, unless there is a file."""
        await self._settle(session)
        async with session.turn:
            if session.is_file:
                return
            try:
                await session.abort()
            finally:
                # Not before: whoever asks meanwhile must not find it on record once more.
                self._sessions.pop(session.upload_id, None)

    async def list_open(
        self, *, created_by: str, page_size: int, page_token: str
    ) -> tuple[Sequence[UploadRow], str, int]:
        """(a page of open uploads, newest first; the next page's token; how many there are).

        Args:
            created_by: only of this account; empty means all.
            page_size: 0 means 100; more than 1,000 is lowered.

        Raises:
            InvalidArgument: page_size or page_token.
            Unavailable: the database does not answer.
        """
        if page_size < 0:
            raise InvalidArgument("page_size is negative", field="page_size")
        size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        found = await self._parts.uploads.list_open()
        rows = sorted(
            (row for row in found if created_by in ("", row.created_by)),
            key=lambda row: (row.created_at, row.upload_id),
            reverse=True,
        )
        rest = rows
        if page_token:
            before = decode_page_token(page_token)
            rest = [row for row in rows if (row.created_at, row.upload_id) < before]
        page = rest[:size]
        token = ""
        if len(rest) > size:
            token = encode_page_token(page[-1].created_at, page[-1].upload_id)
        return page, token, len(rows)

    def expires_at(self, row: UploadRow) -> datetime:
        """When an upload is dropped unless somebody touches it."""
        return row.touched_at + self._idle_for

    # --- for the element -------------------------------------------------------------

    async def load(self) -> None:
        """This process has just become the writer: take over the room of open uploads.

        Raises:
            Unavailable: the database does not answer.
        """
        for row in await self._parts.uploads.list_open():
            self._parts.space.restore(row.upload_id, row.reserved_bytes)

    async def forget(self) -> None:
        """This process is not the writer any more."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.interrupt(Unavailable("this process is not the writer any more"))
            await session.close()

    async def stop(self) -> None:
        """The server stops: put on record what can be, and close all stages."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.interrupt(Unavailable("the server is stopping"))
            try:
                await session.committed_size()
            except ArtStoreError as exc:
                _log.info("progress not recorded", reason=exc.message)
            await session.close()

    async def abort_all(self) -> None:
        """The element left its writing mode for good: end every upload that is open."""
        for row in await self._parts.uploads.list_open():
            session = await self.load_session(row.upload_id)
            if session is not None:
                session.interrupt(
                    FailedPrecondition("the element left its writing mode", reason="MODE")
                )
                await self._parts.unbroken.run(self.end(session))

    async def settle_open(self) -> None:
        """Finish uploads whose file was made just before a crash."""
        for row in await self._parts.uploads.list_open():
            session = await self.load_session(row.upload_id)
            if session is not None:
                await self._settle(session)

    async def drop_idle(self) -> None:
        """Forget uploads that nobody has touched for a week."""
        before = datetime.now(UTC) - self._idle_for
        dropped = True
        while dropped:
            rows = await self._parts.uploads.list_idle(before)
            dropped = any([await self._drop_idle(row, before) for row in rows])

    async def _drop_idle(self, row: UploadRow, before: datetime) -> bool:
        if row.committed:
            self._sessions.pop(row.upload_id, None)
            await self._parts.uploads.delete(row.upload_id)
            return True
        session = await self.load_session(row.upload_id)
        if session is None or session.busy or session.row.touched_at >= before:
            return False
        await self.end(session)
        _log.info("idle upload dropped", upload=row.upload_id, was_file=session.is_file)
        return not session.is_file

    def interrupt_idle(self, idle_seconds: float) -> None:
        """End the streams that have been silent for so long; what came stays."""
        limit = time.monotonic() - idle_seconds
        for session in list(self._sessions.values()):
            if session.active_at < limit:
                session.interrupt(
                    Aborted(f"nothing came for {idle_seconds:g} s; go on later", reason="IDLE")
                )

    async def close_idle(self) -> None:
        """Close the stages of sessions that are not used now; the catalog has what they need."""
        limit = time.monotonic() - IDLE_CLOSE_SECONDS
        for session in list(self._sessions.values()):
            if session.active_at < limit and not session.busy:
                await session.committed_size()
                async with session.turn:
                    if session.active_at < limit:
                        self._sessions.pop(session.upload_id, None)
                        await session.close()

    # --- inside ----------------------------------------------------------------------

    async def _get(self, upload_id: str, token: str) -> Session:
        """The session of an upload whose token is right."""
        if not upload_id.startswith(f"{self._parts.element.element_id}."):
            raise NotFound(f"no upload {upload_id[:80]!r} on this element")
        if not token:
            raise PermissionDenied(
                "send the upload's token as metadata `artstore-upload-token`",
                reason="UPLOAD_TOKEN",
            )
        session = await self.load_session(upload_id)
        if session is None:
            raise NotFound(f"no upload {upload_id[:80]!r}; it was aborted, or idle for too long")
        if not hmac.compare_digest(_hashed(token), session.row.token_hash):
            raise PermissionDenied("the upload's token is wrong", reason="UPLOAD_TOKEN")
        session.active_at = time.monotonic()
        return session

    async def load_session(self, upload_id: str) -> Session | None:
        """The session of an upload, whatever its token; None when there is none."""
        self._parts.element.writing()
        session = self._sessions.get(upload_id)
        if session is not None:
            return session
        if "\0" in upload_id or len(upload_id) > 200:
            return None
        async with self._loading.hold(upload_id):
            session = self._sessions.get(upload_id)
            if session is not None:
                return session
            row = await self._parts.uploads.get(upload_id)
            if row is None:
                return None
            header = Header.from_bytes(row.header)
            sidecar = draft(header, row.file_id, row.created_by)
            session = Session(self._parts, row, header, sidecar)
            self._sessions[upload_id] = session
            return session

    async def _settle(self, session: Session) -> None:
        """Find out whether a commit that was cut off has made the file."""
        if session.checked:
            return
        await self._replay.of_file(session.row.file_id)
        async with session.turn:
            if await self._reads.get(session.row.file_id) is not None:
                session.is_file = True
                await self._finish(session)
            session.checked = True

    async def _commit(
        self,
        session: Session,
        size_bytes: int | None,
        sha256: str | None,
        deadline: float | None,
    ) -> FileView:
        await self._settle(session)
        async with session.turn:
            if not session.is_file:
                stored = await session.commit(size_bytes, sha256, deadline=deadline)
                await self._finish(session)
                return stored
        return await self._file_of(session)

    async def _finish(self, session: Session) -> None:
        """The upload is a file; what is not recorded of that now is found out later."""
        now = datetime.now(UTC)
        try:
            await self._parts.uploads.finish(session.upload_id, now=now)
        except Unavailable as exc:
            _log.info("upload not marked as committed", reason=exc.message)
        session.row = replace(session.row, committed=True, touched_at=now)
        self._parts.space.release(session.upload_id)

    async def _file_of(self, session: Session) -> FileView:
        view = await self._find(session.row.file_id)
        if view is None:
            raise NotFound(f"the upload became file {session.row.file_id}, which is gone")
        require_present(view)
        return view


def require_present(view: FileView) -> None:
    """Raise NotFound for the file of an earlier upload that was deleted since: an answer that
    says OK would be taken for a file that is kept.
    """
    if view.sidecar.state is FileState.DELETED:
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


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
