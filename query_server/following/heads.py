"""How far the elements' feeds are, asked of the elements themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from artstore.v1 import storage_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.elements.view import ElementView
from mesh.errors import InvalidArgument, Unavailable
from mesh.follower.lookups import ElementMetadata

ASK_SECONDS = 3.0


class ElementHeads:
    """Answers of one moment are shared by all who ask before it.

    Args:
        channel_to: the channel to host:port.
        view: knows which elements there are.
        metadata: of a call of an element by this server itself.
    """

    def __init__(
        self,
        channel_to: Callable[[str], grpc.aio.Channel],
        view: ElementView,
        metadata: ElementMetadata,
    ) -> None:
        self._channel_to = channel_to
        self._view = view
        self._metadata = metadata
        self._asking = KeyedLocks()
        # Element id -> when it was asked, its epoch and its head; None where it could not tell.
        self._told: dict[str, tuple[float, tuple[str, int] | None]] = {}

    async def require_made(self, element_id: str, epoch: str, sequence: int) -> None:
        """Whoever waits for that change may wait for something.

        An element that does not answer, or cannot tell, has the benefit of the doubt, and one that
        has another history now has made its changes anew.

        Raises:
            InvalidArgument: there is no such element, or it has not made that change.
            Unavailable: the element is not known, and admin, which knows all, does not answer.
        """
        element = await self._view.find(element_id)
        if element is None:
            raise InvalidArgument(
                f"no storage element {element_id[:40]!r}: take the change tokens that this mesh"
                " answered",
                field="min_change_tokens",
            )
        told = await self._head(element_id, element.endpoint)
        if told is not None and told[0] == epoch and told[1] < sequence:
            raise InvalidArgument(
                f"{element_id} has not made this change: take the change tokens that it answered",
                field="min_change_tokens",
            )

    async def _head(self, element_id: str, endpoint: str) -> tuple[str, int] | None:
        called_at = time.monotonic()
        async with self._asking.hold(element_id):
            asked_at, told = self._told.get(element_id, (float("-inf"), None))
            if asked_at < called_at:
                asked_at = time.monotonic()
                told = await self._ask(element_id, endpoint)
                self._told[element_id] = (asked_at, told)
            return told

    async def _ask(self, element_id: str, endpoint: str) -> tuple[str, int] | None:
        stub: Any = StorageServiceStub(self._channel_to(endpoint))
        try:
            answer = await stub.GetElement(
                storage_pb2.GetElementRequest(),
                metadata=tuple(await self._metadata(element_id)),
                timeout=ASK_SECONDS,
            )
        except (grpc.aio.AioRpcError, Unavailable):
            return None
        # Without its database it answers what it read last.
        element = answer.element
        return (element.epoch, element.head_position) if element.writable else None
