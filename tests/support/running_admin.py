"""An admin server in this process, on a free port, with what a test needs to talk to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from admin_server.accounts import secrets
from admin_server.app import build
from admin_server.clock import Clock, utc_now
from admin_server.life.homes import HomeSteps
from admin_server.settings import AdminSettings
from artstore.v1 import (
    accounts_pb2_grpc,
    elements_pb2,
    elements_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    types_pb2,
)
from mesh.postgres.database import Database
from mesh.postgres.urls import with_database
from mesh.server.server import MeshServer
from tests.support import templates

SECRET = "a secret of the bootstrap file"
ADMIN = {
    "client_id": "admin",
    "client_secret": SECRET,
    "role": "ADMIN",
    "namespaces": ["*"],
    "first": True,
}
SERVICE = {"client_id": "storage-se-01", "client_secret": SECRET, "role": "SERVICE"}
USER = {"client_id": "alice", "client_secret": SECRET, "role": "USER"}
AUDITOR = {
    "client_id": "auditor",
    "client_secret": SECRET,
    "role": "AUDITOR",
    "read_namespaces": ["*"],
}
EVERYBODY: Sequence[dict[str, Any]] = (ADMIN, SERVICE, USER, AUDITOR)
# Each reports for the element that it is named after, as SERVICE does.
OTHER_ELEMENTS = [{**SERVICE, "client_id": f"storage-se-0{number}"} for number in (2, 3, 4)]

Metadata = tuple[tuple[str, str], ...]


class ManualClock:
    """The time of day, as far ahead as a test has put it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


class RunningAdmin:
    """Stubs of a started admin, and logins remembered by account."""

    def __init__(self, server: MeshServer, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.channel = channel
        self.tokens: Any = tokens_pb2_grpc.TokenServiceStub(channel)
        self.accounts: Any = accounts_pb2_grpc.ServiceAccountServiceStub(channel)
        self.elements: Any = elements_pb2_grpc.StorageElementServiceStub(channel)
        self._metadata: dict[str, Metadata] = {}

    async def issue(self, client_id: str, client_secret: str = SECRET) -> str:
        """Log in and answer the raw token."""
        request = tokens_pb2.IssueTokenRequest(client_id=client_id, client_secret=client_secret)
        answer = await self.tokens.IssueToken(request, timeout=10)
        return str(answer.access_token)

    async def as_(self, client_id: str) -> dict[str, Any]:
        """Keywords of a call made by that account."""
        if client_id not in self._metadata:
            self._metadata[client_id] = bearer(await self.issue(client_id))
        return {"metadata": self._metadata[client_id], "timeout": 10}

    async def jwks(self) -> dict[str, Any]:
        answer = await self.tokens.GetJwks(tokens_pb2.GetJwksRequest(), timeout=10)
        found: dict[str, Any] = json.loads(answer.jwks_json)
        return found

    async def accepts(self, token: str) -> bool:
        """Whether admin's own interceptor takes the token."""
        request = elements_pb2.ListStorageElementsRequest()
        try:
            await self.elements.ListStorageElements(request, metadata=bearer(token), timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise
        return True


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def write_bootstrap_file(path: Path, accounts: Sequence[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"accounts": list(accounts)}))
    path.chmod(0o600)
    return path


def settings_of(database_url: str, folder: Path, **changes: Any) -> AdminSettings:
    values: dict[str, Any] = {
        "host": "localhost",
        "port": 0,
        "metrics_port": 0,
        "database_url": database_url,
        "data_dir": folder,
    }
    return AdminSettings(**{**values, **changes})


@asynccontextmanager
async def running_admin(
    database_url: str,
    folder: Path,
    *,
    accounts: Sequence[dict[str, Any]] = EVERYBODY,
    now: Clock = utc_now,
    **changes: Any,
) -> AsyncIterator[RunningAdmin]:
    """Start admin with these accounts and stop it at the end."""
    bootstrap_file = write_bootstrap_file(folder / "bootstrap.json", accounts)
    settings = settings_of(database_url, folder, bootstrap_file=bootstrap_file, **changes)
    await templates.admin_tables(database_url)
    async with AsyncExitStack() as stack:
        with _quick_hashes():
            server = await stack.enter_async_context(build(settings, now))
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"localhost:{server.port}") as channel:
                yield RunningAdmin(server, channel)
        finally:
            await server.stop(drain_seconds=0.5)


@contextmanager
def _quick_hashes() -> Iterator[None]:
    """Argon2 is made slow on purpose: 30 ms for each account and for its first login."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "TIME_COST", 1)
        patch.setattr(secrets, "MEMORY_KIB", 8)
        yield


@asynccontextmanager
async def admin_database(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection to the database that admin made beside this one."""
    name = database_url.rpartition("/")[2] + "_admin"
    connection = await asyncpg.connect(with_database(database_url, name))
    try:
        yield connection
    finally:
        await connection.close()


async def grown_old(database_url: str) -> None:
    """Admin's tables are no new ones any more: homes may change."""
    name = database_url.rpartition("/")[2] + "_admin"
    database = Database(with_database(database_url, name))
    try:
        await HomeSteps(database).of("any")
        await database.execute("UPDATE home_record SET since = '-infinity'")
    finally:
        await database.close()


def report(storage_element_id: str = "se-01", **changes: Any) -> elements_pb2.StorageElementReport:
    """What a healthy element in mode edit says of itself."""
    values: dict[str, Any] = {
        "storage_element_id": storage_element_id,
        "store_id": "3f2b0c1e-7c65-4f9f-9b58-0d0a6d9c1a01",
        "endpoint": "127.0.0.1:8010",
        "mode": types_pb2.ELEMENT_MODE_EDIT,
        "priority": 100,
        "capacity_bytes": 10**9,
        "fill_level": types_pb2.FILL_LEVEL_OK,
        "writable": True,
        "is_writer": True,
        "backend": types_pb2.STORAGE_BACKEND_LOCAL,
        "epoch": "e1",
    }
    return elements_pb2.StorageElementReport(**{**values, **changes})


async def code_of(call: Any) -> grpc.StatusCode:
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code()
