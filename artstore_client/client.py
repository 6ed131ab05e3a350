"""The client of a mesh, for asyncio programs."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Self, overload

from artstore.v1 import elements_pb2, query_pb2, types_pb2
from artstore_client import settings
from artstore_client.areas import Areas
from artstore_client.cache import CacheCalls
from artstore_client.calls.calls import Timeouts
from artstore_client.calls.connection import Connection
from artstore_client.calls.waiting import Waiting
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.downloads import download_targets, downloads
from artstore_client.explaining.explanation import Explanation, explain
from artstore_client.files.files import Files
from artstore_client.files.search import SearchCalls
from artstore_client.results import DownloadedFile, ElementReport, Progress, UploadedFile
from artstore_client.uploads import state_file
from artstore_client.uploads.sources import UploadSource
from artstore_client.uploads.uploads import ONE_STREAM_BYTES, Description, Uploader


class Client(Areas):
    """One account's access to one mesh; get it from `connect`, use it in one event loop.

    Every method raises `ArtStoreError` of the kind that mirrors the server's status.
    """

    def __init__(self, connection: Connection, uploader: Uploader) -> None:
        super().__init__(connection)
        self._uploader = uploader
        self._files = Files(connection)
        self._search = SearchCalls(connection)

    @classmethod
    def connect(
        cls,
        *,
        mesh_file: str | os.PathLike[str] | None = None,
        admin: str | None = None,
        ingest: str | None = None,
        query: str | None = None,
        storage: Mapping[str, str] | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        token: str | None = None,
        tls_ca_file: str | os.PathLike[str] | None = None,
        tls_cert_file: str | os.PathLike[str] | None = None,
        tls_key_file: str | os.PathLike[str] | None = None,
        call_timeout_seconds: float = 10.0,
        commit_timeout_seconds: float = 300.0,
        idle_timeout_seconds: float = 30.0,
        operation_timeout_seconds: float = 3600.0,
        retry_for_seconds: float = 120.0,
        one_stream_bytes: int = ONE_STREAM_BYTES,
        state_folder: str | os.PathLike[str] | None = None,
    ) -> Self:
        """A client; nothing is dialled before its first call.

        What is not given comes from the environment, then from mesh.json. Use the result with
        `async with`, or call `close`; `await Client.connect(...)` works as well.

        Args:
            mesh_file: path of mesh.json. Default: ARTSTORE_MESH, else, if no server and no account
                is given, `.artstore/mesh.json` in the working folder or the nearest one above it
                (both of this account or root, and written by nobody else).
            admin: host:port of admin (https://host:port: with TLS), or several admins:
                `a:port,b:port` of addresses, or `dns:///name:port` of a name that has several.
                Calls take turns among those that are healthy. Default ARTSTORE_ADMIN_ENDPOINT,
                else from mesh.json.
            ingest: the same of ingest. Default ARTSTORE_INGEST_ENDPOINT, else from mesh.json.
            query: the same of query. Default ARTSTORE_QUERY_ENDPOINT, else from mesh.json.
            storage: element id to host:port, for elements that are reached from here at another
                address than admin lists. Default ARTSTORE_STORAGE_ENDPOINTS
                ("se-01=host:port,..."). All other elements are those that admin lists; those of
                mesh.json are known without it.
            client_id: account. Default ARTSTORE_CLIENT_ID, else from mesh.json.
            client_secret: its secret. Default ARTSTORE_CLIENT_SECRET, else from mesh.json.
            token: an access token, used as it is and never renewed. Default ARTSTORE_TOKEN,
                else tokens are issued to the account and renewed before they expire.
            tls_ca_file: PEM roots to verify servers with; files are read again when they change.
                Default ARTSTORE_TLS_CA_FILE, else from mesh.json, else the system's if a server is
                https:// or ARTSTORE_TLS is 1, else connections are not encrypted.
            tls_cert_file: certificate to show, PEM. Default ARTSTORE_TLS_CERT_FILE, mesh.json.
            tls_key_file: its key. Default ARTSTORE_TLS_KEY_FILE, else from mesh.json.
            call_timeout_seconds: deadline of a short call.
            commit_timeout_seconds: longest wait while a whole file is stored or verified.
            idle_timeout_seconds: longest silence of a stream; streams have no total deadline.
            operation_timeout_seconds: deadline of a check, rebuild, cleanup or sync.
            retry_for_seconds: how long an upload or download is tried again without progress;
                0: a failure is final, and short calls are not repeated either.
            one_stream_bytes: sources up to this size go in one stream, larger ones resumable.
            state_folder: where uploads of paths are remembered, so that a later process can take
                them up. Default `artstore/uploads` in the user's cache folder.

        Raises:
            ConfigurationError: a named file can't be read, or a setting has a wrong form.
        """
        known = settings.load(
            mesh_file=mesh_file,
            admin=admin,
            ingest=ingest,
            query=query,
            storage=storage,
            client_id=client_id,
            client_secret=client_secret,
            token=token,
            tls_ca_file=tls_ca_file,
            tls_cert_file=tls_cert_file,
            tls_key_file=tls_key_file,
        )
        timeouts = Timeouts(
            call=call_timeout_seconds,
            commit=commit_timeout_seconds,
            idle=idle_timeout_seconds,
            operation=operation_timeout_seconds,
            retry_for=retry_for_seconds,
        )
        connection = Connection(known, timeouts)
        folder = Path(state_folder) if state_folder else state_file.default_folder()
        return cls(
            connection,
            Uploader(connection, one_stream_bytes=one_stream_bytes, state_folder=folder),
        )

    async def close(self) -> None:
        """End all calls and connections."""
        await self._connection.close()

    def __await__(self) -> Generator[None, None, Self]:
        yield from ()
        return self

    async def upload(
        self,
        source: UploadSource,
        *,
        name: str = "",
        content_type: str = "",
        description: str = "",
        version: str = "",
        tags: Sequence[str] = (),
        attributes: Mapping[str, str] | None = None,
        namespace: str = "",
        permanent: bool = False,
        retention_days: int = 0,
        sha256: str | None = None,
        request_id: str = "",
        progress: Progress | None = None,
    ) -> UploadedFile:
        """Store a file.

        A source that can be sought is sent again, or resumed, when a connection breaks or a
        server restarts; a path also by a later process, when this one is killed. An iterator is
        sent once. All is verified: each chunk by CRC-32C, the whole by size and SHA-256.

        Args:
            source: a path, a binary file object (from where it stands), bytes, or an iterator or
                async iterator of bytes.
            name: original file name, at most 1,024 bytes. Default: that of the path or file.
            content_type: media type. Default: guessed from the name.
            description: free text.
            version: the caller's own version label.
            tags: free labels.
            attributes: free key-value pairs. What is said of a file takes at most 3,072 bytes.
            namespace: default `default`.
            permanent: keep it until it is deleted. Default: temporary.
            retention_days: days a temporary file is kept, 1 to 3,650; 0 means 30.
            sha256: lower-case hex, if known; other bytes are then DataLoss.
            request_id: makes a repeat of this call harmless for 7 days; made if empty, so that
                the client's own repeats are.
            progress: called with (bytes sent, size or None).

        Raises:
            ArtStoreError: refused, or no progress for `retry_for_seconds`.
            OSError: the source can't be read.
        """
        said = Description(
            name=name,
            content_type=content_type,
            description=description,
            version=version,
            tags=tuple(tags),
            attributes=dict(attributes or {}),
            namespace=namespace,
            permanent=permanent,
            retention_days=retention_days,
            sha256=sha256,
            request_id=request_id,
        )
        return await self._uploader.upload(source, said, progress)

    @overload
    def download(
        self,
        file_id: str,
        target: None = None,
        *,
        offset: int = 0,
        length: int = 0,
        progress: Progress | None = None,
    ) -> AsyncGenerator[bytes, None]: ...

    @overload
    def download(
        self,
        file_id: str,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        offset: int = 0,
        length: int = 0,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Awaitable[DownloadedFile]: ...

    def download(
        self,
        file_id: str,
        target: str | os.PathLike[str] | BinaryIO | None = None,
        *,
        offset: int = 0,
        length: int = 0,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> AsyncGenerator[bytes, None] | Awaitable[DownloadedFile]:
        """Read a file, or a range of it.

        A stream that breaks goes on at the byte it reached. Each chunk is verified by CRC-32C,
        the whole file by SHA-256.

        Args:
            target: a path (written beside it as `.<file_id>.part`, put there when whole, and taken
                up by a later call after a break), a binary file object, or None.
            offset: first byte.
            length: number of bytes; 0 means to the end.
            overwrite: what is at the path may be replaced. Links are followed; a file keeps mode,
                owner and its other names; a device, FIFO or `/dev/fd/N` is written to.
            progress: called with (bytes received, bytes in all).

        Returns:
            Without a target an async generator of bytes; else an awaitable of what was written.

        Raises:
            NotFound: no element has it.
            DataLoss: what came is not what was stored.
            ArtStoreError: refused, or no progress for `retry_for_seconds`.
            FileExistsError: something is at the path, and `overwrite` is not set.
            OSError: the path can't be written; of a whole file what had come is kept.
        """
        reading = downloads.Download(
            self._connection, file_id, offset=offset, length=length, progress=progress
        )
        if target is None:
            return downloads.as_generator(reading)
        if isinstance(target, str | os.PathLike):
            return download_targets.to_path(reading, Path(target), overwrite=overwrite)
        return download_targets.to_file_object(reading, target)

    async def stat(self, file_id: str) -> types_pb2.File:
        """Describe an active file.

        Raises:
            NotFound: every element of the mesh says that it has no such file (FILE_NOT_FOUND),
                or one that it was deleted (FILE_DELETED).
            Unavailable: none has it, but some did not answer: reason ELEMENT_UNAVAILABLE,
                `storage_element_ids` in the metadata.
        """
        return await self._files.stat(file_id)

    async def explain(self, file_id: str) -> Explanation:
        """Where a file is and why there, and what comes next; see `explaining.explanation`."""
        return await explain(self._connection, file_id)

    async def get_many(self, file_ids: Sequence[str]) -> dict[str, types_pb2.File]:
        """Describe many files, by the ids as they were given; ids that no element has are left out.

        Raises:
            Unavailable: some were not found, and some element did not answer.
        """
        return await self._files.get_many(file_ids)

    def list_files(
        self, element_id: str = "", *, namespace: str = "", page_size: int = MAX_PAGE_SIZE
    ) -> AsyncGenerator[types_pb2.File, None]:
        """Active files, each once, element by element, oldest first within each.

        Args:
            element_id: only this element; empty means all: what moves meanwhile may be left out.
            namespace: only this one; empty means all that the token may read.
            page_size: files asked for at a time, at most 1,000.

        Raises:
            Unavailable: reason LIST_INCOMPLETE, after the files of the elements that answer.
        """
        return self._files.list_files(element_id, namespace, page_size)

    async def update(
        self, file_id: str, *, expected_revision: int | None = None, **changes: object
    ) -> types_pb2.File:
        """Change what was said of a file at upload.

        Args:
            expected_revision: change it only if it still has this revision.
            changes: any of original_filename, content_type, description, version, tags,
                attributes, retention_days. Lists and maps are replaced as a whole.

        Raises:
            Aborted: reason REVISION_CONFLICT, it was changed meanwhile.
            FailedPrecondition: the element or the file takes no changes.
        """
        return await self._files.update(file_id, changes, expected_revision)

    async def set_legal_hold(
        self, file_id: str, legal_hold: bool, *, reason: str = ""
    ) -> types_pb2.File:
        """Hold a file, which then neither expires nor can be deleted, or lift the hold (ADMIN).

        Args:
            reason: a code or text of at most 200 bytes.
        """
        return await self._files.set_legal_hold(file_id, legal_hold, reason)

    async def delete(self, file_id: str, *, expected_revision: int | None = None) -> types_pb2.File:
        """Delete a file; `undelete` brings it back while it is in the trash (7 days)."""
        return await self._files.delete(file_id, expected_revision)

    async def undelete(
        self, file_id: str, *, expected_revision: int | None = None
    ) -> types_pb2.File:
        """Bring a deleted file back; does nothing to an active one."""
        return await self._files.undelete(file_id, expected_revision)

    async def elements(self) -> list[ElementReport]:
        """Ask every storage element how it is; one that does not answer has an `error`."""
        return await self._files.elements()

    async def set_mode(
        self, element_id: str, mode: types_pb2.ElementMode.ValueType, *, confirm: bool = False
    ) -> elements_pb2.StorageElement:
        """Change an element's mode; `confirm` is needed to step back from ro to rw."""
        return await self._files.set_mode(element_id, mode, confirm)

    async def access_token(self) -> str:
        """A bearer token that is good now, for other tools."""
        return await self._connection.tokens.get()

    async def element_ids(self) -> list[str]:
        """Ids of the storage elements that there are now."""
        return sorted(await self._connection.all_elements())

    @property
    def doubt(self) -> str:
        """Why there may be elements that this client does not know: admin did not answer lately.

        Empty when it did.
        """
        return self._connection.directory.doubt

    def cache(self, element_id: str) -> CacheCalls:
        """Checks and repairs of one element's cache."""
        return CacheCalls(self._connection, element_id)

    @property
    def mesh_id(self) -> str:
        """Tells meshes and accounts apart in files that are kept between runs."""
        return self._connection.settings.mesh_id

    @property
    def waiting(self) -> Waiting | None:
        """What is waited for at the moment, and why; None when nothing is."""
        return self._connection.calls.waits.now()

    @property
    def change_tokens(self) -> list[str]:
        """The last change that this client made on each element, for `min_change_tokens`."""
        return list(self._connection.changes.values())

    async def search(
        self,
        query: str = "",
        *,
        filters: query_pb2.SearchFilters | None = None,
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
        min_change_tokens: Sequence[str] = (),
        facet_fields: Sequence[query_pb2.FacetField.ValueType] = (),
        omit_facets: bool = False,
        timeout_seconds: float | None = None,
    ) -> query_pb2.SearchFilesResponse:
        """One page of search results.

        Args:
            query: words or beginnings of words, as data; empty matches all.
            filters: conditions besides.
            order_by: `relevance desc` (default with a query), `created_at`, `updated_at`,
                `original_filename` or `size_bytes`, each with an optional ` desc`.
            page_size: 50 by default, at most 1,000.
            page_token: next_page_token of the page before.
            min_change_tokens: wait until the index has these changes (`UploadedFile`,
                `change_tokens`).
            facet_fields: what to count matches by; empty counts by every field.
            omit_facets: count by none, which answers sooner.
            timeout_seconds: default `call_timeout_seconds`.

        Raises:
            DeadlineExceeded: the index did not get that far in time.
        """
        return await self._search.search(
            query,
            filters=filters,
            order_by=order_by,
            page_size=page_size,
            page_token=page_token,
            min_change_tokens=min_change_tokens,
            facet_fields=facet_fields,
            omit_facets=omit_facets,
            timeout_seconds=timeout_seconds,
        )

    def search_all(
        self,
        query: str = "",
        *,
        filters: query_pb2.SearchFilters | None = None,
        order_by: str = "",
        page_size: int = MAX_PAGE_SIZE,
    ) -> AsyncGenerator[query_pb2.SearchResult, None]:
        """Results of all pages, one by one."""
        return self._search.search_all(
            query, filters=filters, order_by=order_by, page_size=page_size
        )

    async def sync(self, element_id: str = "") -> query_pb2.SyncIndexResponse:
        """Have the index read a whole snapshot of one element, or of all; waits until it has."""
        return await self._search.sync(element_id)

    async def sync_status(self, element_id: str = "") -> query_pb2.GetSyncStatusResponse:
        """How far the index follows one element, or all."""
        return await self._search.sync_status(element_id)
