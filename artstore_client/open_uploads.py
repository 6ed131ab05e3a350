"""Uploads that are open: which there are, and ending them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from artstore.v1 import storage_pb2, uploads_pb2
from artstore_client import errors
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import of_each, pages
from artstore_client.contract import MAX_PAGE_SIZE


class OpenUploads:
    """Resumable uploads that are neither files nor aborted; get it from `Client.open_uploads`.

    An account sees and ends its own, an ADMIN all.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = connection.calls

    async def list(
        self, element_id: str = "", *, created_by: str = "", page_size: int = MAX_PAGE_SIZE
    ) -> AsyncGenerator[storage_pb2.OpenUpload, None]:
        """Open uploads, element by element, newest first within each.

        Args:
            element_id: only this element; empty means all.
            created_by: only of this account; empty means all that the caller may see.
            page_size: uploads asked for at a time, at most 1,000.

        Raises:
            PermissionDenied: `created_by` is another account, and the caller no ADMIN.
            Unavailable: reason LIST_INCOMPLETE, after the uploads of the elements that answer.
        """
        elements = [element_id] if element_id else sorted(await self._connection.all_elements())

        def of_element(name: str) -> AsyncGenerator[storage_pb2.OpenUpload, None]:
            return self._of_element(name, created_by, page_size)

        async for upload in of_each(elements, of_element):
            yield upload

    async def _of_element(
        self, element_id: str, created_by: str, page_size: int
    ) -> AsyncGenerator[storage_pb2.OpenUpload, None]:
        async def ask(token: str) -> storage_pb2.ListUploadsResponse:
            request = storage_pb2.ListUploadsRequest(
                page_size=page_size, created_by=created_by, page_token=token
            )
            return await self._connection.at_element(
                element_id,
                lambda stub: self._calls.unary(
                    stub.ListUploads, request, doing=f"ListUploads on {element_id}"
                ),
            )

        async for page in pages(ask):
            for upload in page.uploads:
                yield upload

    async def abort(self, upload_id: str) -> None:
        """End an upload and free its room; one that is not there is fine, a file stays.

        Raises:
            PermissionDenied: it is another account's, and the caller no ADMIN.
            InvalidArgument: the id names no element.
        """
        element_id, dot, _ = upload_id.partition(".")
        if not dot or element_id not in await self._connection.all_elements():
            raise errors.InvalidArgument(
                f"{upload_id!r} is no upload's id: it begins with its element, like se-01."
            )
        request = uploads_pb2.AbortUploadRequest(upload_id=upload_id, as_owner=True)
        await self._connection.at_element(
            element_id,
            lambda stub: self._calls.unary(
                stub.AbortUpload, request, doing=f"AbortUpload on {element_id}"
            ),
        )
