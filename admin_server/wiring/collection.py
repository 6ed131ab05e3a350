"""What takes away what nobody needs any more, and when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from admin_server.clock import Clock
from admin_server.collection.candidates import Candidates
from admin_server.collection.collector import Asking, Collector
from admin_server.collection.leftovers import Leftovers
from admin_server.collection.runs import CollectionRuns
from admin_server.collection.schedule import Schedule
from admin_server.collection.table import CollectionTable
from admin_server.elements.registered import RegisteredElements
from admin_server.life.settling import keeps
from admin_server.prepared_database import PreparedDatabase
from admin_server.registry.following import OwnToken
from admin_server.rpc.collections import CollectionCalls
from admin_server.settings import AdminSettings
from admin_server.wiring.life import Life
from admin_server.wiring.registry import Registry
from mesh.concurrency.background import Background
from mesh.operations import Operations


@dataclass(frozen=True, slots=True)
class CollectionOf:
    """One of each per process.

    Attributes:
        calls: the part of LifecycleService that collects.
        schedule: the run that comes by itself.
        operations: of this server; stopped at its end.
    """

    calls: CollectionCalls
    schedule: Schedule
    operations: Operations

    def start(self, background: Background, database: PreparedDatabase) -> None:
        """What goes on by itself, once admin's database is there."""

        async def watch() -> None:
            await database.prepared.wait()
            await self.schedule.watch()

        background.start("collection", watch)


def wire_collection(
    settings: AdminSettings,
    database: PreparedDatabase,
    elements: RegisteredElements,
    registry: Registry,
    life: Life,
    *,
    token: OwnToken,
    now: Clock,
) -> CollectionOf:
    """Nothing is asked yet."""
    settling, operations = life.settling, life.erasing.operations
    unread = partial(registry.files.unread, silent=False)
    collector = Collector(
        Candidates(registry.database),
        Asking(settling.look, settling.take, partial(settling.settle, wanted=keeps)),
        Leftovers(elements, channel=registry.channels.to, metadata=token.metadata, now=now),
        unread=unread,
        terms=settling.terms,
        now=now,
        per_second=settings.collection_files_per_second,
    )
    runs = CollectionRuns(
        collector, CollectionTable(database), operations, database=database, now=now
    )
    schedule = Schedule(runs, unread=unread, seconds=settings.collection_seconds, now=now)
    return CollectionOf(CollectionCalls(runs), schedule, operations)
