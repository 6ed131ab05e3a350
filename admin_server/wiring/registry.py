"""Where each file is, as all elements say, and what admin has them do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from admin_server.clock import Clock
from admin_server.elements.registered import RegisteredElements
from admin_server.elements.table import ElementTable
from admin_server.policies.usage import Usage
from admin_server.prepared_database import TIMEOUT_SECONDS, PreparedDatabase
from admin_server.registry.following import OwnToken, registry_fleet, unread_elements
from admin_server.registry.holds import Holds
from admin_server.registry.indexes import keep_indexes
from admin_server.registry.registry import FileRegistry
from admin_server.registry.tables import registry_tables
from admin_server.settings import AdminSettings
from mesh.calls.channels import KeptChannels
from mesh.concurrency.background import Background
from mesh.follower import FollowerFleet
from mesh.follower.hints import wake_on_hints
from mesh.follower.tables import RebuildableTables
from mesh.identity.tokens import KeySet
from mesh.postgres.database import Database
from mesh.postgres.failures import EVERYTHING

# Followers and readers of the registry; accounts and elements have a pool of their own.
REGISTRY_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Registry:
    """One of each per process.

    Attributes:
        database, channels: closed at the end.
        tables: made, and made anew when they are gone.
        fleet: follows the elements into them.
        files: answers from them.
        holds: set and lifted on the elements.
        usage: what the files of a namespace take.
    """

    database: Database
    channels: KeptChannels
    tables: RebuildableTables
    fleet: FollowerFleet
    files: FileRegistry
    holds: Holds
    usage: Usage


def wire_elements(database: Database, keys: KeySet, *, now: Clock) -> RegisteredElements:
    """The elements, as they register and report."""
    kept = keys.kids

    def is_lost() -> bool:
        """The database has none of the keys that an earlier run left on disk."""
        return bool(kept) and kept.isdisjoint(keys.kids)

    return RegisteredElements(ElementTable(database), now=now, is_lost=is_lost)


def wire_registry(
    settings: AdminSettings, elements: RegisteredElements, token: OwnToken
) -> Registry:
    """Nothing is asked yet."""
    database = Database(
        settings.admin_database_url,
        max_size=REGISTRY_CONNECTIONS,
        timeout_seconds=TIMEOUT_SECONDS,
        application_name="artstore-admin registry",
        droppable=[EVERYTHING],
    )
    channels = KeptChannels(settings)
    fleet = registry_fleet(settings, database, elements, token)
    files = FileRegistry(database, unread=partial(unread_elements, fleet, elements))
    return Registry(
        database=database,
        channels=channels,
        tables=registry_tables(database),
        fleet=fleet,
        files=files,
        holds=Holds(files, elements, channel=channels.to, metadata=token.metadata),
        usage=Usage(database),
    )


def start_following(
    background: Background, registry: Registry, database: PreparedDatabase, *, redis_url: str
) -> None:
    """Keep the tables, follow the elements into them, and wake up when one has news."""
    background.start("registry tables", partial(_keep_tables, registry, database))
    background.start("file registry", partial(_follow, registry))
    if redis_url:
        background.start("change hints", partial(wake_on_hints, redis_url, registry.fleet))


async def _keep_tables(registry: Registry, database: PreparedDatabase) -> None:
    """Make the registry's tables, and make them anew, once admin's database is there."""
    await database.prepared.wait()
    await asyncio.gather(registry.tables.watch(), _make_indexes(registry))


async def _make_indexes(registry: Registry) -> None:
    await registry.tables.ready.wait()
    await keep_indexes(registry.database)


async def _follow(registry: Registry) -> None:
    """Follow the elements, once the tables are there."""
    await registry.tables.ready.wait()
    await registry.fleet.run()
