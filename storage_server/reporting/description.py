"""The element as it describes itself to callers, to Redis and to admin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from artstore.v1 import elements_pb2, types_pb2
from mesh.contract import MAX_REASON_CHARACTERS
from mesh.errors import ArtStoreError
from storage_server.catalog.feed import Feed
from storage_server.domain.capacity import FillLevel
from storage_server.domain.modes import Action, Mode, allows
from storage_server.element.clock import Clock
from storage_server.element.phase import Phase
from storage_server.element.space import Space
from storage_server.element.state import Element

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
_BACKENDS: dict[str, types_pb2.StorageBackend.ValueType] = {
    "local": types_pb2.STORAGE_BACKEND_LOCAL,
    "s3": types_pb2.STORAGE_BACKEND_S3,
}


class Description:
    """Reads the counters and puts the element into words.

    Args:
        endpoint: answers host:port that others reach this process at, empty until it listens.
        priority: place in Sequential Fill.
        followers_behind: answers accounts that follow and do not know all states of a file.
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
        followers_behind: Callable[[], Sequence[str]],
    ) -> None:
        self._element = element
        self._space = space
        self._feed = feed
        self._clock = clock
        self._endpoint = endpoint
        self._priority = priority
        self._followers_behind = followers_behind
        self._head_position = 0
        self._database_problem = "the database was not asked yet"

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
            takes_writes = await self._feed.takes_writes()
        except ArtStoreError:
            # The tables may be gone; `opening` makes them anew.
            self._database_problem = "the database does not answer, or its tables are gone"
        else:
            self._database_problem = "" if takes_writes else "the database takes no writes"
            self._head_position = head.sequence
            space.counted(head.used_bytes, head.file_count, settled)
        try:
            space.free_bytes = await element.reading().free_bytes()
        except ArtStoreError:
            space.free_bytes = None

    @property
    def unwritable_reason(self) -> str:
        """Why no new upload can be taken now, in a few words; empty when one can."""
        element = self._element
        if not element.storage_ok:
            reason = f"the store does not answer: {element.problem}"
        elif not element.is_writer:
            reason = "standby: another process writes this element, or the lock cannot be asked for"
        elif not allows(element.mode, Action.CREATE):
            reason = f"mode {element.mode.value}"
        elif self._database_problem:
            reason = self._database_problem
        elif element.phase is not Phase.WRITING:
            reason = "starting"
        elif element.write_error is not None:
            reason = element.write_error.message
        elif self._space.fill_level is FillLevel.FULL:
            reason = "full"
        else:
            reason = self._clock.doubt()
        printable = "".join(c if c.isprintable() else " " for c in reason)
        return " ".join(printable.split())[:MAX_REASON_CHARACTERS]

    def message(self) -> elements_pb2.StorageElement:
        """The element now, with the counters as last read."""
        message = elements_pb2.StorageElement(**self._facts(), healthy=True)
        message.reported_at.FromDatetime(self._now())
        return message

    def report(self) -> elements_pb2.StorageElementReport:
        """The same, as told to Redis and admin."""
        report = elements_pb2.StorageElementReport(
            **self._facts(), peer_storage_element_ids=self._element.peers
        )
        report.reported_at.FromDatetime(self._now())
        return report

    def _now(self) -> datetime:
        return self._clock.agreed_time()

    def _facts(self) -> dict[str, Any]:
        element, space = self._element, self._space
        reason = self.unwritable_reason
        return {
            "storage_element_id": element.element_id,
            "store_id": element.store_id,
            "endpoint": self._endpoint(),
            "mode": MODES[element.mode],
            "priority": self._priority,
            "capacity_bytes": space.capacity_bytes,
            "used_bytes": space.used_bytes,
            "reserved_bytes": space.reserved_bytes,
            "file_count": space.file_count,
            "fill_level": _LEVELS[space.fill_level],
            "writable": not reason,
            "unwritable_reason": reason,
            "is_writer": element.is_writer,
            "backend": _BACKENDS.get(element.backend, types_pb2.STORAGE_BACKEND_UNSPECIFIED),
            "epoch": self._feed.epoch,
            "head_position": self._head_position,
            "followers_behind": self._followers_behind(),
        }
