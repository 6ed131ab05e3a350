"""The other elements of the mesh, asked what an account's uploads hold there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import grpc
import structlog

from artstore.v1 import storage_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from mesh.calls.channels import KeptChannels
from mesh.calls.status import from_rpc_error
from mesh.elements.seen import SeenElement
from mesh.elements.view import Listing, ReportSource
from mesh.errors import ArtStoreError, Unauthenticated, Unavailable
from mesh.identity.credentials import ElementTokens, ServiceToken
from storage_server.domain.allowance import Holding

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

# Together less than ingest waits for an element to accept an upload.
CALL_SECONDS = 0.9
LIST_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class Peers:
    """Asks each other element.

    Which elements there are is asked anew each time, after the caller has put its claim on its
    books: one that was on no list then finds that claim when it asks in its turn.

    Args:
        element_id: this one's.
        registry: admin's list.
        reports: those in Redis, which tell that there are others when admin does not answer.
        account: this server's own token, for admin.
        tokens: those for the elements.
        channels: to them; closed by whoever made it.
    """

    def __init__(
        self,
        element_id: str,
        registry: Listing,
        reports: ReportSource,
        account: ServiceToken,
        *,
        tokens: ElementTokens,
        channels: KeptChannels,
    ) -> None:
        self._element_id = element_id
        self._registry = registry
        self._reports = reports
        self._account = account
        self._tokens = tokens
        self._channels = channels
        self._listed: dict[str, str] = {}

    async def holdings(self, account: str) -> Mapping[str, Holding]:
        """What an account holds at each other element, by the element's id.

        Raises:
            Unavailable: it is not known which elements there are, or one does not answer.
        """
        others = await self._others()
        asked = [self._ask(name, endpoint, account) for name, endpoint in others.items()]
        return dict(zip(others, await asyncio.gather(*asked), strict=True))

    async def endpoint_of(self, element_id: str) -> str:
        """Where another element is called.

        Raises:
            Unavailable: admin does not list it, or it is not known which elements there are.
        """
        endpoint = (await self._others()).get(element_id)
        if not endpoint:
            raise Unavailable(
                f"storage element {element_id} is not known here", reason="ELEMENT_UNAVAILABLE"
            )
        return endpoint

    async def _others(self) -> Mapping[str, str]:
        """Id and endpoint of every other element.

        While admin is away those it listed last, if no others report to Redis: what admin has not
        admitted is sent no token.
        """
        try:
            async with asyncio.timeout(LIST_SECONDS):
                found = await self._read_list()
        except TimeoutError as exc:
            raise Unavailable("it is not known which storage elements there are") from exc
        return {name: place for name, place in found.items() if name != self._element_id}

    async def _read_list(self) -> Mapping[str, str]:
        try:
            # Without a token admin would be waited for, and give none.
            if self._account.valid:
                self._listed = _places(await self._registry.read())
                return self._listed
        except ArtStoreError as exc:
            _log.info("admin does not list the elements", reason=exc.message)
        if await self._reports.find_ids() - {*self._listed, self._element_id}:
            raise Unavailable(
                "a storage element has reported that admin, which is away, had not listed"
            )
        return self._listed

    async def _ask(self, element_id: str, endpoint: str, account: str) -> Holding:
        stub: StorageServiceAsyncStub = StorageServiceStub(self._channels.to(endpoint))
        try:
            answer = await stub.GetUploadTotals(
                storage_pb2.GetUploadTotalsRequest(created_by=account),
                metadata=await self._tokens.metadata(element_id),
                timeout=CALL_SECONDS,
            )
        except grpc.aio.AioRpcError as exc:
            error = from_rpc_error(exc)
            if isinstance(error, Unauthenticated):
                self._tokens.refused(element_id)
            raise Unavailable(
                f"storage element {element_id} does not say what the account has there"
            ) from exc
        return Holding(
            answer.open_uploads,
            answer.unsent_size_bytes,
            answer.largest_unsent_size_bytes,
            answer.free_size_bytes,
            answer.undecided,
        )


def _places(elements: Iterable[SeenElement]) -> dict[str, str]:
    return {one.element_id: one.endpoint for one in elements}
