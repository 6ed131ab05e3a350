"""Admin, elements and query in this process, all real, on one PostgreSQL and one Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc

from artstore.v1 import ingest_pb2_grpc, query_pb2, query_pb2_grpc
from ingest_server.app import build as build_ingest
from ingest_server.settings import IngestSettings
from mesh.follower.rows import CONTENT
from mesh.server.server import MeshServer
from query_server.app import build as build_query
from query_server.settings import QuerySettings
from tests.support import templates
from tests.support.running_admin import ADMIN, SECRET, RunningAdmin, running_admin
from tests.support.storage_rig import Node, Rig
from tests.support.waiting import until, until_answered

ACCOUNTS = [
    ADMIN,
    *(
        {"client_id": name, "client_secret": SECRET, "role": "SERVICE", "namespaces": ["*"]}
        for name in (
            "storage-se-01",
            "storage-se-02",
            "storage-se-03",
            "query-server",
            "ingest-server",
        )
    ),
    {"client_id": "reader", "client_secret": SECRET, "role": "READONLY"},
]


class IssuedToken:
    """Stands for a signer: gives the token that admin issued, whatever is asked for."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self, **_: Any) -> str:
        return self._token


@dataclass
class Part:
    """A server of the mesh that a test may stop and start again."""

    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    server: MeshServer | None = None

    async def stop(self) -> None:
        stack, self.stack = self.stack, AsyncExitStack()
        await stack.aclose()


