"""The admin server's parts, wired together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog

from admin_server.accounts.attempts import WrongAttempts
from admin_server.accounts.bootstrap import (
    BootstrapAccount,
    make_missing,
    read_bootstrap_file,
    read_bootstrap_text,
)
from admin_server.accounts.directory import AccountDirectory
from admin_server.accounts.login import Login
from admin_server.accounts.secrets import SecretHasher
from admin_server.accounts.table import AccountTable
from admin_server.clock import Clock, utc_now
from admin_server.elements.registered import LOOK_SECONDS, SYNC_SECONDS, RegisteredElements
from admin_server.elements.table import ElementTable
from admin_server.keys.issuer import TokenIssuer
from admin_server.keys.rotation import KeyRotation
from admin_server.keys.table import KeyTable
from admin_server.prepared_database import TIMEOUT_SECONDS, PreparedDatabase
from admin_server.registry.channels import ElementChannels
from admin_server.registry.following import OwnToken, registry_fleet, unread_elements
from admin_server.registry.holds import Holds
from admin_server.registry.registry import FileRegistry
from admin_server.registry.tables import registry_tables
from admin_server.rpc.accounts import AccountServicer
from admin_server.rpc.elements import ElementServicer
from admin_server.rpc.lifecycle import LifecycleServicer
from admin_server.rpc.registry import FileRegistryServicer
from admin_server.rpc.tokens import TokenServicer
from admin_server.settings import AdminSettings
from artstore.v1.server_pb2 import ServerKind
from mesh.concurrency.background import Background
from mesh.concurrency.backoff import Backoff
from mesh.errors import Unavailable
from mesh.follower import FollowerFleet
from mesh.follower.hints import wake_on_hints
from mesh.follower.tables import RebuildableTables
from mesh.identity.tokens import KeySet, TokenVerifier
from mesh.operations import Operations
from mesh.operations.servicer import serve_operations
from mesh.postgres.database import Database
from mesh.postgres.failures import EVERYTHING
from mesh.server.announced import Nothing, partly
from mesh.server.health import HealthWatcher
from mesh.server.server import MeshServer

KEYS_SECONDS = 2.0
PREPARE_RETRY_SECONDS = 1.0
# Followers and readers of the registry; accounts and elements have a pool of their own.
REGISTRY_CONNECTIONS = 8
# A database that answers is prepared before the port opens; one that does not, behind it.
PREPARE_FIRST_SECONDS = 10.0

_log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def build(settings: AdminSettings, now: Clock = utc_now) -> AsyncIterator[MeshServer]:
    """Everything that admin is made of, around a server not yet started.

    Raises:
        InvalidArgument: a bootstrap account is wrong.
    """
    bootstrap = await _bootstrap_accounts(settings)
    database = PreparedDatabase(settings.admin_database_url)
    registry = Database(
        settings.admin_database_url,
        max_size=REGISTRY_CONNECTIONS,
        timeout_seconds=TIMEOUT_SECONDS,
        application_name="artstore-admin registry",
        droppable=[EVERYTHING],
    )
    tables = registry_tables(registry)
    hasher = SecretHasher()
    rotation = KeyRotation(KeyTable(database), rotation=settings.key_rotation, now=now)
    keys = await asyncio.to_thread(KeySet, settings.keys_file, rotation.jwks)
    elements = RegisteredElements(ElementTable(database), now=now)
    accounts = AccountTable(database)
    login = Login(accounts, hasher, WrongAttempts(), now=now)
    issuer = TokenIssuer(rotation, lifetime_seconds=settings.token_seconds, now=now)

    server = MeshServer(
        settings, TokenVerifier(keys), name="admin", kind=ServerKind.SERVER_KIND_ADMIN
    )
    _add(server, "TokenService", TokenServicer(login, issuer, keys))
    _add(
        server,
        "ServiceAccountService",
        AccountServicer(AccountDirectory(accounts, hasher, now=now)),
    )
    _add(server, "StorageElementService", ElementServicer(elements))
    token = OwnToken(issuer, settings.client_id or "admin", now=now)
    fleet = registry_fleet(settings, registry, elements, token)
    files = FileRegistry(registry, unread=partial(unread_elements, fleet, elements))
    _add(server, "FileRegistryService", FileRegistryServicer(files))
    channels = ElementChannels(settings)
    holds = Holds(files, elements, channel=channels.to, metadata=token.metadata)
    _add(server, "LifecycleService", LifecycleServicer(holds))
    for announced in ("AuditService", "BackupService", "DrillService"):
        _add(server, announced, Nothing())
    operations = Operations()
    serve_operations(server, operations)
    server.needs("postgresql", partial(database.fetchval, "SELECT 1", timeout=1.0))

    async def fill(opened: Database) -> None:
        await make_missing(bootstrap, AccountTable(opened), hasher, now=now)

    async def prepare() -> None:
        await database.prepare(settings.database_url, fill)
        await keys.refresh()
        await elements.sync()

    try:
        async with Background() as background:
            await _prepare_in(background, prepare)
            _start_chores(background, keys, elements)
            _follow(background, database, tables, fleet)
            if settings.redis_url:
                background.start("change hints", lambda: wake_on_hints(settings.redis_url, fleet))
            _watch_health(background, server, database, keys, elements)
            yield server
        with suppress(Unavailable):
            await elements.sync()
    finally:
        hasher.close()
        await channels.close()
        await registry.close()
        await database.close()


async def _bootstrap_accounts(settings: AdminSettings) -> list[BootstrapAccount]:
    if settings.bootstrap_file is not None:
        return await asyncio.to_thread(read_bootstrap_file, settings.bootstrap_file)
    text = settings.bootstrap_accounts.get_secret_value()
    return read_bootstrap_text(text, "ARTSTORE_BOOTSTRAP_ACCOUNTS") if text else []


def _add(server: MeshServer, service: str, servicer: object) -> None:
    name = f"artstore.v1.{service}"
    server.add(name, partly(name), servicer)


async def _prepare_in(background: Background, prepare: Callable[[], Awaitable[None]]) -> None:
    """Prepare in the background until it is done; wait for the outcome of the first try."""
    tried = asyncio.Event()

    async def until_done() -> None:
        backoff = Backoff(PREPARE_RETRY_SECONDS)
        while True:
            try:
                await prepare()
                return
            except Unavailable as exc:
                if not tried.is_set():
                    _log.warning("started without the database", reason=exc.message)
            finally:
                tried.set()
            await backoff.pause()

    background.start("prepare database", until_done)
    with suppress(TimeoutError):
        await asyncio.wait_for(tried.wait(), PREPARE_FIRST_SECONDS)


def _start_chores(background: Background, keys: KeySet, elements: RegisteredElements) -> None:
    async def look() -> None:
        elements.look()

    background.start("signing keys", partial(_repeat, keys.refresh, KEYS_SECONDS))
    background.start("storage elements", partial(_repeat, elements.sync, SYNC_SECONDS))
    background.start("elements' health", partial(_repeat, look, LOOK_SECONDS))


async def _repeat(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Do it again and again. The database says itself when it goes and when it is back."""
    while True:
        with suppress(Unavailable):
            await work()
        await asyncio.sleep(seconds)


def _follow(
    background: Background,
    database: PreparedDatabase,
    tables: RebuildableTables,
    fleet: FollowerFleet,
) -> None:
    async def keep_tables() -> None:
        await database.prepared.wait()
        await tables.watch()

    async def follow() -> None:
        await tables.ready.wait()
        await fleet.run()

    background.start("registry tables", keep_tables)
    background.start("file registry", follow)


def _watch_health(
    background: Background,
    server: MeshServer,
    database: Database,
    keys: KeySet,
    elements: RegisteredElements,
) -> None:
    async def accounts_answer() -> None:
        await database.fetchval("SELECT 1", timeout=1.0)

    async def keys_are_known() -> bool:
        return len(keys) > 0

    async def elements_are_known() -> bool:
        return elements.loaded

    watcher = HealthWatcher(
        server,
        [
            ("artstore.v1.TokenService", keys_are_known),
            ("artstore.v1.ServiceAccountService", accounts_answer),
            ("artstore.v1.StorageElementService", elements_are_known),
        ],
    )
    background.start("health", watcher.watch)
