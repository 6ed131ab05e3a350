"""The one view of the elements that every server goes by, kept fresh in the background.

Redis is read every two seconds, and walked through every 15 s for elements that nobody named.
Admin's list is read every five, every second while Redis gives nothing, and at once when an element
reports to Redis that is not on it. Both are merged: the younger report of an element wins
(`seen.heard`), and the priority is the one that admin's list says. An
element that was once seen keeps its endpoint here, so that its resumable uploads are found while
its reports are missing; it is forgotten when admin lists it no more and it does not report either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import orjson
import structlog

from mesh.calls.admin_link import AdminLink
from mesh.concurrency.background import Background
from mesh.concurrency.backoff import Backoff
from mesh.concurrency.bell import Bell
from mesh.elements.admitted import Admitted
from mesh.elements.discovery import REPORT_CHANNEL, AdminReports, RedisReports
from mesh.elements.seen import ELEMENT_ID, SeenElement, heard
from mesh.errors import ArtStoreError, Unavailable
from mesh.redis import translated

REDIS_INTERVAL_SECONDS = 2.0
# What is asked instead of one that gives nothing.
INSTEAD_SECONDS = 1.0
ADMIN_INTERVAL_SECONDS = 5.0
# Elements that admin does not list, and whose announcement got lost, are found no later. It is well
# below mesh.follower.fleet.GONE_SECONDS, after which their files would be dropped.
WALK_INTERVAL_SECONDS = 15.0
# Before an element is said not to exist admin is asked, but not more often than this.
LOOK_SECONDS = 0.05
# A burst of hints becomes one reading.
HINT_PAUSE_SECONDS = 0.02
HINT_WAIT_SECONDS = 5.0
MAX_HINTED = 100

_log = structlog.stdlib.get_logger(__name__)


class ReportSource(Protocol):
    """Reports by element id, as Redis has them."""

    async def read(self, element_ids: Collection[str]) -> list[SeenElement]:
        """The reports of these elements."""

    async def find_ids(self) -> set[str]:
        """Ids of all elements that have a report."""


class Listing(Protocol):
    """All elements, as admin has them."""

    async def read(self) -> list[SeenElement]:
        """All elements with their last reports."""


class ElementView:
    """What is known of the elements now. Run `follow_...` as background tasks."""

    def __init__(
        self,
        reports: ReportSource,
        registry: Listing,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._reports = reports
        self._registry = registry
        self._elements: dict[str, SeenElement] = {}
        # The last report that a source had of an element, and when it was read there.
        self._read: dict[tuple[object, str], tuple[SeenElement, float]] = {}
        self._priorities: dict[str, int] = {}
        self._hinted: set[str] = set()
        self._known = asyncio.Event()
        self._wanted = Bell()
        self._reports_work = False
        # Whether Redis answered, with reports or without.
        self._redis_works = True
        self._redis_read_at = float("-inf")
        self._registry_works = False
        self._registry_turn = asyncio.Lock()
        self._registry_asked_at = float("-inf")
        self._listed = False
        # When admin was asked for the list that we have; when an element was first heard of.
        self._list_asked_at = float("-inf")
        self._found_at: dict[str, float] = {}
        self._list_wanted = Bell()
        self._walked_at = float("-inf")

    @property
    def listed(self) -> bool:
        """Whether admin was reached since the start: only it knows which elements there are."""
        return self._listed

    def all(self) -> list[SeenElement]:
        """Every element there is, with its last report, however old that is."""
        return list(self._elements.values())

    def endpoints(self) -> Mapping[str, str]:
        """Element id -> host:port of every element there is."""
        return {e.element_id: e.endpoint for e in self.all() if e.endpoint}

    def placeable(self) -> list[SeenElement]:
        """Those that uploads may go to: what admin does not list, no client would find.

        One that was heard of after admin last answered has the benefit of the doubt.
        """
        return [
            element
            for element in self.all()
            if element.element_id in self._priorities or self._is_newer(element.element_id)
        ]

    def _is_newer(self, element_id: str) -> bool:
        return self._found_at[element_id] > self._list_asked_at

    def count_fresh(self) -> int:
        """How many elements have reported lately."""
        now = self._clock()
        return sum(element.is_fresh(now) for element in self.all())

    async def find(self, element_id: str, *, timeout: float = 2.0) -> SeenElement | None:
        """The element, however old its report; None when nobody knows it.

        Raises:
            Unavailable: it is not known here, and admin, which knows all, is not answering.
        """
        await self.ready(timeout)
        if element_id not in self._elements:
            await self.look()
        element = self._elements.get(element_id)
        if element is None and not self._registry_works:
            raise Unavailable(f"storage element {element_id} is not known while admin is away")
        return element

    async def ready(self, timeout: float = 2.0) -> None:
        """Wait, just after the start, until any element is known.

        Raises:
            Unavailable: none is after `timeout` seconds, and admin did not say that there is none.
        """
        if self._elements:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._known.wait()
        except TimeoutError as exc:
            if not self._listed:
                raise Unavailable(
                    "no storage element is known yet: admin, which says which there are, has not"
                    " answered"
                ) from exc

    async def look(self) -> None:
        """Know the elements as they are after this call; those who wait share one look.

        That is admin's list, or what Redis has while admin is away, and nothing new with neither.
        """
        called_at = self._clock()
        async with self._registry_turn:
            if self._registry_asked_at >= called_at:
                return
            await asyncio.sleep(self._registry_asked_at + LOOK_SECONDS - self._clock())
            self._registry_works = await self._read_registry()
            if not self._registry_works and self._is_due(INSTEAD_SECONDS):
                self._reports_work = await self._read_reports(walk=True)

    def hint(self, element_id: str = "") -> None:
        """Something changed: read the reports now."""
        if ELEMENT_ID.fullmatch(element_id) and len(self._hinted) < MAX_HINTED:
            self._hinted.add(element_id)
        self._wanted.ring()

    def ask_admin(self) -> None:
        """Admin's list may be old: read it now."""
        self._list_wanted.ring()

    def walk(self) -> None:
        """Hints may have been missed: look in Redis for elements that nobody named."""
        self._walked_at = float("-inf")
        self._wanted.ring()

    async def follow_reports(self) -> None:
        """Read Redis again and again until cancelled."""
        wanted = self._wanted.listen()
        while True:
            wanted.take()
            self._reports_work = await self._read_reports()
            await wanted.wait(REDIS_INTERVAL_SECONDS, burst_seconds=HINT_PAUSE_SECONDS)

    async def follow_registry(self) -> None:
        """Read admin's list again and again until cancelled."""
        backoff, wanted = Backoff(INSTEAD_SECONDS), self._list_wanted.listen()
        while True:
            async with self._registry_turn:
                wanted.take()
                self._registry_works = await self._read_registry()
            calm = self._reports_work and self._registry_works
            if not self._registry_works:
                await backoff.pause()
                continue
            seconds = ADMIN_INTERVAL_SECONDS if calm else INSTEAD_SECONDS
            await wanted.wait(seconds, burst_seconds=LOOK_SECONDS)

    async def _read_reports(self, *, walk: bool = False) -> bool:
        """Whether Redis has reports of now.

        Args:
            walk: look for elements that nobody named yet.
        """
        asked_at = self._clock()
        try:
            self._merge(
                self._reports, await self._reports.read(self._elements.keys() | self._hinted)
            )
            self._hinted -= self._elements.keys()
            # Neither admin's list nor a hint names each of them.
            if walk or self._is_due(WALK_INTERVAL_SECONDS) or not self._elements:
                self._walked_at = self._clock()
                new = await self._reports.find_ids() - self._elements.keys()
                self._merge(self._reports, await self._reports.read(new))
            unlisted = self._elements.keys() - self._priorities.keys()
            if any(self._is_newer(element_id) for element_id in unlisted):
                self._list_wanted.ring()
        except ArtStoreError as exc:
            self._redis_works = False
            if self._reports_work:
                _log.warning("element reports: Redis is not answering", reason=exc.message)
            return False
        self._redis_works, self._redis_read_at = True, asked_at
        return self.count_fresh() > 0

    def _is_due(self, interval_seconds: float) -> bool:
        """Whether Redis was walked through so long ago."""
        return self._clock() - self._walked_at > interval_seconds

    async def _read_registry(self) -> bool:
        asked_at = self._registry_asked_at = self._clock()
        try:
            elements = await self._registry.read()
        except ArtStoreError as exc:
            level = "warning" if self._registry_works else "debug"
            getattr(_log, level)("element reports: admin is not answering", reason=exc.message)
            return False
        self._priorities = {element.element_id: element.priority for element in elements}
        self._merge(self._registry, elements)
        for element in elements:
            # Where it is called is admin's word, also of one whose older report is not yet renewed.
            known = self._elements[element.element_id]
            self._elements[element.element_id] = replace(known, endpoint=element.endpoint)
        self._forget_all_but(self._priorities)
        for element_id in self._elements.keys() - self._priorities.keys():
            if self._list_asked_at < self._found_at[element_id] <= asked_at:
                _log.warning("reports, and admin does not list it", element=element_id)
        self._list_asked_at = asked_at
        self._listed = True
        return True

    def _forget_all_but(self, listed: Collection[str]) -> None:
        """Drop elements that admin lists no more, unless they may be reporting to Redis."""
        now = self._clock()
        for element in self.all():
            element_id = element.element_id
            if element_id in listed or element.is_fresh(now):
                continue
            if self._redis_works or self._never_reported(element_id):
                del self._elements[element_id], self._found_at[element_id]
                _log.info("storage element forgotten", element=element_id)

    def _never_reported(self, element_id: str) -> bool:
        """Whether Redis was asked for the element, and had nothing of it."""
        asked = self._found_at[element_id] <= self._redis_read_at
        return asked and (self._reports, element_id) not in self._read

    def _merge(self, source: object, read: Iterable[SeenElement]) -> None:
        for element in (self._heard(source, each) for each in read):
            old = self._elements.get(element.element_id)
            best = element if old is None or element.heard_at >= old.heard_at else old
            priority = self._priorities.get(best.element_id, best.priority)
            self._elements[best.element_id] = replace(best, priority=priority)
            if old is None:
                self._found_at[element.element_id] = self._clock()
                _log.info("storage element found", element=best.element_id, endpoint=best.endpoint)
        if self._elements:
            self._known.set()

    def _heard(self, source: object, read: SeenElement) -> SeenElement:
        now, key = self._clock(), (source, read.element_id)
        before, seen_at = self._read.get(key, (None, now))
        element = heard(read, before, seen_at=seen_at, now=now, wall=time.time())
        self._read[key] = (element, now)
        return element


