"""The search index: QueryService as plain calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from artstore.v1 import query_pb2
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import pages


class SearchCalls:
    """Searches and the state of the index; `Client` has its methods."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = connection.calls

    async def search(
        self,
        query: str,
        *,
        filters: query_pb2.SearchFilters | None,
        order_by: str,
        page_size: int,
        page_token: str,
        min_change_tokens: Sequence[str],
        facet_fields: Sequence[query_pb2.FacetField.ValueType] = (),
        omit_facets: bool = False,
        timeout_seconds: float | None,
    ) -> query_pb2.SearchFilesResponse:
        """One page of results; see `Client.search`."""
        return await self._calls.unary(
            self._connection.query.SearchFiles,
            query_pb2.SearchFilesRequest(
                query=query,
                filters=filters,
                order_by=order_by,
                page_size=page_size,
                page_token=page_token,
                min_change_tokens=min_change_tokens,
                facet_fields=facet_fields,
                omit_facets=omit_facets,
            ),
            doing="SearchFiles on query",
            timeout_seconds=timeout_seconds,
        )

    async def search_all(
        self,
        query: str,
        *,
        filters: query_pb2.SearchFilters | None,
        order_by: str,
        page_size: int,
    ) -> AsyncGenerator[query_pb2.SearchResult, None]:
        """Results of all pages; see `Client.search_all`."""

        async def ask(token: str) -> query_pb2.SearchFilesResponse:
            return await self.search(
                query,
                filters=filters,
                order_by=order_by,
                page_size=page_size,
                page_token=token,
                min_change_tokens=(),
                omit_facets=True,
                timeout_seconds=None,
            )

        async for page in pages(ask):
            for result in page.results:
                yield result

    async def sync(self, element_id: str) -> query_pb2.SyncIndexResponse:
        """Read whole snapshots again; see `Client.sync`."""
        return await self._calls.unary(
            self._connection.query.SyncIndex,
            query_pb2.SyncIndexRequest(storage_element_id=element_id),
            doing="SyncIndex on query",
            timeout_seconds=self._connection.timeouts.operation,
        )

    async def sync_status(self, element_id: str) -> query_pb2.GetSyncStatusResponse:
        """How far the index is; see `Client.sync_status`."""
        return await self._calls.unary(
            self._connection.query.GetSyncStatus,
            query_pb2.GetSyncStatusRequest(storage_element_id=element_id),
            doing="GetSyncStatus on query",
        )
