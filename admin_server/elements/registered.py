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
from admin_server.elements import admission, peers
from admin_server.elements.element import (
    NEVER,
    AllTold,
    RegisteredElement,
    Removed,
    Report,
    check_endpoint,
    unreported,
)
from admin_server.elements.table import ElementTable
from admin_server.elements.watchers import Watcher
from mesh.contract import REPORT_INTERVAL_SECONDS
from mesh.elements.seen import ELEMENT_ID
from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from mesh.redaction import asked_for

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
        self._forgotten: frozenset[str] = frozenset()
        self._told_unheard: list[str] = []
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

    async def report(self, report: Report, client_id: str) -> RegisteredElement:
        """Note a report; answers the element as admin now knows it.

        A standby changes nothing while the element's writer is healthy. Another host than the
        admitted one waits for an ADMIN's word, and is answered with what was admitted.

        Args:
            client_id: the account that reports.

        Raises:
            InvalidArgument: a field of the report is wrong.
            PermissionDenied: the account is not the one bound to the element.
            FailedPrecondition: the id is known with another store, which waits now.
            Unavailable: the id or its account is new and the database is down.
        """
        report.check()
        known = self._known.get(report.storage_element_id)
        # Memory may be older than what an ADMIN did: before a no the table is asked.
        if known is None or (known.client_id, known.report.store_id) != (
            client_id,
            report.store_id,
        ):
            known = await self._join(report, client_id)
        if admission.is_shadowed(known, report, healthy=self.is_healthy(known)):
            return known
        awaiting = admission.awaiting_of(known, report, self._now())
        if awaiting is None:
            element = admission.reported(known, report, self._now())
        else:
            element = replace(known, awaiting=awaiting)
        self._unwritten.add(report.storage_element_id)
        self._put(element)
        if awaiting is not None:
            admission.require_admitted_store(element)
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

    def joined(self) -> list[RegisteredElement]:
        """Those of `list` that have reported: the others have no files.

        Raises:
            Unavailable: as `list`.
        """
        return [element for element in self.list() if element.has_joined]

    def unheard(self) -> list[str]:
        """Ids of those that others name and that have not reported: they may have files.

        Raises:
            Unavailable: as `list`.
        """
        return peers.unheard(self.list(), self._forgotten)

    def peers_of(self, storage_element_id: str) -> list[str]:
        """Ids of the others, as far as they are known now."""
        return peers.told_to(storage_element_id, self._known.values(), self._forgotten)

    def called(self) -> list[RegisteredElement]:
        """Those of `joined` that are admitted: calls and tokens are sent to no other.

        Raises:
            Unavailable: as `list`.
        """
        return [element for element in self.joined() if element.endpoint]

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

    async def add(
        self, storage_element_id: str, *, endpoint: str, priority: int | None
    ) -> RegisteredElement:
        """Make an element known before it reports, or find one that has lost its account.

        Args:
            endpoint: whose host its first report must have; empty for any.
            priority: its place in Sequential Fill; None leaves it to its report.

        Raises:
            InvalidArgument: an argument is wrong.
            AlreadyExists: it is there, and an account reports for it.
            Unavailable: the database is down.
        """
        if ELEMENT_ID.fullmatch(storage_element_id) is None:
            raise InvalidArgument(
                "storage_element_id is a name like se-04: a letter, then at most 31 letters, digits"
                " and `-`, in lower case",
                field="storage_element_id",
            )
        if endpoint:
            check_endpoint(endpoint)
        if priority is not None and priority < 0:
            raise InvalidArgument("priority must not be negative", field="priority")
        async with self._table_turn:
            await self._table.add(
                unreported(storage_element_id, endpoint),
                reported_at=NEVER,
                now=self._now(),
                priority=priority,
            )
            await self._read()
        element = self.get(storage_element_id)
        if element.client_id:
            raise AlreadyExists(
                f"there is a storage element {storage_element_id} already, and account"
                f" {element.client_id} reports for it"
            )
        return element

    async def admit(
        self, storage_element_id: str, *, store_id: str, endpoint: str
    ) -> RegisteredElement:
        """Accept a store or an address that waits; empty leaves what there is.

        Raises:
            InvalidArgument: both are empty.
            NotFound: no such element.
            FailedPrecondition: something else waits by now.
            Unavailable: the database is down.
        """
        if not store_id and not endpoint:
            raise InvalidArgument("say which store_id or endpoint is admitted", field="store_id")
        async with self._table_turn:
            await self._write_and_read()
            before = self.get(storage_element_id)
            after = admission.admitted(before, store_id, endpoint)
            if after is not before and not await self._table.admit(after):
                raise FailedPrecondition(
                    f"{storage_element_id} was admitted by somebody else at the same time: look"
                    " what waits now",
                    reason="NOT_AWAITED",
                )
            await self._read()
        if after is not before:
            _log.info(
                "element admitted",
                storage_element_id=storage_element_id,
                store_id=after.report.store_id,
                endpoint=after.report.endpoint,
            )
        return self.get(storage_element_id)

    async def look_again(self) -> None:
        """Know what the table says now.

        Raises:
            Unavailable: the database is down.
        """
        async with self._table_turn:
            await self._read()

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
            await self._write_and_read()

    async def _write_and_read(self) -> None:
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

    async def _join(self, report: Report, client_id: str) -> RegisteredElement:
        """The element of that account; its first report is admitted as it is."""
        name = report.storage_element_id
        async with self._table_turn:
            bound = await self._table.client_of(name)
            if bound != client_id:
                raise _not_yours(name, bound, client_id)
            now = self._now()
            known = await self._table.find(name)
            if known is None:
                await self._table.add(report, reported_at=now, now=now)
            elif not known.has_joined and admission.awaiting_of(known, report, now) is None:
                first = replace(known, report=report, reported_at=now)
                await self._table.admit(replace(first, admissions=known.admissions + 1))
            found = await self._table.find(name)
            if found is None:
                raise NotFound(f"storage element {name} was removed at this moment")
            if found.reported_at == now:
                _log.info("element registered", storage_element_id=name)
            found = self._newer(found)
            self._put(found)
        return found

    async def _read(self) -> None:
        elements = {e.storage_element_id: e for e in await self._table.read()}
        self._forgotten = await self._table.forgotten()
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
        self._tell_unheard()

    def _tell_unheard(self) -> None:
        found = peers.unheard(self._known.values(), self._forgotten)
        if found != self._told_unheard:
            self._told_unheard = found
            if found:
                _log.warning("elements that others know have not reported", elements=found)

    def _newer(self, stored: RegisteredElement) -> RegisteredElement:
        """The newer reports of the row's and ours, with the row's decisions."""
        known = self._known.get(stored.storage_element_id)
        if known is None or known.admissions != stored.admissions:
            return stored
        newer = known if known.reported_at >= stored.reported_at else stored
        waiting = known if known.awaiting.at >= stored.awaiting.at else stored
        return replace(
            stored,
            report=newer.report,
            reported_at=newer.reported_at,
            awaiting=waiting.awaiting,
        )

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
    return NotFound(f"there is no storage element {asked_for(storage_element_id, ELEMENT_ID)}")


def _not_yours(storage_element_id: str, bound: str, client_id: str) -> PermissionDenied:
    """Why an account's report is refused, and what its operator can do."""
    if bound:
        why = f"another account reports for storage element {storage_element_id}"
        what = "give its server that account's ARTSTORE_CLIENT_ID and _SECRET"
    else:
        why = f"no account reports for storage element {storage_element_id}"
        what = (
            f"an ADMIN makes one by `artstore element add {storage_element_id}`; give its server"
            " that ARTSTORE_CLIENT_ID and _SECRET"
        )
    return PermissionDenied(
        f"{why}, so {client_id or 'nobody'} may not: {what}", reason="ELEMENT_ACCOUNT"
    )