def follow_elements(redis: Any, link: AdminLink, background: Background) -> ElementView:
    """A view over Redis and admin, kept fresh until `background` ends.

    It knows admitted elements only, and there is a token for each of them.
    """
    admitted = Admitted()
    reports = AdminReports(link.channel, link.account, admitted)
    elements = ElementView(RedisReports(redis, admitted), reports)
    admitted.doubt = elements.ask_admin
    admitted.on_list = link.element_tokens.keep
    background.start("element reports", elements.follow_reports)
    background.start("element registry", elements.follow_registry)
    background.start("element hints", partial(follow_hints, redis, elements))
    return elements


async def follow_hints(client: Any, elements: ElementView) -> None:
    """Read the reports whenever an element says on Redis that it changed, until cancelled.

    A hint may get lost: the reports of known elements are read every two seconds anyway, and Redis
    is walked through at each subscription and every 15 s.

    Raises:
        Unavailable: the connection broke; start again.
    """
    with translated("hints of elements"):
        async with client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(REPORT_CHANNEL)
            # What was published before was missed.
            elements.walk()
            while True:
                message = await subscription.get_message(timeout=HINT_WAIT_SECONDS)
                if message is not None:
                    elements.hint(_element_id(message.get("data")))


def _element_id(data: object) -> str:
    """The id in a hint: the bare id, or JSON that has it."""
    text = data.decode(errors="replace") if isinstance(data, bytes) else str(data or "")
    if not text.startswith("{"):
        return text
    try:
        return str(orjson.loads(text).get("storage_element_id", ""))
    except orjson.JSONDecodeError:
        return ""
