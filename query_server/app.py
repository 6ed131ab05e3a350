"""Wires the query server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from artstore.v1.query_pb2_grpc import add_QueryServiceServicer_to_server
from artstore.v1.server_pb2 import ServerKind
from mesh.calls.admin_link import link_to_admin
from mesh.calls.channels import open_mesh_channel
from mesh.concurrency.background import Background
from mesh.elements.discovery import ElementDirectory
from mesh.follower import FollowerFleet, ReplicaTable, process_name
from mesh.follower.database import ReplicaDatabase
from mesh.follower.hints import wake_on_hints
from mesh.operations import Operations
from mesh.operations.servicer import serve_operations
from mesh.postgres.database import create_database_if_missing
from mesh.postgres.migrations import upgrade
from mesh.redis import open_redis
from mesh.server.health import HealthWatcher
from mesh.server.server import MeshServer
from query_server.files.asking import Elements
from query_server.files.downloads import Downloads
from query_server.files.files import IndexedFiles
from query_server.following.recut import Recut
from query_server.following.sync import IndexSync
from query_server.following.tables import CURSORS, VERSION_TABLE, index_tables
from query_server.rpc.query import QueryServicer
from query_server.search import session
from query_server.search.index import SearchIndex
from query_server.search.table import TABLE
from query_server.settings import QuerySettings

SERVICE = "artstore.v1.QueryService"
MIGRATIONS = Path(__file__).parent / "migrations"
# Searches in flight at once.
SEARCH_CONNECTIONS = 12
# Apart from those, so that no burst of searches holds the followers up.
FOLLOWER_CONNECTIONS = 8
# A database that answers is prepared before the port opens; one that does not, behind it.
PREPARE_SECONDS = 10.0
MIGRATION_LOCK = 0x41525451  # "ARTQ"


@asynccontextmanager
async def build(settings: QuerySettings) -> AsyncIterator[MeshServer]:
    """Open what the server needs, and close it in the reverse order."""
    async with AsyncExitStack() as stack:
        # Closed last: a follower that ends gives its lead to the next one.
        followed = ReplicaDatabase(
            settings.index_url,
            max_size=FOLLOWER_CONNECTIONS,
            application_name="artstore query",
        )
        stack.push_async_callback(followed.close)
        searched = ReplicaDatabase(
            settings.index_url,
            max_size=SEARCH_CONNECTIONS,
            application_name="artstore query search",
            settings=session.SETTINGS,
        )
        stack.push_async_callback(searched.close)
        background = await stack.enter_async_context(Background())
        admin = await stack.enter_async_context(link_to_admin(settings, background))
        redis = open_redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        directory = ElementDirectory(redis=redis, admin=admin.channel, account=admin.account)

        async def metadata() -> Sequence[tuple[str, str]]:
            return admin.account.metadata()

        fleet = FollowerFleet(
            table=ReplicaTable(followed, table=TABLE, prefix=CURSORS, leader=process_name()),
            elements=directory.endpoints,
            knows_all=lambda: directory.knows_all,
            open_channel=lambda endpoint: open_mesh_channel(
                endpoint, settings, health_service=None
            ),
            metadata=metadata,
            refused=admin.account.refused,
            reconcile_seconds=settings.reconcile_seconds,
        )
        operations = Operations()
        stack.push_async_callback(operations.stop)
        recut = Recut(followed, operations)
        downloads = Downloads(settings)
        stack.push_async_callback(downloads.close)

        async def make_tables() -> None:
            await create_database_if_missing(settings.database_url, settings.index_name)
            await upgrade(
                settings.index_url,
                script_location=MIGRATIONS,
                version_table=VERSION_TABLE,
                lock_key=MIGRATION_LOCK,
            )
            await session.check_letters(followed)
            await recut.look()

        tables = index_tables(followed, make_tables, lock_key=MIGRATION_LOCK)

        async def follow() -> None:
            await tables.ready.wait()
            await fleet.run()

        async def cut_anew() -> None:
            await tables.ready.wait()
            await recut.run()

        server = MeshServer(
            settings, admin.verifier, name="query", kind=ServerKind.SERVER_KIND_QUERY
        )
        serve_operations(server, operations)
        server.needs("postgresql", followed.ping)
        server.add(
            SERVICE,
            add_QueryServiceServicer_to_server,
            QueryServicer(
                index=SearchIndex(searched, lambda: recut.layout),
                files=IndexedFiles(searched),
                sync=IndexSync(followed, fleet),
                downloads=downloads,
                elements=Elements(downloads.channel, directory),
                directory=directory,
                account=admin.account,
                operations=operations,
            ),
        )
        await tables.first(PREPARE_SECONDS)
        health = HealthWatcher(server, [(SERVICE, followed.ping)])
        background.start("storage elements", directory.watch)
        background.start("index follower", follow)
        background.start("index tables", tables.watch)
        background.start("index words", cut_anew)
        background.start("change hints", lambda: wake_on_hints(settings.redis_url, fleet))
        background.start("health", health.watch)
        yield server
