"""What the element reaches the outside by: its store, PostgreSQL, Valkey and the clocks."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from redis.asyncio import Redis

from mesh.identity.policies import Policies
from mesh.postgres.database import Database
from mesh.redis import open_redis
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.fences import Fences
from storage_server.element.clock import Clock
from storage_server.element.session_lock import SessionWriterLock
from storage_server.element.state import Element
from storage_server.element.writer import FolderWriterLock, WriterLock
from storage_server.locks import ElementLocks
from storage_server.settings import StorageSettings
from storage_server.store.open import StoreConfig, open_store
from storage_server.store.port import Store

# PostgreSQL's share of the threads of a full server: uploads, reads and their housekeeping.
DATABASE_CONNECTIONS = 12

StoreOpener = Callable[[], Awaitable[Store]]


@dataclass(frozen=True, slots=True)
class Adapters:
    """One of each per process.

    Attributes:
        element: its store, once that is open, and what may be done with it now.
        catalog: its tables.
        redis: Valkey.
        locks: priority locks, kept in Valkey.
        writer: decides which process writes.
        clock: this machine's, and what others say of it.
        policies: of the namespaces, as admin tells them.
    """

    element: Element
    catalog: Catalog
    redis: Redis
    locks: ElementLocks
    writer: WriterLock
    clock: Clock
    policies: Policies = field(default_factory=Policies)


@asynccontextmanager
async def open_adapters(
    settings: StorageSettings, clock: Clock, policies: Policies
) -> AsyncIterator[Adapters]:
    """Nothing is asked before the first call. PostgreSQL is let go of first, then Valkey."""
    redis, database = open_redis(settings.redis_url), _database(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        stack.push_async_callback(database.close)
        catalog = Catalog(database, settings.tables)
        yield Adapters(
            element=Element(settings.element_id, settings.mode),
            catalog=catalog,
            redis=redis,
            locks=wire_locks(
                settings, redis, catalog.fences, holder=f"{socket.gethostname()}:{os.getpid()}"
            ),
            writer=_writer_lock(settings, catalog),
            clock=clock,
            policies=policies,
        )


def wire_locks(
    settings: StorageSettings, redis: Redis, fences: Fences, *, holder: str
) -> ElementLocks:
    """The element's locks as one process takes them.

    Args:
        holder: names the process to whoever meets its locks: host:pid.
    """
    return ElementLocks(
        redis=redis,
        fences=fences,
        element_id=settings.element_id,
        holder=holder,
        ttl_seconds=settings.lock_seconds,
    )


def wire_clock(settings: StorageSettings, wall: Callable[[], float]) -> Clock:
    """The element's clock; `wall` is this machine's, seconds since 1970."""
    return Clock(settings.element_id, tolerance_seconds=settings.clock_tolerance_seconds, wall=wall)


def store_opener(settings: StorageSettings) -> StoreOpener:
    """Opens the store that the settings name."""
    return partial(
        open_store,
        StoreConfig(
            root=settings.data_dir / settings.folder,
            endpoint_url=settings.s3_endpoint_url,
            bucket=settings.s3_bucket,
            prefix=settings.folder,
            max_connections=settings.s3_max_connections,
            patient_seconds=settings.store_patient_seconds,
        ),
    )


def _writer_lock(settings: StorageSettings, catalog: Catalog) -> WriterLock:
    if settings.s3_endpoint_url:
        return SessionWriterLock(catalog.database, catalog.tables)
    return FolderWriterLock()


def _database(settings: StorageSettings) -> Database:
    return Database(
        settings.database_url,
        max_size=DATABASE_CONNECTIONS,
        application_name=f"artstore {settings.element_id}",
        droppable=[*settings.tables.all(), settings.tables.fence_sequence],
        # A scan of all rows must leave a processor to those who read single ones.
        settings={"max_parallel_workers_per_gather": "0"},
    )
