"""Wires ingest from its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from artstore.v1.server_pb2 import ServerKind
from ingest_server.finalization.finalizations import Finalizations
from ingest_server.metrics import fresh_elements
from ingest_server.placement.suspects import Suspects
from ingest_server.rpc.ingest import FORMS, SERVICE, IngestServicer
from ingest_server.settings import IngestSettings
from ingest_server.uploads.element_calls import ElementConnections
from ingest_server.uploads.pins import Pins
from ingest_server.uploads.placing import Placement
from ingest_server.uploads.resumable import ResumableUploads
from ingest_server.uploads.streamed import Limits, StreamedUploads
from ingest_server.uploads.whereabouts import Whereabouts
from mesh.calls.admin_link import AdminLink, link_to_admin
from mesh.calls.channels import open_mesh_channel
from mesh.concurrency.background import Background
from mesh.elements.view import follow_elements
from mesh.redis import open_redis, ping
from mesh.server.announced import partly
from mesh.server.health import HealthWatcher
from mesh.server.server import MeshServer

# Waited for in the course of an upload, so short; the view of the elements is read beside it.
PIN_TIMEOUT_SECONDS = 0.25
# The probe looks at memory only, so health can follow closely; what is there goes by its age.
HEALTH_INTERVAL_SECONDS = 1.0
DOWN_INTERVAL_SECONDS = 0.25
# Before the port opens, so that the first calls find keys and a token; admin may be away.
ADMIN_FIRST_SECONDS = 2.0


@asynccontextmanager
async def build(settings: IngestSettings) -> AsyncIterator[MeshServer]:
    """Yield the server, not yet started; close what it opened afterwards."""
    async with AsyncExitStack() as stack:
        background = await stack.enter_async_context(Background())
        link = await stack.enter_async_context(link_to_admin(settings, background))
        redis = open_redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        pins_redis = open_redis(settings.redis_url, timeout_seconds=PIN_TIMEOUT_SECONDS)
        stack.push_async_callback(pins_redis.aclose)
        connections = ElementConnections(partial(open_mesh_channel, settings=settings))
        stack.push_async_callback(connections.close)

        elements = follow_elements(redis, link, background)
        fresh_elements.set_function(elements.count_fresh)
        pins = Pins(pins_redis)
        placement = Placement(elements, pins, Suspects())
        limits = Limits(
            accept=settings.ingest_accept_seconds,
            stall=settings.ingest_stall_seconds,
            idle=settings.ingest_idle_seconds,
        )
        servicer = IngestServicer(
            StreamedUploads(
                placement,
                connections,
                link.element_tokens,
                background,
                limits,
                whereabouts=Whereabouts(elements, connections, link.element_tokens),
            ),
            ResumableUploads(placement, elements, connections, link.element_tokens, limits),
            Finalizations(link.channel, link.account),
        )
        server = MeshServer(
            settings, link.verifier, name="ingest", kind=ServerKind.SERVER_KIND_INGEST
        )
        server.tell_refusals_to(link.tell_refusals)
        server.needs("redis", partial(ping, redis))
        server.add(SERVICE, partly(SERVICE, FORMS), servicer)

        async def has_elements() -> bool:
            return elements.count_fresh() > 0

        server.needs("elements", has_elements)

        async def can_place() -> bool:
            return elements.count_fresh() > 0 and link.account.valid

        watcher = HealthWatcher(
            server, [(SERVICE, can_place)], HEALTH_INTERVAL_SECONDS, DOWN_INTERVAL_SECONDS
        )
        background.start("health", watcher.watch)
        await _wait_for_admin(link)
        yield server
        await background.stop()


async def _wait_for_admin(link: AdminLink) -> None:
    """Wait until admin has given its keys and a token, not for long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ADMIN_FIRST_SECONDS):
            while not (len(link.keys) and link.account.valid):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)
