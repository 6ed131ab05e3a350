"""What belongs to no file, on each element: uploads that were idle for too long, orphan blobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc.aio

from admin_server.clock import Clock
from admin_server.collection.collection import Order, Reason, Tally
from admin_server.elements.element import RegisteredElement
from admin_server.elements.registered import RegisteredElements
from artstore.v1 import lifecycle_pb2, transfers_pb2
from artstore.v1.transfers_pb2_grpc import TransferServiceStub
from mesh.calls.status import from_rpc_error
from mesh.errors import ArtStoreError, Unavailable
from mesh.follower.lookups import ElementMetadata
from mesh.operations import Operation

if TYPE_CHECKING:
    from artstore.v1.transfers_pb2_grpc import TransferServiceAsyncStub

# Of listing a whole element.
LISTING_SECONDS = 600.0

_REASONS = {
    lifecycle_pb2.COLLECTION_REASON_IDLE_UPLOAD: Reason.IDLE_UPLOAD,
    lifecycle_pb2.COLLECTION_REASON_ORPHAN_BLOB: Reason.ORPHAN_BLOB,
}


class Leftovers:
    """Has each element take away what belongs to none of its files.

    Args:
        channel: to an address, kept by whoever gives it.
        metadata: of a call of an element, with admin's own token for it.
    """

    def __init__(
        self,
        elements: RegisteredElements,
        *,
        channel: Callable[[str], grpc.aio.Channel],
        metadata: ElementMetadata,
        now: Clock,
    ) -> None:
        self._elements = elements
        self._channel = channel
        self._metadata = metadata
        self._now = now

    async def collect(self, operation: Operation, order: Order, tally: Tally) -> None:
        """Ask them all, side by side; one that does not answer is an error of the run."""

        # In a fixed order, so that two runs of the same tell the same.
        elements = sorted(self._elements.joined(), key=lambda each: each.storage_element_id)
        answers = await asyncio.gather(*(self._answer(each, order) for each in elements))
        for element, answer in zip(elements, answers, strict=True):
            name = element.storage_element_id
            if isinstance(answer, ArtStoreError):
                tally.fail(f"leftovers of {name}: {answer.message}")
                continue
            operation.advance(_add(name, answer, tally))

    async def _answer(
        self, element: RegisteredElement, order: Order
    ) -> transfers_pb2.CollectLeftoversResponse | ArtStoreError:
        try:
            return await self._ask(element, order)
        except ArtStoreError as exc:
            return exc

    async def _ask(
        self, element: RegisteredElement, order: Order
    ) -> transfers_pb2.CollectLeftoversResponse:
        if not element.endpoint:
            raise Unavailable("it is sent nothing: its account is suspended or deleted")
        request = transfers_pb2.CollectLeftoversRequest(
            dry_run=order.dry_run,
            max_delete_ratio=order.max_delete_ratio,
            if_due=not order.everywhere,
        )
        request.decided_at.FromDatetime(self._now())
        stub: TransferServiceAsyncStub = TransferServiceStub(self._channel(element.endpoint))
        try:
            return await stub.CollectLeftovers(
                request,
                metadata=tuple(await self._metadata(element.storage_element_id)),
                timeout=LISTING_SECONDS,
            )
        except grpc.aio.AioRpcError as exc:
            raise from_rpc_error(exc) from exc


def _add(name: str, answer: transfers_pb2.CollectLeftoversResponse, tally: Tally) -> int:
    """Count what an element told; how many things that were."""
    told = 0
    for count in answer.counts:
        reason = _REASONS.get(count.reason)
        if reason is None:
            continue
        told += count.count
        # An orphan goes on lying in quarantine.
        freed = count.size_bytes if reason is Reason.IDLE_UPLOAD else 0
        examples = [f"{name}: {example}" for example in count.examples]
        tally.add(reason, count.count, count.size_bytes, examples, freed=freed)
    for error in answer.errors:
        tally.fail(f"{name}: {error}")
    return told
