"""Which storage elements there are and where: from Valkey, else from admin, else as last known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc.aio
import structlog
from google.protobuf import json_format
from redis.asyncio import Redis

from artstore.v1 import elements_pb2
from artstore.v1.elements_pb2 import StorageElement, StorageElementReport
from artstore.v1.elements_pb2_grpc import StorageElementServiceStub
from mesh.calls.status import from_rpc_error
from mesh.errors import ArtStoreError, Unavailable
from mesh.identity.credentials import ServiceToken
from mesh.redis import translated

if TYPE_CHECKING:
    from artstore.v1.elements_pb2_grpc import StorageElementServiceAsyncStub

REPORT_KEY_PREFIX = "artstore:element:"
REPORT_CHANNEL = "artstore:elements"
CHANGES_CHANNEL = "artstore:changes"
INTERVAL_SECONDS = 1.0
CALL_SECONDS = 2.0
# Admin knows of elements that are down, and that Valkey has forgotten or never heard of.
ASK_ADMIN_SECONDS = 30.0

_log = structlog.stdlib.get_logger(__name__)


async def reports_in_redis(redis: Redis) -> list[StorageElementReport]:
    """What the elements last reported to Valkey; reports expire there by themselves."""
    client: Any = redis
    with translated():
        keys = [key async for key in client.scan_iter(match=REPORT_KEY_PREFIX + "*", count=100)]
        values = await client.mget(keys) if keys else []
    found = []
    for value in values:
        if value is not None:
            with suppress(json_format.ParseError):
                report = StorageElementReport()
                found.append(json_format.Parse(value, report, ignore_unknown_fields=True))
    return found


async def reports_of_admin(
    stub: StorageElementServiceAsyncStub, metadata: Sequence[tuple[str, str]]
) -> list[StorageElement]:
    """The elements that admin knows, with its verdict on their health."""
    request = elements_pb2.ListStorageElementsRequest(page_size=1000)
    try:
        answer = await stub.ListStorageElements(
            request, metadata=tuple(metadata), timeout=CALL_SECONDS
        )
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    return list(answer.elements)


class ElementDirectory:
    """Keeps the elements' addresses; run `watch` as a background task."""

    def __init__(self, *, redis: Redis, admin: grpc.aio.Channel, account: ServiceToken) -> None:
        self._redis = redis
        self._admin: StorageElementServiceAsyncStub = StorageElementServiceStub(admin)
        self._account = account
        self._elements: dict[str, StorageElement | StorageElementReport] = {}
        self._ask_admin_at = float("-inf")
        self._knows_all = False
        self._turn = asyncio.Lock()
        self._looked_at = float("-inf")

    @property
    def knows_all(self) -> bool:
        """Whether admin has told of all elements that there are."""
        return self._knows_all

    def endpoints(self) -> Mapping[str, str]:
        """Element id -> host:port of every element heard of.

        One is forgotten when admin lists it no more (its row was deleted) and it does not report
        to Valkey either.
        """
        return {name: element.endpoint for name, element in self._elements.items()}

    async def watch(self) -> None:
        """Look about once a second until cancelled."""
        while True:
            try:
                await self.look()
            except ArtStoreError as error:
                _log.debug("storage elements not looked up", reason=error.message)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def look(self) -> None:
        """Look now; those who wait for their turn share one look.

        Raises:
            Unavailable: neither Valkey nor admin told of any element.
        """
        called_at = time.monotonic()
        async with self._turn:
            if self._looked_at < called_at:
                began = time.monotonic()
                await self._look()
                self._looked_at = began

    async def _look(self) -> None:
        found: list[StorageElement | StorageElementReport] = []
        try:
            found.extend(await reports_in_redis(self._redis))
            reports_work = True
        except Unavailable:
            reports_work = False
        if len(found) < len(self._elements) or not found or self._admin_is_due():
            try:
                found = [*await self._ask_admin(), *found]
                self._knows_all = True
                if reports_work:
                    self._forget_all_but({element.storage_element_id for element in found})
            except ArtStoreError:
                if not found:
                    raise
        for element in found:
            if element.endpoint:
                self._elements[element.storage_element_id] = element

    def _forget_all_but(self, known: set[str]) -> None:
        for element_id in self._elements.keys() - known:
            del self._elements[element_id]
            _log.info("storage element forgotten", element=element_id)

    def _admin_is_due(self) -> bool:
        return time.monotonic() >= self._ask_admin_at

    async def _ask_admin(self) -> list[StorageElement]:
        known = await reports_of_admin(self._admin, self._account.metadata())
        self._ask_admin_at = time.monotonic() + ASK_ADMIN_SECONDS
        return known
