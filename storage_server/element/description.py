"""The element as it describes itself to callers, to Redis and to admin."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg

from artstore.v1 import types_pb2
from mesh.errors import ArtStoreError
from storage_server.capacity import FillLevel
from storage_server.catalog.feed import Feed
from storage_server.element.clock import Clock
from storage_server.element.space import Space
from storage_server.element.state import Element
from storage_server.modes import Mode, Operation, allows

MODES: dict[Mode, types_pb2.ElementMode.ValueType] = {
    Mode.EDIT: types_pb2.ELEMENT_MODE_EDIT,
    Mode.RW: types_pb2.ELEMENT_MODE_RW,
    Mode.RO: types_pb2.ELEMENT_MODE_RO,
    Mode.AR: types_pb2.ELEMENT_MODE_AR,
}
_LEVELS: dict[FillLevel, types_pb2.FillLevel.ValueType] = {
    FillLevel.OK: types_pb2.FILL_LEVEL_OK,
    FillLevel.WARNING: types_pb2.FILL_LEVEL_WARNING,
    FillLevel.CRITICAL: types_pb2.FILL_LEVEL_CRITICAL,
    FillLevel.FULL: types_pb2.FILL_LEVEL_FULL,
}


class Description:
    """Reads the counters and puts the element into words.

    Args:
        endpoint: answers host:port that others reach this process at, empty until it listens.
        priority: place in Sequential Fill.
    """

    def __init__(
        self,
        element: Element,
        space: Space,
        feed: Feed,
        clock: Clock,
        *,
        endpoint: Callable[[], str],
        priority: int,
    ) -> None:
        self._element = element
        self._space = space
        self._feed = feed
        self._clock = clock
        self._endpoint = endpoint
        self._priority = priority
        self._sequence = 0
        self.database_ok = False

    @property
    def endpoint(self) -> str:
        """host:port of this process; empty until it listens."""
        return self._endpoint()

    async def look(self) -> None:
        """Read the counters and the free space; what does not answer keeps its last value."""
        element, space = self._element, self._space
        settled = space.settling()
        try:
            element.require_tables()
            head = await self._feed.head()
        except (ArtStoreError, asyncpg.PostgresError, RuntimeError):
            # The tables may be gone; `opening` makes them anew.
            self.database_ok = False
        else:
            self.database_ok = True
            self._sequence = head.sequence
            element.epoch = head.epoch
            space.counted(head.used_bytes, head.file_count, settled)
        try:
            space.free_bytes = await element.store.free_bytes()
        except ArtStoreError:
            space.free_bytes = None

    @property
    def writable(self) -> bool:
        """Whether a new upload can be taken now."""
        element = self._element
        return (
            allows(element.mode, Operation.CREATE)
            and element.storage_ok
            and element.is_writer
            and element.writing_ready
            and self.database_ok
            and self._space.fill_level is not FillLevel.FULL
            and not self._clock.doubt()
        )

    def message(self) -> types_pb2.StorageElement:
        """The element now, with the counters as last read."""
        element, space = self._element, self._space
        message = types_pb2.StorageElement(
            storage_element_id=element.element_id,
            store_id=element.store_id,
            endpoint=self._endpoint(),
            mode=MODES[element.mode],
            priority=self._priority,
            capacity_bytes=space.capacity_bytes,
            used_bytes=space.used_bytes,
            reserved_bytes=space.reserved_bytes,
            file_count=space.file_count,
            fill_level=_LEVELS[space.fill_level],
            writable=self.writable,
            is_writer=element.is_writer,
            backend=element.backend,
            epoch=element.epoch,
            sequence=self._sequence,
            healthy=True,
        )
        message.reported_at.FromDatetime(datetime.fromtimestamp(self._clock.agreed(), UTC))
        return message
