"""Something that runs for each element, over a channel of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import grpc.aio
import structlog

from artstore.v1.storage_pb2_grpc import StorageServiceStub
from mesh.concurrency.watched import cancel_and_wait, telling

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

_log = structlog.stdlib.get_logger(__name__)


class _Following(Protocol):
    async def run(self) -> None: ...


Following = TypeVar("Following", bound=_Following)


@dataclass(frozen=True, slots=True)
class _Running(Generic[Following]):
    endpoint: str
    channel: grpc.aio.Channel
    following: Following
    task: asyncio.Task[None]


class EachElement(Generic[Following]):
    """Begins it anew where it has crashed, or the element has another address.

    Args:
        open_channel: to an address.
        begin: makes what is run for an element, with a stub of it.
        name: of its task, with `{}` for the element.
    """

    def __init__(
        self,
        open_channel: Callable[[str], grpc.aio.Channel],
        begin: Callable[[str, StorageServiceAsyncStub], Following],
        *,
        name: str,
    ) -> None:
        self._open_channel = open_channel
        self._begin = begin
        self._name = name
        self._running: dict[str, _Running[Following]] = {}

    @property
    def running(self) -> dict[str, Following]:
        """What runs, by the element's id."""
        return {element_id: one.following for element_id, one in self._running.items()}

    async def ensure(self, element_id: str, endpoint: str) -> None:
        """Have it run for the element at host:port."""
        known = self._running.get(element_id)
        if known is not None and known.endpoint == endpoint and not known.task.done():
            return
        await self.end(element_id)
        channel = self._open_channel(endpoint)
        following = self._begin(element_id, StorageServiceStub(channel))
        task = asyncio.create_task(following.run(), name=self._name.format(element_id))
        task.add_done_callback(telling(_log, "following crashed, it is started again"))
        self._running[element_id] = _Running(endpoint, channel, following, task)

    async def end(self, element_id: str) -> Following | None:
        """End it for the element; what ran, None if nothing did."""
        one = self._running.pop(element_id, None)
        if one is None:
            return None
        await cancel_and_wait(one.task)
        await one.channel.close()
        return one.following