class SmallMesh:
    """`elements[id]` are running nodes; `search` and friends go to query as ADMIN."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.redis_url = redis_url
        self.query_url = f"{database_url}_query"
        self.admin_url = f"{database_url}_admin"
        self.elements: dict[str, Node] = {}
        self.rigs: dict[str, Rig] = {}
        self.query: Any = None
        self.query_address = ""
        self.ingest: Any = None
        self.admin: RunningAdmin
        self.token = ""
        self.settings: dict[str, Any] = {}
        self._parts: dict[str, Part] = {}

    # --- starting and stopping -----------------------------------------------------------

    async def start_admin(self, **settings: Any) -> None:
        part = self._parts["admin"] = Part()
        self.admin = await part.stack.enter_async_context(
            running_admin(
                self.database_url,
                self.folder,
                accounts=ACCOUNTS,
                redis_url=self.redis_url,
                **settings,
            )
        )
        # Its database may still be on its way when its port is open.
        await until_answered(self._logged_in, 30, "admin's database is ready")

    async def _logged_in(self) -> bool:
        self.token = await self.admin.issue("admin")
        return True

    async def start_element(self, element_id: str, **settings: Any) -> Node:
        if element_id not in self.rigs:
            rig = Rig(
                self.folder,
                database_url=self.database_url,
                redis_url=self.redis_url,
                element_id=element_id,
                client_id=f"storage-{element_id}",
                client_secret=SECRET,
                **self.settings,
            )
            self.rigs[element_id] = rig
        rig = self.rigs[element_id]
        rig.values["admin_endpoint"] = f"localhost:{self.admin.server.port}"
        rig.values["keys_path"] = self.folder / element_id / "jwks.json"
        rig.signer = IssuedToken(self.token)  # type: ignore[assignment]
        part = self._parts[element_id] = Part()
        node = await part.stack.enter_async_context(rig.running(**settings))
        self.elements[element_id] = node
        return node

    async def start_query(self, **settings: Any) -> None:
        values: dict[str, Any] = {
            "host": "localhost",
            "port": 0,
            "metrics_port": 0,
            "database_url": self.database_url,
            "redis_url": self.redis_url,
            "data_dir": self.folder,
            "keys_path": self.folder / "query-keys" / "jwks.json",
            "admin_endpoint": f"localhost:{self.admin.server.port}",
            "client_id": "query-server",
            "client_secret": SECRET,
        }
        await templates.index_tables(self.database_url)
        part = self._parts["query"] = Part()
        server = await part.stack.enter_async_context(
            build_query(QuerySettings(**values | settings))
        )
        await server.start()
        part.stack.push_async_callback(server.stop, 0.3)
        self.query_address = f"localhost:{server.port}"
        channel = await part.stack.enter_async_context(
            grpc.aio.insecure_channel(self.query_address)
        )
        self.query = query_pb2_grpc.QueryServiceStub(channel)

    async def start_ingest(self, **settings: Any) -> None:
        values: dict[str, Any] = {
            "host": "localhost",
            "port": 0,
            "metrics_port": 0,
            "redis_url": self.redis_url,
            "data_dir": self.folder,
            "keys_path": self.folder / "ingest-keys" / "jwks.json",
            "admin_endpoint": f"localhost:{self.admin.server.port}",
            "client_id": "ingest-server",
            "client_secret": SECRET,
        }
        part = self._parts["ingest"] = Part()
        server = await part.stack.enter_async_context(
            build_ingest(IngestSettings(**values | settings))
        )
        await server.start()
        part.stack.push_async_callback(server.stop, 0.3)
        channel = await part.stack.enter_async_context(
            grpc.aio.insecure_channel(f"localhost:{server.port}")
        )
        self.ingest = ingest_pb2_grpc.IngestServiceStub(channel)

    async def stop(self, name: str) -> None:
        """Stop "admin", "query", "ingest" or an element."""
        await self._parts.pop(name).stop()

    async def stop_all(self) -> None:
        for name in reversed(list(self._parts)):
            await self.stop(name)

    # --- calls ---------------------------------------------------------------------------

    def bearer(self, token: str = "") -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {token or self.token}"),)

    async def search(
        self, text: str = "", timeout: float = 10.0, **fields: Any
    ) -> query_pb2.SearchFilesResponse:
        return await self.query.SearchFiles(
            query_pb2.SearchFilesRequest(query=text, **fields),
            metadata=self.bearer(),
            timeout=timeout,
        )

    async def found(self, text: str = "", **fields: Any) -> list[str]:
        """Names of the files found."""
        page = await self.search(text, **fields)
        return [result.file.original_filename for result in page.results]

    async def sync(self, element_id: str = "", timeout: float = 60.0) -> Any:
        return await self.query.SyncIndex(
            query_pb2.SyncIndexRequest(storage_element_id=element_id),
            metadata=self.bearer(),
            timeout=timeout,
        )

    async def sync_status(self) -> Any:
        return await self.query.GetSyncStatus(
            query_pb2.GetSyncStatusRequest(), metadata=self.bearer(), timeout=10
        )

    # --- registry = index = element --------------------------------------------------------

    async def agree(self, seconds: float = 30.0) -> int:
        """Wait until registry and index follow everything, then compare all rows; their number."""
        await until(self._caught_up, seconds)
        expected = await self._element_rows()
        for name, url, table in (
            ("index", self.query_url, "file_metadata_cache"),
            ("registry", self.admin_url, "file_registry"),
        ):
            found = await self._replica_rows(url, table)
            missing, extra = expected - found, found - expected
            assert not missing and not extra, (
                f"{name}: {len(missing)} rows missing, {len(extra)} too many of"
                f" {len(expected)}: {sorted(map(str, missing | extra))[:4]}"
            )
        return len(expected)

    async def caught_up(self, seconds: float = 30.0) -> None:
        """Wait until the registry has all that the elements have told."""
        await until(self._registry_caught_up, seconds)

    async def _registry_caught_up(self) -> bool:
        return await self._has_caught_up(((self.admin_url, "registry_cursors"),))

    async def _caught_up(self) -> bool:
        return await self._has_caught_up(
            ((self.query_url, "sync_cursors"), (self.admin_url, "registry_cursors"))
        )

    async def _has_caught_up(self, followers: Sequence[tuple[str, str]]) -> bool:
        heads = await self._heads()
        for url, cursors in followers:
            try:
                rows = await fetch(url, f"SELECT * FROM {cursors}")
            except (asyncpg.UndefinedTableError, asyncpg.InvalidCatalogNameError):
                return False
            here = {
                row["storage_element_id"]: (row["epoch"], row["sequence"])
                for row in rows
                if row["complete"]
            }
            if here != heads:
                return False
        return bool(heads)

    async def _heads(self) -> dict[str, tuple[str, int]]:
        heads = {}
        for element_id, rig in self.rigs.items():
            table = _tables(rig).feed_head
            (row,) = await fetch(self.database_url, f"SELECT epoch, seq FROM {table}")
            heads[element_id] = (row["epoch"], row["seq"])
        return heads

    async def _element_rows(self) -> set[tuple[Any, ...]]:
        found: set[tuple[Any, ...]] = set()
        for element_id, rig in self.rigs.items():
            rows = await fetch(
                self.database_url,
                f"SELECT file_id, {', '.join(CONTENT)} FROM {_tables(rig).files}"
                " WHERE state <> 'deleted'",
            )
            found |= {_plain(element_id, row) for row in rows}
        return found

    async def _replica_rows(self, url: str, table: str) -> set[tuple[Any, ...]]:
        rows = await fetch(
            url,
            f"SELECT storage_element_id, file_id, {', '.join(CONTENT)} FROM {table}"
            " WHERE state <> 'deleted'",
        )
        return {_plain(row["storage_element_id"], row) for row in rows}

    def tables(self, element_id: str = "se-01") -> Any:
        return _tables(self.rigs[element_id])


def _tables(rig: Rig) -> Any:
    from storage_server.settings import StorageSettings

    return StorageSettings(**rig.values).tables


def _plain(element_id: str, row: Any) -> tuple[Any, ...]:
    values = (row[name] for name in ("file_id", *CONTENT))
    return (element_id, *(tuple(v) if isinstance(v, list) else v or None for v in values))


async def fetch(url: str, query: str, *arguments: object) -> Sequence[Any]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


@asynccontextmanager
async def small_mesh(
    folder: Path,
    database_url: str,
    redis_url: str,
    *,
    elements: Sequence[str] = ("se-01",),
    query: bool = True,
    **settings: Any,
) -> AsyncIterator[SmallMesh]:
    """A started mesh. `settings` are those of the elements."""
    mesh = SmallMesh(folder, database_url, redis_url)
    mesh.settings = settings
    try:
        await mesh.start_admin()
        for element_id in elements:
            await mesh.start_element(element_id)
        if query:
            await mesh.start_query()
        yield mesh
    finally:
        await mesh.stop_all()


async def in_parallel(count: int, work: Any, *, at_once: int = 8) -> list[Any]:
    """`work(n)` for each n below count, some at a time; the answers in order."""
    slots = asyncio.Semaphore(at_once)

    async def one(number: int) -> Any:
        async with slots:
            return await work(number)

    return list(await asyncio.gather(*(one(n) for n in range(count))))
