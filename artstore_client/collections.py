"""Collections: what the mesh takes away by itself, asked for, foreseen and looked up."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from artstore.v1 import lifecycle_pb2
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import pages
from artstore_client.contract import MAX_PAGE_SIZE


class CollectionCalls:
    """For an ADMIN of all namespaces; get it from `Client.collections`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = connection.calls

    async def run(
        self,
        *,
        dry_run: bool = False,
        max_delete_ratio: float | None = None,
        operation_id: str = "",
    ) -> lifecycle_pb2.Collection:
        """Collect now what is due, and answer what that came to.

        Args:
            dry_run: only look; what is answered is what a run would take away.
            max_delete_ratio: largest share of an element's blobs that may go as orphans, 0 to 1;
                default: 0.1 where more than 100 would go.
            operation_id: by which OperationService of admin shows and stops it.

        Raises:
            Aborted: another one runs (reason LOCK_HELD), or it was cancelled.
            Unavailable: admin's registry does not know all files yet.
        """
        answer = await self._calls.unary(
            self._connection.lifecycle().RunCollection,
            lifecycle_pb2.RunCollectionRequest(
                dry_run=dry_run, max_delete_ratio=max_delete_ratio, operation_id=operation_id
            ),
            doing="RunCollection on admin",
            timeout_seconds=self._connection.timeouts.operation,
        )
        return answer.collection

    async def list(
        self, *, page_size: int = MAX_PAGE_SIZE
    ) -> AsyncGenerator[lifecycle_pb2.Collection, None]:
        """Collections, newest first.

        Args:
            page_size: asked for at a time, at most 1,000.
        """

        async def ask(token: str) -> lifecycle_pb2.ListCollectionsResponse:
            return await self._calls.unary(
                self._connection.lifecycle().ListCollections,
                lifecycle_pb2.ListCollectionsRequest(page_size=page_size, page_token=token),
                doing="ListCollections on admin",
            )

        async for page in pages(ask):
            for collection in page.collections:
                yield collection
