"""The elements in memory, in step with their table.

Reports of a known element go to memory and from there to the table within two seconds, so
placement goes on while the database is down. Decisions and first registrations go to the
table first. Another admin's reports and decisions are read from the table as often.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import structlog

from admin_server.clock import Clock
from admin_server.elements.element import AllTold, RegisteredElement, Removed, Report
from admin_server.elements.table import ElementTable
from admin_server.elements.watchers import Watcher
from mesh.contract import REPORT_INTERVAL_SECONDS
from mesh.elements.seen import ELEMENT_ID
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable

SYNC_SECONDS = 2.0
LOOK_SECONDS = 0.5
# Within so long every element that runs has reported, also to a table that was lost.
REPORTED_SECONDS = REPORT_INTERVAL_SECONDS + 1.0

_log = structlog.stdlib.get_logger(__name__)


class RegisteredElements:
    """All elements; run `sync` and `look` from time to time.

    Args:
        table: where they are kept.
        now: clock; reports are stamped with it, not with the element's.
        is_lost: whether the table was lost, and is a new one. Without an element it says nothing
            then, for six seconds from its first reading.
    """

    def __init__(
        self,
        table: ElementTable,
        *,
        now: Clock,
        is_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._table = table
        self._now = now
        self._known: dict[str, RegisteredElement] = {}
        self._unwritten: set[str] = set()
        self._healthy: dict[str, bool] = {}
        self._watchers: set[Watcher] = set()
        self._table_turn = asyncio.Lock()
        self._loaded = False
        self._is_lost = is_lost
        self._all_reported_at = float("inf")

    @property
    def loaded(self) -> bool:
        """Whether the table was read at least once."""
        return self._loaded

    def is_healthy(self, element: RegisteredElement) -> bool:
        """Whether the element has reported lately."""
        return element.is_healthy(self._now())

    async def report(self, report: Report) -> RegisteredElement:
        """Note a report; answers the element as admin now knows it.

        A standby changes nothing while the element's writer is healthy.

        Raises:
            InvalidArgument: a field of the report is wrong.
            FailedPrecondition: the id is known with another store_id.
            Unavailable: the id is new and the database is down.
        """
        report.check()
        known = self._known.get(report.storage_element_id)
        if known is None or known.report.store_id != report.store_id:
            known = await self._register_new(report)
        if self._is_shadowed(report, known):
            return known
        element = replace(known, report=report, reported_at=self._now())
        self._unwritten.add(report.storage_element_id)
        self._put(element)
        return element

    def get(self, storage_element_id: str) -> RegisteredElement:
        """One element.

        Raises:
            NotFound: no such element.
            Unavailable: not known here, and the table was never read or seems to be lost.
        """
        element = self._known.get(storage_element_id)
        if element is None:
            self._require_loaded()
            raise _no_such(storage_element_id)
        return element

    def list(self, mode: str = "") -> list[RegisteredElement]:
        """All elements, or those in that mode, lowest priority number first.

        Raises:
            Unavailable: the table was never read, or seems to be lost.
        """
        self._require_loaded()
        found = (e for e in self._known.values() if not mode or e.report.mode == mode)
        return sorted(found, key=lambda element: element.order)

    async def decide_priority(self, storage_element_id: str, priority: int) -> RegisteredElement:
        """Put an element in another place of Sequential Fill, whatever it reports.

        Raises:
            InvalidArgument: the priority is negative.
            NotFound: no such element.
            Unavailable: the database is down.
        """
        if priority < 0:
            raise InvalidArgument("priority must not be negative", field="priority")
        if ELEMENT_ID.fullmatch(storage_element_id) is None:
            raise _no_such(storage_element_id)
        async with self._table_turn:
            if not await self._table.decide_priority(storage_element_id, priority):
                raise _no_such(storage_element_id)
            await self._read()
        _log.info("priority decided", storage_element_id=storage_element_id, priority=priority)
        return self.get(storage_element_id)

    async def watch(self) -> AsyncGenerator[RegisteredElement | AllTold | Removed, None]:
        """Every element now, `AllTold`, then each again when it changes, its health turns or it
        is removed.

        Raises:
            Unavailable: the table was never read.
        """
        first, watcher = self.list(), Watcher()
        self._watchers.add(watcher)
        try:
            for element in first:
                yield element
            yield AllTold(len(first))
            while True:
                for storage_element_id in await watcher.next():
                    yield self._known.get(storage_element_id) or Removed(storage_element_id)
        finally:
            self._watchers.discard(watcher)

    async def sync(self) -> None:
        """Write what was reported, then read what others have written.

        Raises:
            Unavailable: the database is down; memory stays as it is.
        """
        async with self._table_turn:
            unwritten, self._unwritten = self._unwritten, set()
            try:
                await self._table.write(
                    self._known[name] for name in sorted(unwritten) if name in self._known
                )
            except Unavailable:
                self._unwritten |= unwritten
                raise
            await self._read()

    def look(self) -> None:
        """Tell the watchers whose health has turned."""
        for storage_element_id, element in self._known.items():
            healthy = self.is_healthy(element)
            if self._healthy.get(storage_element_id) != healthy:
                self._tell(element, healthy)

    async def _register_new(self, report: Report) -> RegisteredElement:
        async with self._table_turn:
            now = self._now()
            known = await self._table.register(report, now)
            if known.report.store_id != report.store_id:
                raise FailedPrecondition(
                    f"{report.storage_element_id} is known with another store; if the old one"
                    " is gone for good, delete its row in storage_elements",
                    reason="OTHER_STORE",
                    metadata={"store_id": known.report.store_id},
                )
            if known.reported_at == now:
                _log.info("element registered", storage_element_id=report.storage_element_id)
            self._put(known)
        return known

    def _is_shadowed(self, report: Report, known: RegisteredElement) -> bool:
        other_writer = known.report.is_writer and known.report.endpoint != report.endpoint
        return not report.is_writer and other_writer and self.is_healthy(known)

    async def _read(self) -> None:
        elements = {e.storage_element_id: e for e in await self._table.read()}
        for stored in elements.values():
            self._put(self._newer(stored))
        for storage_element_id in self._known.keys() - elements.keys():
            # Its row was deleted by an operator: it is forgotten until it reports again.
            self._known.pop(storage_element_id)
            self._healthy.pop(storage_element_id, None)
            self._unwritten.discard(storage_element_id)
            for watcher in self._watchers:
                watcher.tell(storage_element_id)
        if not self._loaded:
            self._all_reported_at = time.monotonic() + REPORTED_SECONDS
        self._loaded = True

    def _newer(self, stored: RegisteredElement) -> RegisteredElement:
        """The newer report of the row's and ours, with the row's decision."""
        known = self._known.get(stored.storage_element_id)
        if known is None or known.report.store_id != stored.report.store_id:
            return stored
        if known.reported_at < stored.reported_at:
            return stored
        return replace(known, decided_priority=stored.decided_priority)

    def _put(self, element: RegisteredElement) -> None:
        before = self._known.get(element.storage_element_id)
        self._known[element.storage_element_id] = element
        healthy = self.is_healthy(element)
        turned = self._healthy.get(element.storage_element_id) != healthy
        if before is None or turned or not element.says_the_same(before):
            self._tell(element, healthy)

    def _tell(self, element: RegisteredElement, healthy: bool) -> None:
        before = self._healthy.get(element.storage_element_id)
        self._healthy[element.storage_element_id] = healthy
        if before is not None and before != healthy:
            _log.warning(
                "element's health turned",
                storage_element_id=element.storage_element_id,
                healthy=healthy,
            )
        for watcher in self._watchers:
            watcher.tell(element.storage_element_id)

    def _require_loaded(self) -> None:
        if not self._loaded:
            raise Unavailable("elements are not known yet: admin's database is not answering")
        if not self._known and time.monotonic() < self._all_reported_at and self._is_lost():
            raise Unavailable("elements are not known yet: admin's database is new, none reported")


def _no_such(storage_element_id: str) -> NotFound:
    # Log lines leave out what is quoted; what could be the name of an element they may tell.
    is_name = ELEMENT_ID.fullmatch(storage_element_id) is not None
    told = storage_element_id if is_name else repr(storage_element_id[:64])
    return NotFound(f"there is no storage element {told}")
