"""The servers of one mesh as stubs, and one account's way to call them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from artstore.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    cache_pb2_grpc,
    ingest_pb2_grpc,
    query_pb2_grpc,
    storage_pb2_grpc,
    types_pb2,
)
from artstore_client.calls import Calls, Timeouts
from artstore_client.channels import Channels
from artstore_client.errors import ArtStoreError, ConfigurationError, Unavailable, Unimplemented
from artstore_client.settings import ConnectionSettings
from artstore_client.tokens import FixedToken, IssuedToken, TokenCache

_PAGE_SIZE = 1000
# A hint is not worth a long wait, nor a wait for each file.
_REGISTRY_TIMEOUT_SECONDS = 1.0
_REGISTRY_SILENCE_SECONDS = 30.0


class Connection:
    """Channels, token and stubs. Nothing is dialled before the first call.

    Attributes:
        changes: element id to the token of the last change that was made through here.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        timeouts: Timeouts,
        *,
        tls_ca_file: Path | None = None,
    ) -> None:
        self.settings = settings
        self.timeouts = timeouts
        self._channels = Channels(tls_ca_file, retries=timeouts.retry_for > 0)
        self.tokens = (
            FixedToken(settings.token) if settings.token else TokenCache(self._issue_token)
        )
        self.calls = Calls(self.tokens, timeouts, about_proxy=self._channels.about_proxy)
        self._elements: dict[str, str] = dict(settings.endpoints.storage)
        self._registry_silent_until = 0.0
        self.changes: dict[str, str] = {}

    async def close(self) -> None:
        """End all calls and connections."""
        await self._channels.close()

    @property
    def ingest(self) -> ingest_pb2_grpc.IngestServiceAsyncStub:
        """Stub of ingest."""
        endpoint = _known(self.settings.endpoints.ingest, "ingest")
        return ingest_pb2_grpc.IngestServiceStub(self._channels.to(endpoint))

    @property
    def query(self) -> query_pb2_grpc.QueryServiceAsyncStub:
        """Stub of query."""
        endpoint = _known(self.settings.endpoints.query, "query")
        return query_pb2_grpc.QueryServiceStub(self._channels.to(endpoint))

    def storage_at(self, endpoint: str) -> storage_pb2_grpc.StorageServiceAsyncStub:
        """Stub of the element at `endpoint` (host:port)."""
        return storage_pb2_grpc.StorageServiceStub(self._channels.to(endpoint))

    async def storage(self, element_id: str) -> storage_pb2_grpc.StorageServiceAsyncStub:
        """Stub of the element `element_id`.

        Raises:
            ConfigurationError: no such element is known.
        """
        return self.storage_at(await self._endpoint(element_id))

    async def cache(self, element_id: str) -> cache_pb2_grpc.CacheServiceAsyncStub:
        """Stub of the cache of the element `element_id`.

        Raises:
            ConfigurationError: no such element is known.
        """
        return cache_pb2_grpc.CacheServiceStub(self._channels.to(await self._endpoint(element_id)))

    async def elements(self) -> Mapping[str, str]:
        """Elements and their endpoints: as configured, else as admin has them.

        Raises:
            ConfigurationError: neither is known.
            ArtStoreError: admin can't be asked.
        """
        if not self._elements:
            self._elements = await self._registered_elements()
        if not self._elements:
            raise ConfigurationError(
                "no storage element is known: set ARTSTORE_STORAGE_ENDPOINTS or start the mesh"
            )
        return self._elements

    async def registered_homes(self, file_id: str) -> list[str]:
        """Elements that the registry believes to hold `file_id`.

        A hint, and never proof: the registry follows the elements. Empty when it does not know,
        is not configured, or did not answer lately.
        """
        endpoint = self.settings.endpoints.admin
        if not endpoint or time.monotonic() < self._registry_silent_until:
            return []
        stub = admin_pb2_grpc.FileRegistryServiceStub(self._channels.to(endpoint))
        request = admin_pb2.FileRegistryServiceGetFileRequest(file_id=file_id)
        try:
            answer = await self.calls.unary(
                stub.GetFile,
                request,
                doing="GetFile on admin",
                timeout_seconds=_REGISTRY_TIMEOUT_SECONDS,
            )
        except (Unavailable, Unimplemented):
            self._registry_silent_until = time.monotonic() + _REGISTRY_SILENCE_SECONDS
            return []
        except ArtStoreError:
            return []
        return [
            replica.storage_element_id
            for replica in answer.replicas
            if replica.state == types_pb2.FILE_STATE_ACTIVE
        ]

    async def _registered_elements(self) -> dict[str, str]:
        if not self.settings.endpoints.admin:
            return {}
        stub = admin_pb2_grpc.StorageElementServiceStub(
            self._channels.to(self.settings.endpoints.admin)
        )
        answer = await self.calls.unary(
            stub.ListStorageElements,
            admin_pb2.ListStorageElementsRequest(page_size=_PAGE_SIZE),
            doing="ListStorageElements on admin",
        )
        return {element.storage_element_id: element.endpoint for element in answer.elements}

    async def _endpoint(self, element_id: str) -> str:
        elements = await self.elements()
        if element_id not in elements:
            known = ", ".join(sorted(elements))
            raise ConfigurationError(f"no storage element {element_id!r}; known are {known}")
        return elements[element_id]

    async def _issue_token(self) -> IssuedToken:
        if not self.settings.client_id or not self.settings.client_secret:
            raise ConfigurationError(
                "no credentials: set ARTSTORE_CLIENT_ID and ARTSTORE_CLIENT_SECRET, or"
                " ARTSTORE_TOKEN, or run where `make run` wrote .artstore/mesh.json"
            )
        endpoint = _known(self.settings.endpoints.admin, "admin")
        stub = admin_pb2_grpc.TokenServiceStub(self._channels.to(endpoint))
        request = admin_pb2.IssueTokenRequest(
            client_id=self.settings.client_id, client_secret=self.settings.client_secret
        )
        answer = await self.calls.answered(
            stub.IssueToken(request, timeout=self.timeouts.call), "IssueToken on admin"
        )
        return IssuedToken(answer.access_token, answer.expires_in_seconds)


def _known(endpoint: str, server: str) -> str:
    if not endpoint:
        raise ConfigurationError(
            f"no endpoint of {server}: set ARTSTORE_{server.upper()}_ENDPOINT (host:port), or"
            " run where `make run` wrote .artstore/mesh.json"
        )
    return endpoint
