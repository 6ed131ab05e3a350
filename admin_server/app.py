"""The admin server: what is opened, served, done in the background, and closed in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from admin_server.accounts.bindings import Bindings
from admin_server.accounts.bootstrap import fill, read_bootstrap
from admin_server.chores import prepare_in, repeat
from admin_server.clock import Clock, utc_now
from admin_server.elements.creation import Creation
from admin_server.elements.registered import LOOK_SECONDS, SYNC_SECONDS, RegisteredElements
from admin_server.prepared_database import PreparedDatabase
from admin_server.registry.following import OwnToken
from admin_server.rpc.accounts import AccountServicer
from admin_server.rpc.elements import ElementServicer
from admin_server.rpc.registry import FileRegistryServicer
from admin_server.settings import AdminSettings
from admin_server.wiring.access import Access, wire_access
from admin_server.wiring.audit import wire_audit
from admin_server.wiring.collection import wire_collection
from admin_server.wiring.findings import wire_findings
from admin_server.wiring.health import wire_health
from admin_server.wiring.life import wire_life
from admin_server.wiring.lifecycle import wire_lifecycle
from admin_server.wiring.registry import start_following, wire_elements, wire_registry
from artstore.v1.server_pb2 import ServerKind
from mesh.calls.suspension_list import POLL_SECONDS
from mesh.concurrency.background import Background
from mesh.errors import Unavailable
from mesh.operations.servicer import serve_operations
from mesh.server.announced import Nothing, partly
from mesh.server.server import MeshServer

KEYS_SECONDS = 2.0


@asynccontextmanager
async def build(settings: AdminSettings, now: Clock = utc_now) -> AsyncIterator[MeshServer]:
    """Everything that admin is made of, around a server not yet started.

    Raises:
        InvalidArgument: a bootstrap account is wrong.
    """
    text = settings.bootstrap_accounts.get_secret_value()
    bootstrap = await asyncio.to_thread(read_bootstrap, settings.bootstrap_file, text)
    database = PreparedDatabase(settings.admin_database_url)
    access = await wire_access(settings, database, now=now)
    elements = wire_elements(database, access.keys, now=now)
    token = OwnToken(access.issuer, settings.own_name, now=now)
    registry = wire_registry(settings, elements, token)
    server = MeshServer(settings, access.verifier, name="admin", kind=ServerKind.SERVER_KIND_ADMIN)
    life = wire_life(settings, database, elements, access, registry, token=token, now=now)
    collection = wire_collection(settings, database, elements, registry, life, token=token, now=now)
    audit = wire_audit(settings, database, elements, token)
    audit.serve(server)
    creation = Creation(elements, access.directory, Bindings(database))
    findings = wire_findings(database, registry, life, collection.operations, now=now)
    servicers: dict[str, object] = {
        "StorageElementService": ElementServicer(elements, creation, audit.following.audited),
        "FileRegistryService": FileRegistryServicer(registry.files, findings),
        "LifecycleService": wire_lifecycle(registry, life, collection, database, now=now),
    }
    _serve(server, access, servicers)
    serve_operations(server, collection.operations)
    answers = partial(database.fetchval, "SELECT 1", timeout=1.0)
    server.needs("postgresql", answers)

    async def prepare() -> None:
        first = partial(fill, bootstrap, hasher=access.hasher, now=now)
        await database.prepare(settings.database_url, first)
        await access.keys.refresh()
        await elements.sync()

    try:
        async with Background() as background:
            await prepare_in(background, prepare)
            _start(background, access, elements)
            background.start("database", partial(database.watch, server.give_up))
            start_following(background, registry, database, redis_url=settings.redis_url)
            for part in (audit, life, collection):
                part.start(background, database)
            background.start("health", wire_health(server, answers, access.keys, elements).watch)
            yield server
        if not server.gave_up.is_set():
            with suppress(Unavailable):
                await elements.sync()
    finally:
        await collection.operations.stop()
        await access.close()
        await registry.channels.close()
        await registry.database.close()
        await database.close()


def _serve(server: MeshServer, access: Access, servicers: dict[str, object]) -> None:
    others = {
        "TokenService": access.token_servicer(),
        "ServiceAccountService": AccountServicer(access.directory, access.refused.tell_now),
        "BackupService": Nothing(),
        "DrillService": Nothing(),
    }
    for name, servicer in (servicers | others).items():
        service = f"artstore.v1.{name}"
        server.add(service, partly(service), servicer)


def _start(background: Background, access: Access, elements: RegisteredElements) -> None:
    async def look() -> None:
        elements.look()

    background.start("signing keys", partial(repeat, access.keys.refresh, KEYS_SECONDS))
    background.start("suspensions", partial(repeat, access.refused.refresh, POLL_SECONDS))
    background.start("storage elements", partial(repeat, elements.sync, SYNC_SECONDS))
    background.start("elements' health", partial(repeat, look, LOOK_SECONDS))
