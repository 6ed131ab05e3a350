"""The whole mesh checked: files with two homes or none, copies that differ, and what to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from artstore.v1 import registry_pb2
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import pages
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.files.file_ids import canonical_file_id


class MeshCheckCalls:
    """Checks all elements' files against each other; get it from `Client.mesh_check`.

    For an AUDITOR or ADMIN of all namespaces; `resolve` for an ADMIN.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = connection.calls

    async def run(self, operation_id: str = "") -> registry_pb2.CheckMeshResponse:
        """Check every file; it goes on when the caller leaves.

        Args:
            operation_id: name for the operation, so that a lost answer can be asked for again.
        """
        return await self._calls.unary(
            self._connection.registry().CheckMesh,
            registry_pb2.CheckMeshRequest(operation_id=operation_id),
            doing="CheckMesh on admin",
            timeout_seconds=self._connection.timeouts.operation,
        )

    async def findings(
        self,
        *,
        kinds: Sequence[registry_pb2.FindingKind.ValueType] = (),
        element_id: str = "",
        page_size: int = MAX_PAGE_SIZE,
    ) -> AsyncGenerator[registry_pb2.Finding, None]:
        """What checks found and nobody has mended, oldest first.

        Args:
            kinds: only these; empty means all.
            element_id: only of this element; empty means all.
            page_size: findings asked for at a time, at most 1,000.
        """

        async def ask(token: str) -> registry_pb2.ListFindingsResponse:
            return await self._calls.unary(
                self._connection.registry().ListFindings,
                registry_pb2.ListFindingsRequest(
                    page_size=page_size,
                    page_token=token,
                    kinds=kinds,
                    storage_element_id=element_id,
                ),
                doing="ListFindings on admin",
            )

        async for page in pages(ask):
            for finding in page.findings:
                yield finding

    async def resolve(self, file_id: str, element_id: str) -> registry_pb2.ResolveHomeResponse:
        """Make an element the home of a file; the other copies follow.

        Raises:
            NotFound: no such file.
            FailedPrecondition: the element has nothing that can be the home, or a transfer runs.
            Unavailable: it is silent, or the home is being changed.
        """
        return await self._calls.unary(
            self._connection.registry().ResolveHome,
            registry_pb2.ResolveHomeRequest(
                file_id=canonical_file_id(file_id), storage_element_id=element_id
            ),
            doing="ResolveHome on admin",
        )
