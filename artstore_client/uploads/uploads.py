"""Chooses how a source is sent, and says in the header what the caller said."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from artstore.v1 import types_pb2, uploads_pb2
from artstore_client.calls.connection import Connection
from artstore_client.errors import InvalidArgument
from artstore_client.results import Progress, UploadedFile
from artstore_client.uploads import state_file
from artstore_client.uploads.content_types import guessed
from artstore_client.uploads.resumable import ResumableUpload
from artstore_client.uploads.sources import PathSource, Source, UploadSource, open_source
from artstore_client.uploads.state_file import StateFile, UploadKey, UploadTicket
from artstore_client.uploads.streamed import StreamedUpload
from artstore_client.uploads.upload_route import UploadRoute

# Up to here a repeat from the first byte costs less than the calls of a resumable upload.
ONE_STREAM_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of a file at upload; see `Client.upload` for the meaning of each."""

    name: str = ""
    content_type: str = ""
    description: str = ""
    version: str = ""
    tags: Sequence[str] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    permanent: bool = False
    retention_days: int = 0
    sha256: str | None = None
    request_id: str = ""

    def header(self, source: Source) -> uploads_pb2.UploadHeader:
        """The header for `source`, without a request id if none was given.

        Raises:
            InvalidArgument: there is no name, or days were given for a permanent file.
            UnicodeEncodeError: what was said is no text.
        """
        name = self.name or source.name
        if not name:
            raise InvalidArgument("this source has no name: give one", field="original_filename")
        if self.permanent and self.retention_days:
            raise InvalidArgument("a permanent file has no retention days", field="retention_days")
        return uploads_pb2.UploadHeader(
            original_filename=name,
            content_type=self.content_type or guessed(name),
            size_bytes=source.size_bytes,
            sha256=self.sha256,
            description=self.description,
            version=self.version,
            tags=self.tags,
            attributes=self.attributes,
            namespace=self.namespace,
            retention_policy=(
                types_pb2.RETENTION_POLICY_PERMANENT
                if self.permanent
                else types_pb2.RETENTION_POLICY_TEMPORARY
            ),
            retention_days=self.retention_days,
            request_id=self.request_id,
        )


class Uploader:
    """Uploads sources through one connection.

    Args:
        one_stream_bytes: seekable sources up to this size go in one stream.
        state_folder: where uploads of paths are remembered for later processes; None: nowhere.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        one_stream_bytes: int = ONE_STREAM_BYTES,
        state_folder: Path | None,
    ) -> None:
        self._connection = connection
        self._one_stream_bytes = one_stream_bytes
        self._state_folder = state_folder
        self._swept = False

    async def upload(
        self, given: UploadSource, description: Description, progress: Progress | None
    ) -> UploadedFile:
        """Upload whatever the caller gave.

        Raises:
            ArtStoreError: refused, or all tries failed.
            OSError: the source can't be read.
        """
        source = await open_source(given)
        try:
            header = _header_of(description, source)
            if source.seekable and (source.size_bytes or 0) > self._one_stream_bytes:
                uploaded = await self._resumable(source, header, progress)
            else:
                uploaded = await self._one_stream(source, header, progress)
        finally:
            source.close()
            self._connection.calls.waits.progressed()
        self._connection.changes.note(uploaded.file.storage_element_id, uploaded.change_token)
        return uploaded

    async def _one_stream(
        self, source: Source, header: uploads_pb2.UploadHeader, progress: Progress | None
    ) -> UploadedFile:
        header.request_id = header.request_id or str(uuid.uuid4())
        connection = self._connection
        return await StreamedUpload(
            connection.calls, connection.ingest, source, header, progress
        ).run()

    async def _resumable(
        self, source: Source, header: uploads_pb2.UploadHeader, progress: Progress | None
    ) -> UploadedFile:
        state = self._state_of(source, header)
        connection = self._connection
        try:
            return await ResumableUpload(
                connection.calls,
                connection.ingest,
                self._routes,
                source,
                header,
                state=state,
                progress=progress,
            ).run()
        finally:
            if state is not None:
                state.close()

    def _state_of(self, source: Source, header: uploads_pb2.UploadHeader) -> StateFile | None:
        if self._state_folder is None or not isinstance(source, PathSource):
            return None
        if not self._swept:
            state_file.sweep(self._state_folder)
            self._swept = True
        key = UploadKey(
            path=str(source.path),
            mtime_ns=source.stat.st_mtime_ns,
            size_bytes=source.stat.st_size,
            mesh_id=self._connection.settings.mesh_id,
            header=header.SerializeToString(deterministic=True),
        )
        return state_file.open_state(self._state_folder, key)

    def _routes(self, ticket: UploadTicket) -> list[UploadRoute]:
        connection = self._connection
        element_id = ticket.storage_element_id
        # What the caller configured can be reached from here; what the element says of itself
        # may be a name inside another network.
        endpoint = connection.directory.place(element_id) or ticket.endpoint
        through_ingest = UploadRoute.through_ingest(connection.calls, connection.ingest)
        if not endpoint:
            return [through_ingest]
        stub = connection.storage_at(endpoint)
        return [UploadRoute.direct(element_id, connection.calls, stub), through_ingest]


def _header_of(description: Description, source: Source) -> uploads_pb2.UploadHeader:
    try:
        return description.header(source)
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"{error.object!r} is no text: it has bytes that are not UTF-8"
        ) from None
