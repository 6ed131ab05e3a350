"""The query server: what is opened, served, done in the background, and closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from artstore.v1.query_pb2_grpc import add_QueryServiceServicer_to_server
from artstore.v1.server_pb2 import ServerKind
from mesh.calls.admin_link import link_to_admin
from mesh.calls.channels import KeptChannels
from mesh.concurrency.background import Background
from mesh.elements.view import follow_elements
from mesh.follower.hints import wake_on_hints
from mesh.operations import Operations
from mesh.operations.servicer import serve_operations
from mesh.redis import open_redis
from mesh.server.health import HealthWatcher
from mesh.server.server import MeshServer
from query_server.databases import followed_database, searched_database
from query_server.files.asking import Elements
from query_server.files.downloads import Downloads
from query_server.files.files import IndexedFiles
from query_server.files.originals import Originals
from query_server.following.fleet import index_fleet
from query_server.following.heads import ElementHeads
from query_server.following.recut import Recut
from query_server.following.sync import IndexSync
from query_server.following.tables import index_tables
from query_server.rpc.query import QueryServicer
from query_server.search.index import SearchIndex
from query_server.settings import QuerySettings

SERVICE = "artstore.v1.QueryService"
# A database that answers is prepared before the port opens; one that does not, behind it.
PREPARE_SECONDS = 10.0


@asynccontextmanager
async def build(settings: QuerySettings) -> AsyncIterator[MeshServer]:
    """Open what the server needs, and close it in the reverse order."""
    async with AsyncExitStack() as stack:
        # Closed last: a follower that ends gives its lead to the next one.
        followed = followed_database(settings.index_url)
        stack.push_async_callback(followed.close)
        background = await stack.enter_async_context(Background())
        admin = await stack.enter_async_context(link_to_admin(settings, background))
        redis = open_redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        elements = follow_elements(redis, admin, background)
        fleet = index_fleet(settings, followed, elements, admin.element_tokens)
        operations = Operations()
        stack.push_async_callback(operations.stop)
        recut = Recut(followed, operations)
        channels = KeptChannels(settings)
        stack.push_async_callback(channels.close)
        tables = index_tables(followed, settings, on_made=recut.look)
        searched = searched_database(settings.index_url, tables.ready)
        stack.push_async_callback(searched.close)

        async def answers() -> None:
            await followed.ping()
            searched.require_ready()

        async def follow() -> None:
            await tables.ready.wait()
            await fleet.run()

        async def cut_anew() -> None:
            await tables.ready.wait()
            await recut.run()

        server = MeshServer(
            settings, admin.verifier, name="query", kind=ServerKind.SERVER_KIND_QUERY
        )
        server.tell_refusals_to(admin.tell_refusals)
        serve_operations(server, operations)
        server.needs("postgresql", followed.ping)
        server.add(
            SERVICE,
            add_QueryServiceServicer_to_server,
            QueryServicer(
                index=SearchIndex(searched, lambda: recut.layout),
                files=IndexedFiles(searched),
                originals=Originals(
                    Elements(channels.to, elements),
                    Downloads(channels),
                    elements,
                    admin.element_tokens,
                ),
                sync=IndexSync(
                    followed,
                    fleet,
                    ElementHeads(channels.to, elements, admin.element_tokens.metadata),
                ),
                operations=operations,
            ),
        )
        await tables.first(PREPARE_SECONDS)
        await server.set_serving(SERVICE, tables.ready.is_set())
        health = HealthWatcher(server, [(SERVICE, answers)])
        background.start("index follower", follow)
        background.start("index tables", tables.watch)
        background.start("index words", cut_anew)
        background.start("change hints", lambda: wake_on_hints(settings.redis_url, fleet))
        background.start("health", health.watch)
        yield server
