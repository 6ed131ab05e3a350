"""A storage element: what is opened, served, done in the background, and closed in which order."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

from artstore.v1.cache_pb2_grpc import add_CacheServiceServicer_to_server
from artstore.v1.server_pb2 import SERVER_KIND_STORAGE
from mesh.calls.admin_link import AdminLink, link_to_admin
from mesh.concurrency.background import Background
from mesh.operations.servicer import serve_operations
from mesh.redis import ping
from mesh.server.announced import partly
from mesh.server.health import HealthWatcher
from mesh.server.server import MeshServer
from storage_server.feed.hints import publish_hints
from storage_server.reporting.reports import Reports
from storage_server.rpc import transfers
from storage_server.rpc.storage import FORMS
from storage_server.settings import StorageSettings
from storage_server.upkeep import trimming
from storage_server.wiring.adapters import open_adapters, store_opener, wire_clock
from storage_server.wiring.element import WiredElement, wire_element, wire_reports, wire_servicers
from storage_server.wiring.peers import open_peers

STORAGE = "artstore.v1.StorageService"
CACHE = "artstore.v1.CacheService"
END_SECONDS = 15.0


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
        opened = stack.enter_async_context
        clock = wire_clock(settings, wall)
        background = await opened(Background())
        name = settings.element_id
        admin = await opened(link_to_admin(settings, background, now=clock.agreed, element_id=name))
        adapters = await opened(open_adapters(settings, clock, admin.policies))
        peers = await opened(open_peers(settings, adapters, admin))
        server = MeshServer(settings, admin.verifier, name=name, kind=SERVER_KIND_STORAGE)
        server.tell_refusals_to(admin.tell_refusals)
        wired = wire_element(
            settings,
            adapters,
            open_store=store_opener(settings),
            endpoint=lambda: server.endpoint if server.port else "",
            peers=peers,
            adopt=adopt,
        )
        stack.push_async_callback(_close, wired)
        health = _serve(server, wired, admin)
        await wired.upkeep.opening.advance()
        await wired.upkeep.clock_watch.look()
        await wired.description.look()
        _start(background, settings, wired, wire_reports(wired, admin), health)
        yield server


def _serve(server: MeshServer, wired: WiredElement, admin: AdminLink) -> HealthWatcher:
    files, steps, caches = wire_servicers(wired, admin.keys)
    element, cache = wired.adapters.element, wired.cache.operations
    database, redis = wired.adapters.catalog.database.ping, partial(ping, wired.adapters.redis)
    server.add(STORAGE, partly(STORAGE, FORMS), files)
    server.add(transfers.SERVICE, partly(transfers.SERVICE), steps)
    serve_operations(server, cache.operations, element_id=element.element_id)
    server.add(CACHE, add_CacheServiceServicer_to_server, caches)
    server.needs("postgresql", database)
    server.needs("redis", redis)
    server.needs("storage", element.is_serving)
    return HealthWatcher(server, [(STORAGE, element.is_serving), (CACHE, redis), (CACHE, database)])


def _start(
    background: Background,
    settings: StorageSettings,
    wired: WiredElement,
    reports: Reports,
    health: HealthWatcher,
) -> None:
    element, catalog, upkeep = wired.adapters.element, wired.adapters.catalog, wired.upkeep
    keep, wait = settings.feed_keep_changes, timedelta(days=settings.audit_wait_days)
    trim = partial(trimming.trim, element, catalog.feed, keep, audited=reports.audited, wait=wait)
    background.start("clock", upkeep.clock_watch.watch)
    background.start("opening", upkeep.opening.watch)
    background.start("storage", element.watch)
    background.start("write probe", upkeep.write_probe.watch)
    background.start("maintenance", upkeep.maintenance.watch)
    background.start("silent streams", upkeep.silence.watch)
    background.start("report to redis", reports.to_redis)
    background.start("report to admin", reports.to_admin)
    background.start("health", health.watch)
    background.every("trim the feed", trimming.INTERVAL_SECONDS, trim)
    hints = partial(publish_hints, wired.adapters.redis, catalog.bell, element.element_id)
    background.start("hints of changes", hints)


async def _close(wired: WiredElement) -> None:
    """End what is under way, and let go of the store."""
    await wired.cache.watch.stop()
    await wired.cache.operations.operations.stop()
    wired.upkeep.mode_change.stop()
    await wired.uploads.unbroken.wait(END_SECONDS)
    await wired.steps.keeping.let_go()
    await wired.uploads.keeping.stop()
    await wired.upkeep.opening.close()
