"""Wires a storage element."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

from redis.asyncio import Redis

from artstore.v1.cache_pb2_grpc import add_CacheServiceServicer_to_server
from artstore.v1.server_pb2 import ServerKind
from artstore.v1.storage_pb2_grpc import add_StorageServiceServicer_to_server
from mesh.calls.admin_link import link_to_admin
from mesh.concurrency.background import Background
from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.concurrency.unbroken import Unbroken
from mesh.errors import FailedPrecondition, Unavailable
from mesh.operations import Operations
from mesh.operations.servicer import serve_operations
from mesh.postgres.database import Database
from mesh.redis import open_redis, ping
from mesh.server.announced import partly
from mesh.server.health import HealthWatcher
from mesh.server.server import MeshServer
from storage_server.cache.check import Check
from storage_server.cache.cleanup import Cleanup
from storage_server.cache.operations import CacheOperations
from storage_server.cache.rebuild import Rebuild
from storage_server.cache.restoring import NameRestoring
from storage_server.cache.scrub import Scrub
from storage_server.catalog.catalog import Catalog
from storage_server.element.clock import Clock
from storage_server.element.clock_watch import ClockWatch
from storage_server.element.live_store import live_store
from storage_server.element.mode_change import ModeChange
from storage_server.element.opening import Opening
from storage_server.element.session_lock import SessionWriterLock
from storage_server.element.space import Space
from storage_server.element.state import Element
from storage_server.element.write_probe import WriteProbe
from storage_server.element.writer import FolderWriterLock, WriterLock
from storage_server.feed import ChangeWatch
from storage_server.feed.hints import publish_hints
from storage_server.files.changes import Changes
from storage_server.files.download import Downloads
from storage_server.files.lookup import Lookup
from storage_server.files.refresh import Refresh
from storage_server.locks import ElementLocks, LazyLocks
from storage_server.reporting.description import Description
from storage_server.reporting.reports import Reports
from storage_server.rpc.cache import CacheServicer
from storage_server.rpc.feed import FeedStreams
from storage_server.rpc.storage import StorageServicer
from storage_server.rpc.transfers import SERVICE as TRANSFERS
from storage_server.rpc.transfers import TransferServicer
from storage_server.settings import StorageSettings
from storage_server.store.open import StoreConfig, open_store
from storage_server.upkeep.maintenance import Maintenance
from storage_server.upkeep.purge import Purge
from storage_server.upkeep.sweep import Sweeper
from storage_server.upkeep.trash import Trash
from storage_server.upkeep.trimming import INTERVAL_SECONDS as TRIM_SECONDS
from storage_server.upkeep.trimming import trim
from storage_server.uploads.commit import Commit
from storage_server.uploads.intake import Intake
from storage_server.uploads.session import SessionParts
from storage_server.uploads.sessions import Sessions
from storage_server.uploads.streaming import UploadParts
from storage_server.writing.recording import Recording
from storage_server.writing.replay import Replay

STORAGE = "artstore.v1.StorageService"
CACHE = "artstore.v1.CacheService"
END_SECONDS = 15.0
# PostgreSQL's share of the threads of a full server: uploads, reads and their housekeeping.
DATABASE_CONNECTIONS = 12
# A follower's snapshot waits so long for another operation on the cache.
REPAIR_WAIT_SECONDS = 30.0


@asynccontextmanager
async def build(
    settings: StorageSettings, *, adopt: bool = False, wall: Callable[[], float] = time.time
) -> AsyncIterator[MeshServer]:
    """Open what the element needs, and close it in the reverse order.

    It starts while PostgreSQL, Redis, admin or the storage are down, and comes up by itself.

    Args:
        adopt: the store is this element's, whatever its `element.json` says or lacks.
        wall: this machine's clock, seconds since 1970.
    """
    async with AsyncExitStack() as stack:
        background = await stack.enter_async_context(Background())
        clock = Clock(
            settings.element_id, tolerance_seconds=settings.clock_tolerance_seconds, wall=wall
        )
        admin = await stack.enter_async_context(
            link_to_admin(settings, background, now=clock.agreed)
        )
        redis = open_redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        database = Database(
            settings.database_url,
            max_size=DATABASE_CONNECTIONS,
            application_name=f"artstore {settings.element_id}",
            droppable=[*settings.tables.all(), settings.tables.fence_sequence],
            # A scan of all rows must leave a processor to those who read single ones.
            settings={"max_parallel_workers_per_gather": "0"},
        )
        stack.push_async_callback(database.close)
        server = MeshServer(
            settings,
            admin.verifier,
            name=settings.element_id,
            kind=ServerKind.SERVER_KIND_STORAGE,
        )
        parts = _Parts(
            settings,
            database,
            redis,
            clock,
            endpoint=lambda: server.endpoint if server.port else "",
            adopt=adopt,
        )
        stack.push_async_callback(parts.close)
        # Before that: what keeps the element up would open the store that was closed again.
        stack.push_async_callback(background.stop)
        reports = Reports(
            parts.element,
            parts.description,
            redis=redis,
            admin=admin.channel,
            account=admin.account,
        )
        server.add(STORAGE, add_StorageServiceServicer_to_server, parts.servicer())
        server.add(TRANSFERS, partly(TRANSFERS), parts.transfers())
        serve_operations(server, parts.cache.operations, element_id=settings.element_id)
        server.needs("postgresql", database.ping)
        server.needs("redis", lambda: ping(redis))
        server.needs("storage", parts.element.is_serving)
        server.add(CACHE, add_CacheServiceServicer_to_server, CacheServicer(parts.cache))
        health = HealthWatcher(
            server,
            [
                (STORAGE, parts.element.is_serving),
                (CACHE, lambda: ping(redis)),
                (CACHE, database.ping),
            ],
        )
        await parts.opening.advance()
        await parts.clock_watch.look()
        await parts.description.look()
        background.start("clock", parts.clock_watch.watch)
        background.start("opening", parts.opening.watch)
        background.start("storage", parts.element.watch)
        background.start("write probe", parts.write_probe.watch)
        background.start("maintenance", parts.maintenance.watch)
        background.start("silent streams", parts.maintenance.watch_streams)
        background.start("report to redis", reports.to_redis)
        background.start("report to admin", reports.to_admin)
        background.start("health", health.watch)
        parts.keep_feed(background, redis, settings.feed_keep_changes)
        yield server


class _Parts:
    """The element's parts, each built once."""

    def __init__(
        self,
        settings: StorageSettings,
        database: Database,
        redis: Redis,
        clock: Clock,
        *,
        endpoint: Callable[[], str],
        adopt: bool,
    ) -> None:
        self.clock = clock
        self.unbroken = Unbroken()
        self.element = Element(settings.element_id, settings.mode)
        self.catalog = Catalog(database, settings.tables)
        self.space = Space(self.element, settings.capacity_bytes)
        self.description = Description(
            self.element,
            self.space,
            self.catalog.feed,
            clock,
            endpoint=endpoint,
            priority=settings.priority,
        )
        writer = _writer_lock(settings, self.catalog)
        self.locks = ElementLocks(
            redis=redis,
            fences=self.catalog.fences,
            element_id=settings.element_id,
            holder=f"{socket.gethostname()}:{os.getpid()}",
            ttl_seconds=settings.lock_seconds,
        )
        self.clock_watch = ClockWatch(
            clock, self.element, self.catalog.reads, database=database, redis=redis
        )
        self._wire_files(settings, writer)
        self._wire_uploads(settings)
        self._wire_cache(settings, redis, writer)
        self.write_probe = WriteProbe(
            self.element,
            interval_seconds=settings.write_probe_seconds,
            on_recovered=self.maintenance.started,
        )
        self.opening = Opening(
            self.element,
            open_store=partial(open_store, _store_config(settings)),
            writer=writer,
            catalog=self.catalog,
            first_mode=settings.mode,
            adopt=adopt,
            on_writing=self._on_writing,
            on_lost=self._on_lost,
        )

    def _wire_files(self, settings: StorageSettings, writer: WriterLock) -> None:
        element, catalog = self.element, self.catalog
        self.file_locks = KeyedLocks()
        self.recording = Recording(element, catalog, writer, ttl_hours=settings.ttl_hours)
        refresh = Refresh(element, catalog, self.recording, self.file_locks, LazyLocks(self.locks))
        self.lookup = Lookup(element, catalog.reads, refresh)
        self.changes = Changes(
            element,
            catalog,
            self.recording,
            self.file_locks,
            self.unbroken,
            keep_trash=settings.trash_days > 0,
        )
        self.trash = Trash(
            element, catalog, self.file_locks, keep=timedelta(days=settings.trash_days)
        )
        self.purge = Purge(
            element,
            catalog,
            self.file_locks,
            writer,
            self.locks,
            keep=timedelta(days=settings.tombstone_days),
        )

    def _wire_uploads(self, settings: StorageSettings) -> None:
        element, catalog, space = self.element, self.catalog, self.space
        commit = Commit(element, self.recording, self.file_locks)
        self.replay = Replay(element, catalog, self.recording, self.file_locks)
        self.sessions = Sessions(
            SessionParts(element, space, commit, catalog.uploads, self.unbroken),
            catalog.reads,
            self.replay,
            find=self.lookup.find,
            idle_for=timedelta(days=settings.upload_idle_days),
        )
        self.intake = Intake(
            UploadParts(element, space, commit, self.unbroken),
            catalog,
            self.sessions,
            self.replay,
            self.lookup.find,
            clock=self.clock,
        )
        self.maintenance = Maintenance(
            element,
            self.replay,
            self.sessions,
            self.intake,
            Sweeper(element, catalog, self.file_locks, running=lambda: self.intake.running),
            self.trash,
            self.purge,
            self.clock,
            stream_idle_seconds=settings.stream_idle_seconds,
        )
        self.mode_change = ModeChange(
            element,
            catalog.writes,
            ttl_hours=settings.ttl_hours,
            abort_uploads=self._abort_uploads,
            unbroken=self.unbroken,
        )

    def _wire_cache(self, settings: StorageSettings, redis: Redis, writer: WriterLock) -> None:
        element, catalog, store = self.element, self.catalog, live_store(self.element)
        scrub = Scrub(
            store=store, catalog=catalog, bytes_per_second=settings.scrub_bytes_per_second
        )
        self.cache = CacheOperations(
            element_id=element.element_id,
            locks=self.locks,
            check=Check(
                store=store,
                catalog=catalog,
                proof=element,
                element_id=element.element_id,
                scrub=scrub,
            ),
            rebuild=Rebuild(
                store=store,
                catalog=catalog,
                proof=element,
                cache_ttl_hours=lambda: settings.ttl_hours(element.mode),
                names=NameRestoring(
                    store=store,
                    catalog=catalog,
                    file_locks=self.file_locks,
                    writer=writer,
                ),
            ),
            cleanup=Cleanup(store, catalog, element),
            operations=Operations(),
            writer=element,
        )
        self.watch = ChangeWatch(
            catalog,
            make_complete=lambda: self.cache.complete(wait_seconds=REPAIR_WAIT_SECONDS),
        )

    def servicer(self) -> StorageServicer:
        """The servicer over these parts."""
        return StorageServicer(
            element=self.element,
            description=self.description,
            mode_change=self.mode_change,
            lookup=self.lookup,
            changes=self.changes,
            downloads=Downloads(self.element, self.lookup),
            intake=self.intake,
            sessions=self.sessions,
            feed=FeedStreams(self.element, self.watch),
            unbroken=self.unbroken,
        )

    def transfers(self) -> TransferServicer:
        """The steps that admin may tell the element to take."""
        return TransferServicer(self.element, self.changes)

    def keep_feed(self, background: Background, redis: Redis, keep: int) -> None:
        """Trim the feed now and then, and tell the mesh when it moves."""
        feed, element = self.catalog.feed, self.element
        background.every("trim the feed", TRIM_SECONDS, lambda: trim(element, feed, keep))
        background.start(
            "hints of changes",
            lambda: publish_hints(redis, self.catalog.bell, element.element_id),
        )

    async def close(self) -> None:
        """End what is under way and let go of the store."""
        await self.watch.stop()
        await self.cache.operations.stop()
        self.mode_change.stop()
        await self.unbroken.wait(END_SECONDS)
        await self.sessions.stop()
        await self.opening.close()

    async def _on_writing(self) -> None:
        await self.write_probe.prove()
        self.space.clear()
        await self.sessions.forget()
        await self.sessions.load()
        self.mode_change.resume()
        self.maintenance.started()

    async def _on_lost(self) -> None:
        error = Unavailable("this process is not the writer any more", reason="NOT_WRITER")
        await self.intake.interrupt_all(error)
        await self.sessions.forget()

    async def _abort_uploads(self) -> None:
        await self.intake.interrupt_all(_mode_left())
        await self.sessions.abort_all()


def _mode_left() -> FailedPrecondition:
    return FailedPrecondition(
        "the element left its writing mode, and open uploads had their time", reason="MODE"
    )


def _writer_lock(settings: StorageSettings, catalog: Catalog) -> WriterLock:
    if settings.s3_endpoint_url:
        return SessionWriterLock(catalog.database, catalog.tables)
    return FolderWriterLock()


def _store_config(settings: StorageSettings) -> StoreConfig:
    return StoreConfig(
        root=settings.data_dir / settings.folder,
        endpoint_url=settings.s3_endpoint_url,
        bucket=settings.s3_bucket,
        prefix=settings.folder,
        max_connections=settings.s3_max_connections,
        patient_seconds=settings.store_patient_seconds,
    )
