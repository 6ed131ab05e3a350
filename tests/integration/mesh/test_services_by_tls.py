"""PostgreSQL and Valkey reached by TLS: verified, refused with the reason, found again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mesh.errors import Unavailable
from mesh.postgres.creation import create_database_if_missing
from mesh.postgres.database import Database
from mesh.postgres.migrations import upgrade
from mesh.postgres.urls import with_database
from mesh.redis import open_redis, ping
from tests.support.certificates import Authority
from tests.support.tls_proxy import HOST, TlsProxy, tls_proxy
from tests.support.waiting import until

# A handshake beside other tests may take longer than a server would wait.
SECONDS = 10.0


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "stranger")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
async def postgres_proxy(database_url: str, authority: Authority) -> AsyncIterator[TlsProxy]:
    async with tls_proxy(database_url, *authority.issue()) as proxy:
        yield proxy


@pytest.fixture
async def redis_proxy(redis_url: str, authority: Authority) -> AsyncIterator[TlsProxy]:
    async with tls_proxy(redis_url, *authority.issue()) as proxy:
        yield proxy


@pytest.fixture(params=["database_url", "redis_url"])
def url_behind(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def proxy(url_behind: str, authority: Authority) -> AsyncIterator[TlsProxy]:
    """Before each of both."""
    async with tls_proxy(url_behind, *authority.issue()) as one:
        yield one


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url, timeout_seconds=SECONDS)
    try:
        yield database
    finally:
        await database.close()


async def sign_of_life(url: str) -> None:
    """What servers do first with either."""
    if url.startswith("postgresql:"):
        async with opened(url) as database:
            assert await database.fetchval("SELECT 1") == 1
    else:
        client = open_redis(url, timeout_seconds=SECONDS)
        try:
            await ping(client)
        finally:
            await client.aclose()


async def test_all_connections_of_a_database_are_by_tls(
    postgres_proxy: TlsProxy, authority: Authority, tmp_path: Path
) -> None:
    url = postgres_proxy.verified(authority.file)
    async with opened(url) as database:
        await database.execute("CREATE TABLE t (n int)")
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO t VALUES (1)")
        assert await database.fetchval("SELECT n FROM t") == 1
        await database.ping()
        (await database.connect()).terminate()
    name = f"{database.name}_more"
    assert await create_database_if_missing(with_database(url, name), name)
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions/0001_one.py").write_text(
        "from alembic import op\nrevision = '0001'\ndown_revision = None\n"
        "def upgrade():\n    op.execute('CREATE TABLE made (n int)')\n"
    )
    await upgrade(with_database(url, name), script_location=tmp_path, version_table="v", lock_key=1)
    assert postgres_proxy.encrypted >= 6
    assert postgres_proxy.plain == 0


async def test_a_statement_is_cancelled_by_tls_too(
    postgres_proxy: TlsProxy, authority: Authority
) -> None:
    async with opened(postgres_proxy.verified(authority.file)) as database:
        asking = asyncio.create_task(database.fetchval("SELECT pg_sleep(60)", timeout=60))
        running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"

        async def runs() -> bool:
            return bool(await database.fetchval(f"{running} AND state = 'active'"))

        async def is_over() -> bool:
            return not await runs()

        await until(runs, 2 * SECONDS)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(is_over, 2 * SECONDS)
    assert postgres_proxy.cancelled == 1
    assert postgres_proxy.plain == 0


async def test_commands_of_valkey_are_by_tls(redis_proxy: TlsProxy, authority: Authority) -> None:
    client = open_redis(redis_proxy.verified(authority.file), timeout_seconds=SECONDS)
    await client.set("k", "v")
    assert await client.get("k") == b"v"
    async with client.pubsub() as listening:
        await listening.subscribe("c")
        await client.publish("c", "told")
        async with asyncio.timeout(SECONDS):
            told = [one async for one in _first(listening, 2)]
    assert told[-1]["data"] == b"told"
    await client.aclose()
    assert redis_proxy.encrypted >= 2


async def _first(listening: Any, count: int) -> AsyncIterator[dict[str, Any]]:
    async for message in listening.listen():
        yield message
        count -= 1
        if not count:
            return


async def test_an_authority_that_is_not_trusted_is_refused_and_named_as_the_cause(
    proxy: TlsProxy, stranger: Authority
) -> None:
    with pytest.raises(Unavailable, match="certificate is refused: unable to get local issuer"):
        await sign_of_life(proxy.verified(stranger.file))
    assert proxy.encrypted == 0


async def test_another_name_is_refused_and_said(proxy: TlsProxy, authority: Authority) -> None:
    proxy.present(*authority.issue("db", "db.example"))
    with pytest.raises(Unavailable, match=f"is refused: Hostname mismatch.*'{HOST}'"):
        await sign_of_life(proxy.verified(authority.file))
    assert proxy.encrypted == 0


async def test_the_password_is_asked_for_behind_tls_and_a_wrong_one_is_told_from_silence(
    proxy: TlsProxy, authority: Authority
) -> None:
    url = proxy.verified(authority.file)
    account, _, rest = url.partition("@")
    wrong = f"{account}x@{rest}"
    with pytest.raises((asyncpg.InvalidPasswordError, Unavailable)) as refused:
        await sign_of_life(wrong)
    assert "password" in str(refused.value)
    await sign_of_life(url)


async def test_a_database_without_tls_is_refused_and_said(
    postgres_proxy: TlsProxy, authority: Authority
) -> None:
    postgres_proxy.offers = False
    with pytest.raises(Unavailable, match="TLS was asked for, and it offers none"):
        await sign_of_life(postgres_proxy.verified(authority.file))
    with pytest.raises(Unavailable, match=r"migration of v: .*TLS was asked for"):
        await upgrade(
            postgres_proxy.verified(authority.file),
            script_location="nowhere",
            version_table="v",
            lock_key=1,
        )


async def test_certificates_are_replaced_while_clients_live(
    proxy: TlsProxy, authority: Authority
) -> None:
    """An expired one is said while it is there; a new one, of a new authority too, is taken."""
    url = proxy.verified(authority.file)
    database = Database(url, timeout_seconds=SECONDS)
    client = open_redis(url if url.startswith("rediss:") else "redis://", timeout_seconds=SECONDS)

    async def ask() -> None:
        await (ping(client) if url.startswith("rediss:") else database.fetchval("SELECT 1"))

    async def answers() -> bool:
        try:
            await ask()
        except Unavailable:
            return False
        return True

    await ask()
    proxy.present(*authority.issue(days=-1))
    await proxy.drop()
    with pytest.raises(Unavailable, match="is refused: certificate has expired"):
        await asyncio.wait_for(_until_refused(ask), 2 * SECONDS)
    proxy.present(*authority.issue())
    await until(answers, 2 * SECONDS)
    authority.renew()
    proxy.present(*authority.issue())
    await proxy.drop()
    await until(answers, 2 * SECONDS)
    await database.close()
    await client.aclose()


async def _until_refused(ask: Callable[[], Awaitable[None]]) -> None:
    """The first call may find out only that its connection is gone."""
    while True:
        try:
            await ask()
        except Unavailable as refused:
            if "certificate" in str(refused):
                raise
