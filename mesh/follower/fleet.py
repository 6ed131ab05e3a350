"""One follower for each storage element there is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import grpc.aio
import structlog

from mesh.concurrency.watched import cancel_and_wait
from mesh.elements.seen import ELEMENT_ID
from mesh.errors import NotFound, Unavailable
from mesh.follower.cursor import SyncStatus
from mesh.follower.each_element import EachElement
from mesh.follower.follower import FAILURES, ElementFollower
from mesh.follower.lookups import ElementMetadata
from mesh.follower.progress import Progress
from mesh.follower.replicas import ReplicaTable
from mesh.follower.writing import CursorMoved
from mesh.redaction import asked_for

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

log = structlog.get_logger("mesh.follower")

DISCOVERY_SECONDS = 1.0
LOOK_SECONDS = 0.1
# After an element is no part of the mesh any more its files are dropped from the table.
GONE_SECONDS = 30.0
STATUS_AGE_SECONDS = 5.0
# A snapshot that was asked for is given up after so many failures, the last of them so long after
# the first, or so long without progress.
MOST_FAILURES = 3
FAILING_SECONDS = 1.0
PATIENCE_SECONDS = 15.0


class FollowerFleet:
    """Keeps a follower for every element that discovery knows.

    Args:
        table: what the followers write.
        elements: id -> host:port of the elements known now.
        knows_all: whether these are all that there are, so that one that is missing is none any
            more, and what the table has of it can go.
        open_channel: makes a channel to an address. It must not ask for health: the feed
            needs PostgreSQL only, and goes on while the element's storage is down.
        metadata: gives the metadata of a call of an element (the server's own token for it).
        refused: told that an element does not take that token.
        reconcile_seconds: between whole snapshots of an element.
    """

    def __init__(
        self,
        *,
        table: ReplicaTable,
        elements: Callable[[], Mapping[str, str]],
        open_channel: Callable[[str], grpc.aio.Channel],
        metadata: ElementMetadata,
        refused: Callable[[str], None],
        knows_all: Callable[[], bool] = lambda: False,
        reconcile_seconds: float = 3600.0,
    ) -> None:
        self._knows_all = knows_all
        self.table = table
        self.progress = Progress(table)
        self._elements = elements
        self._metadata = metadata
        self._refused = refused
        self._reconcile_seconds = reconcile_seconds
        self._followers = EachElement(open_channel, self._follower, name="follow {}")
        self._gone_since: dict[str, float] = {}
        self._forgetting: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                elements = self._elements()
                for element_id, endpoint in elements.items():
                    await self._ensure(element_id, endpoint)
                for element_id in self._followers.running.keys() - elements.keys():
                    await self._leave(element_id)
                await self._forget_gone(elements)
                await asyncio.sleep(DISCOVERY_SECONDS)
        finally:
            await self._stop()

    def wake(self, element_id: str = "") -> None:
        """One element (or any) has news: its follower tries again if following broke off."""
        for name, follower in self._followers.running.items():
            if element_id in ("", name):
                follower.wake()

    async def complete(self, max_age_seconds: float = 0.0) -> bool:
        """Whether every element that was ever heard of was read whole."""
        statuses = await self.progress.statuses(max_age_seconds)
        complete = {status.element_id for status in statuses if status.complete}
        known = {status.element_id for status in statuses} | set(self._elements())
        return bool(known) and known <= complete

    def require_known(self, element_id: str, statuses: Sequence[SyncStatus]) -> set[str]:
        """All elements that were ever heard of.

        Raises:
            NotFound: `element_id` is none of them; empty is fine.
        """
        known = {status.element_id for status in statuses} | set(self._elements())
        if element_id and element_id not in known:
            raise NotFound(f"storage element {asked_for(element_id, ELEMENT_ID)} is not known")
        return known

    async def resync(self, element_id: str = "", *, seconds: float) -> dict[str, int]:
        """Read whole snapshots of one element or of all; the files read from each.

        Whichever process leads reads them, whatever the cursors say.

        Args:
            seconds: the caller waits no longer.

        Raises:
            NotFound: no such element is known.
            Unavailable: an element cannot be read, or not in time; it says which and why.
        """
        statuses = await self.progress.statuses()
        known = self.require_known(element_id, statuses)
        wanted = [element_id] if element_id else sorted(known)
        deadline = time.monotonic() + seconds
        counts = await asyncio.gather(*(self._resync(name, deadline) for name in wanted))
        return dict(zip(wanted, counts, strict=True))

    async def _resync(self, element_id: str, deadline: float) -> int:
        number = await self.table.want_snapshot(element_id)
        follower = self._followers.running.get(element_id)
        if follower is not None:
            follower.ask()
        first: SyncStatus | None = None
        last, moved_at = None, time.monotonic()
        failures, failing_since = 0, 0.0
        while True:
            status = await self._status(element_id)
            if status is not None:
                if status.done >= number:
                    return status.snapshot_files
                first = first or status
                sign = (status.snapshot_files, status.snapshot_alive_at)
                if sign != last:
                    last, moved_at = sign, time.monotonic()
                failed = False
                if status.failures - first.failures > failures:
                    failing_since = failing_since if failures else time.monotonic()
                    failures = status.failures - first.failures
                    lasting = time.monotonic() - failing_since >= FAILING_SECONDS
                    failed = lasting and failures >= MOST_FAILURES
                stuck = time.monotonic() - moved_at > PATIENCE_SECONDS
                if failed or stuck or time.monotonic() >= deadline:
                    reason = status.last_error or "its snapshot is not applied yet"
                    raise Unavailable(f"storage element {element_id}: {reason}")
            await asyncio.sleep(LOOK_SECONDS)

    async def _status(self, element_id: str) -> SyncStatus | None:
        for status in await self.progress.statuses(LOOK_SECONDS / 2):
            if status.element_id == element_id:
                return status
        return None

    async def _forget_gone(self, elements: Mapping[str, str]) -> None:
        """Begin to drop what the table has of elements that are no part of the mesh any more."""
        if not self._knows_all():
            return
        try:
            statuses = await self.progress.statuses(STATUS_AGE_SECONDS)
        except Unavailable:
            return
        gone = {status.element_id for status in statuses} - elements.keys()
        now = time.monotonic()
        self._gone_since = {name: self._gone_since.get(name, now) for name in gone}
        self._forgetting = {n: task for n, task in self._forgetting.items() if not task.done()}
        for element_id in gone - self._forgetting.keys():
            if now - self._gone_since[element_id] >= GONE_SECONDS:
                task = asyncio.create_task(self._forget(element_id), name=f"forget {element_id}")
                self._forgetting[element_id] = task

    async def _forget(self, element_id: str) -> None:
        try:
            count = await self.table.forget(element_id)
            log.info("files of a removed element dropped", element=element_id, files=count)
        except (CursorMoved, *FAILURES) as error:
            # Another process does it, or it is tried again.
            log.info("removed element not dropped", element=element_id, reason=str(error))

    async def _ensure(self, element_id: str, endpoint: str) -> None:
        if element_id in self._forgetting and not self._forgetting[element_id].done():
            return
        await self._followers.ensure(element_id, endpoint)

    def _follower(self, element_id: str, stub: StorageServiceAsyncStub) -> ElementFollower:
        return ElementFollower(
            element_id=element_id,
            stub=stub,
            metadata=partial(self._metadata, element_id),
            refused=partial(self._refused, element_id),
            table=self.table,
            reconcile_seconds=self._reconcile_seconds,
            on_cursor=self.progress.reached,
        )

    async def _leave(self, element_id: str) -> None:
        await self._followers.end(element_id)
        with suppress(Unavailable):
            # Else it expires by itself.
            await self.table.resign(element_id)

    async def _stop(self) -> None:
        await cancel_and_wait(*self._forgetting.values())
        for element_id in self._followers.running:
            await self._leave(element_id)
        await self.table.pending.stop()
