"""The servers of one mesh as stubs, and one account's way to call them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import grpc.aio

from artstore.v1 import (
    accounts_pb2_grpc,
    audit_pb2_grpc,
    cache_pb2_grpc,
    elements_pb2,
    elements_pb2_grpc,
    ingest_pb2_grpc,
    lifecycle_pb2_grpc,
    operations_pb2_grpc,
    query_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
    storage_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)
from artstore_client.calls.calls import Calls, Timeouts
from artstore_client.calls.change_tokens import ChangeTokens
from artstore_client.calls.channels import PATIENT, QUICK, Channels, Keepalive
from artstore_client.calls.directory import ElementDirectory
from artstore_client.calls.pages import pages
from artstore_client.calls.streams import ingest_stub, storage_stub
from artstore_client.calls.tokens import FixedToken, IssuedToken, TokenCache
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.errors import ArtStoreError, ConfigurationError, Unavailable, Unimplemented
from artstore_client.settings import ConnectionSettings

Answer = TypeVar("Answer")

_LIST_TIMEOUT_SECONDS = 2.0
# A hint is not worth a long wait, nor a wait for each file.
_REGISTRY_TIMEOUT_SECONDS = 1.0
_REGISTRY_SILENCE_SECONDS = 30.0
# An operation on a whole element takes longer than to ask where the element is.
_SETTLED_SECONDS = 5.0


class Connection:
    """Channels, token and stubs. Nothing is dialled before the first call.

    Attributes:
        directory: the storage elements known now.
        changes: element id to the token of the last change that was made through here.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        timeouts: Timeouts,
    ) -> None:
        self.settings = settings
        self.timeouts = timeouts
        self._channels = Channels(settings.tls, retries=timeouts.retry_for > 0)
        self.tokens = (
            FixedToken(settings.token) if settings.token else TokenCache(self._issue_token)
        )
        self.calls = Calls(
            self.tokens, timeouts, about_proxy=self._channels.about_proxy, tls=settings.tls
        )
        places = settings.endpoints
        self.directory = ElementDirectory(
            pinned=places.storage if places.storage_pinned else {},
            seeds={} if places.storage_pinned else places.storage,
            ask=self._list_elements if places.admin else None,
            about_settings=settings.unused,
        )
        self._registry_silent_until = 0.0
        self.changes = ChangeTokens()

    async def close(self) -> None:
        """End all calls and connections."""
        await self._channels.close()

    @property
    def ingest(self) -> ingest_pb2_grpc.IngestServiceAsyncStub:
        """Stub of ingest."""
        endpoint = self._known(self.settings.endpoints.ingest, "ingest")
        return ingest_stub(self._channels.to(endpoint))

    @property
    def query(self) -> query_pb2_grpc.QueryServiceAsyncStub:
        """Stub of query."""
        endpoint = self._known(self.settings.endpoints.query, "query")
        return query_pb2_grpc.QueryServiceStub(self._channels.to(endpoint, QUICK))

    def storage_at(self, endpoint: str) -> storage_pb2_grpc.StorageServiceAsyncStub:
        """Stub of the element at `endpoint` (host:port)."""
        return storage_stub(self._channels.to(endpoint))

    async def storage(self, element_id: str) -> storage_pb2_grpc.StorageServiceAsyncStub:
        """Stub of the element `element_id`.

        Raises:
            ConfigurationError: there is no such element.
            Unavailable: it is not known here, and admin does not answer.
        """
        return self.storage_at(await self.directory.find(element_id))

    async def at_element(
        self,
        element_id: str,
        work: Callable[[storage_pb2_grpc.StorageServiceAsyncStub], Awaitable[Answer]],
    ) -> Answer:
        """Do `work`, which does no harm if done twice, at the element, wherever it is now.

        Raises:
            ConfigurationError: there is no such element.
            ArtStoreError: what `work` raised, at the last address known.
        """
        endpoint = await self.directory.find(element_id)
        try:
            return await work(self.storage_at(endpoint))
        except Unavailable as error:
            # A reason is the word of an element that did answer.
            elsewhere = ""
            if not error.reason:
                elsewhere = await self.directory.other_place(element_id, endpoint)
            if not elsewhere:
                raise
        return await work(self.storage_at(elsewhere))

    async def unanswered(self, element_id: str) -> None:
        """Tell that the element did not answer where it was taken to be."""
        await self.directory.other_place(element_id, self.directory.place(element_id))

    async def operations(self, element_id: str) -> operations_pb2_grpc.OperationServiceAsyncStub:
        """Stub of the operations of the element `element_id`; raises as `cache`."""
        await self.directory.look(_SETTLED_SECONDS)
        return operations_pb2_grpc.OperationServiceStub(
            self._channels.to(await self.directory.find(element_id))
        )

    def _admin(self, keepalive: Keepalive = PATIENT) -> grpc.aio.Channel:
        endpoint = self._known(self.settings.endpoints.admin, "admin")
        return self._channels.to(endpoint, keepalive)

    def lifecycle(self) -> lifecycle_pb2_grpc.LifecycleServiceAsyncStub:
        """Stub of admin's lifecycle service.

        Raises:
            ConfigurationError: admin is not configured.
        """
        return lifecycle_pb2_grpc.LifecycleServiceStub(self._admin())

    def accounts(self) -> accounts_pb2_grpc.ServiceAccountServiceAsyncStub:
        """Stub of admin's accounts; raises as `lifecycle`."""
        return accounts_pb2_grpc.ServiceAccountServiceStub(self._admin())

    def audit(self) -> audit_pb2_grpc.AuditServiceAsyncStub:
        """Stub of admin's audit; raises as `lifecycle`."""
        return audit_pb2_grpc.AuditServiceStub(self._admin(QUICK))

    def registry(self) -> registry_pb2_grpc.FileRegistryServiceAsyncStub:
        """Stub of admin's file registry; raises as `lifecycle`."""
        return registry_pb2_grpc.FileRegistryServiceStub(self._admin(QUICK))

    def tokens_at_admin(self) -> tokens_pb2_grpc.TokenServiceAsyncStub:
        """Stub of admin's tokens and keys; raises as `lifecycle`."""
        return tokens_pb2_grpc.TokenServiceStub(self._admin())

    async def cache(self, element_id: str) -> cache_pb2_grpc.CacheServiceAsyncStub:
        """Stub of the cache of the element `element_id`, where admin says that it is now.

        Raises:
            ConfigurationError: there is no such element.
            Unavailable: it is not known here, and admin does not answer.
        """
        await self.directory.look(_SETTLED_SECONDS)
        return cache_pb2_grpc.CacheServiceStub(
            self._channels.to(await self.directory.find(element_id))
        )

    async def elements(self) -> Mapping[str, str]:
        """Elements known now, and their endpoints; see `ElementDirectory.known`."""
        return await self.directory.known()

    async def all_elements(self) -> Mapping[str, str]:
        """Elements as admin lists them now, and those configured.

        When admin does not answer those known so far; `directory.doubt` then says so.

        Raises:
            ConfigurationError: none is known.
        """
        await self.directory.look()
        return await self.directory.known()

    async def registered(self, file_id: str) -> registry_pb2.FileRegistryServiceGetFileResponse:
        """What the registry believes of `file_id`.

        A hint, and never proof: the registry follows the elements. Empty when it does not know,
        is not configured, or did not answer lately.
        """
        unknown = registry_pb2.FileRegistryServiceGetFileResponse()
        endpoint = self.settings.endpoints.admin
        if not endpoint or time.monotonic() < self._registry_silent_until:
            return unknown
        request = registry_pb2.FileRegistryServiceGetFileRequest(file_id=file_id)
        try:
            answer = await self.calls.unary(
                self.registry().GetFile,
                request,
                doing="GetFile on admin",
                timeout_seconds=_REGISTRY_TIMEOUT_SECONDS,
            )
        except (Unavailable, Unimplemented) as error:
            # With a reason it answered: it can't tell of this file.
            if not error.reason:
                self._registry_silent_until = time.monotonic() + _REGISTRY_SILENCE_SECONDS
            return unknown
        except ArtStoreError:
            return unknown
        return answer

    def elements_of_admin(self) -> elements_pb2_grpc.StorageElementServiceAsyncStub:
        """Stub of admin's service of elements.

        Raises:
            ConfigurationError: admin is not configured.
        """
        return elements_pb2_grpc.StorageElementServiceStub(self._admin(QUICK))

    async def _list_elements(self) -> list[elements_pb2.StorageElement]:
        """Those that have reported, so that they may have files and an address."""
        return [element for element in await self.registered_elements() if element.endpoint]

    async def registered_elements(self) -> list[elements_pb2.StorageElement]:
        """Every element that admin knows."""
        stub = self.elements_of_admin()

        async def ask(token: str) -> elements_pb2.ListStorageElementsResponse:
            return await self.calls.unary(
                stub.ListStorageElements,
                elements_pb2.ListStorageElementsRequest(page_size=MAX_PAGE_SIZE, page_token=token),
                doing="ListStorageElements on admin",
                timeout_seconds=_LIST_TIMEOUT_SECONDS,
            )

        return [element async for page in pages(ask) for element in page.elements]

    async def _issue_token(self) -> IssuedToken:
        if not self.settings.client_id or not self.settings.client_secret:
            raise self._missing(
                "no credentials: set ARTSTORE_CLIENT_ID and ARTSTORE_CLIENT_SECRET, or"
                " ARTSTORE_TOKEN"
            )
        stub = tokens_pb2_grpc.TokenServiceStub(self._admin(QUICK))
        request = tokens_pb2.IssueTokenRequest(
            client_id=self.settings.client_id, client_secret=self.settings.client_secret
        )
        answer = await self.calls.answered(
            stub.IssueToken(request, timeout=self.timeouts.call), "IssueToken on admin"
        )
        return IssuedToken(answer.access_token, answer.expires_in_seconds)

    def _known(self, endpoint: str, server: str) -> str:
        if not endpoint:
            raise self._missing(
                f"no endpoint of {server}: set ARTSTORE_{server.upper()}_ENDPOINT (host:port)"
            )
        return endpoint

    def _missing(self, what: str) -> ConfigurationError:
        if self.settings.unused:
            return ConfigurationError(f"{what}. {self.settings.unused}")
        return ConfigurationError(f"{what}, or run where `make run` wrote .artstore/mesh.json")
