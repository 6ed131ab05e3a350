"""The trash: deleted files whose bytes are still there, and bringing them back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from artstore.v1 import storage_pb2, types_pb2
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import of_each, pages
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.files.files import Files


@dataclass(frozen=True, slots=True)
class TrashedFile:
    """A deleted file that can be brought back.

    Attributes:
        deleted_at: when it was deleted, or went into the trash because it had expired.
        purge_at: when its bytes go; None where the element does not tell.
        expired: its retention has ended: it needs new days to come back.
    """

    file: types_pb2.File
    deleted_at: datetime
    purge_at: datetime | None
    expired: bool


class TrashCalls:
    """What a caller may read of it; get it from `Client.trash`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = connection.calls
        self._files = Files(connection)

    async def list(
        self, element_id: str = "", *, namespace: str = "", page_size: int = MAX_PAGE_SIZE
    ) -> AsyncGenerator[TrashedFile, None]:
        """Deleted files whose bytes are there, element by element, oldest file first within each.

        Args:
            element_id: only this element; empty means all.
            namespace: only this one; empty means all that the caller may read.
            page_size: files asked for at a time, at most 1,000.

        Raises:
            Unavailable: reason LIST_INCOMPLETE, after the files of the elements that answer.
        """
        elements = [element_id] if element_id else sorted(await self._connection.all_elements())

        def of_element(name: str) -> AsyncGenerator[TrashedFile, None]:
            return self._of_element(name, namespace, page_size)

        async for trashed in of_each(elements, of_element):
            yield trashed

    async def restore(self, file_id: str, *, retention_days: int | None = None) -> types_pb2.File:
        """Bring a deleted file back; one that is there is answered as it is.

        Args:
            retention_days: new days to keep it, from now, 1 to 3,650; an expired one needs them.

        Raises:
            NotFound: there is none, or (reason BLOB_GONE) its bytes are gone.
            FailedPrecondition: the element's mode, or (reason EXPIRED) it needs new days.
        """
        return await self._files.undelete(file_id, None, retention_days=retention_days)

    async def _of_element(
        self, element_id: str, namespace: str, page_size: int
    ) -> AsyncGenerator[TrashedFile, None]:
        async def ask(token: str) -> storage_pb2.StorageServiceListFilesResponse:
            request = storage_pb2.StorageServiceListFilesRequest(
                page_size=page_size, namespace=namespace, page_token=token, only_trash=True
            )
            return await self._connection.at_element(
                element_id,
                lambda stub: self._calls.unary(
                    stub.ListFiles, request, doing=f"ListFiles on {element_id}"
                ),
            )

        async for page in pages(ask):
            for file in page.files:
                # One of an earlier version lists all its files.
                if file.state == types_pb2.FILE_STATE_DELETED:
                    yield _trashed(file, page.trash_days)


def _trashed(file: types_pb2.File, trash_days: Mapping[str, float]) -> TrashedFile:
    stamp = file.deleted_at if file.HasField("deleted_at") else file.updated_at
    deleted_at = stamp.ToDatetime(tzinfo=UTC)
    days = trash_days.get(file.namespace)
    purge_at = None if days is None else deleted_at + timedelta(days=days)
    ends = file.expires_at.ToDatetime(tzinfo=UTC) if file.HasField("expires_at") else None
    return TrashedFile(
        file,
        deleted_at,
        purge_at,
        expired=ends is not None and ends <= datetime.now(UTC),
    )
