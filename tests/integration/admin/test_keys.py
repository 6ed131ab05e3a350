"""Signing keys: published before they sign, listed while their tokens live, kept across starts."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.running_admin import (
    ManualClock,
    RunningAdmin,
    admin_database,
    running_admin,
)
from tests.support.token_issuer import Signer

TEN_MINUTES_IN_DAYS = 600 / 86400


async def published(admin: RunningAdmin) -> set[str]:
    return {key["kid"] for key in (await admin.jwks())["keys"]}


async def wait_for_keys(admin: RunningAdmin, count: int) -> set[str]:
    """Wait until so many keys are published: admin looks every two seconds."""
    found: set[str] = set()
    for _ in range(100):
        found = await published(admin)
        if len(found) == count:
            break
        await until_next_look()
    assert len(found) == count
    return found


async def until_next_look() -> None:
    await asyncio.sleep(0.1)


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def test_a_new_key_is_published_before_it_signs_and_old_tokens_stay_good(
    database_url: str, tmp_path: Path
) -> None:
    clock = ManualClock()
    async with running_admin(
        database_url, tmp_path, now=clock, key_rotation_days=TEN_MINUTES_IN_DAYS
    ) as admin:
        old = await admin.issue("alice")
        assert await published(admin) == {kid_of(old)}

        clock.advance(301)
        both = await wait_for_keys(admin, 2)
        assert kid_of(await admin.issue("alice")) == kid_of(old)

        clock.advance(300)
        new = await admin.issue("alice")
        assert kid_of(new) != kid_of(old)
        assert {kid_of(new), kid_of(old)} == both
        assert await published(admin) >= both
        assert await admin.accepts(old)

        clock.advance(24 * 3600 + 600)
        for _ in range(100):
            if kid_of(old) not in await published(admin):
                break
            await until_next_look()
        assert kid_of(old) not in await published(admin)
        async with admin_database(database_url) as connection:
            kept = await connection.fetchval("SELECT array_agg(kid) FROM signing_keys")
        assert kid_of(old) not in kept


async def test_a_restart_signs_with_the_same_key(database_url: str, tmp_path: Path) -> None:
    async with running_admin(database_url, tmp_path) as admin:
        before = await admin.issue("alice")
    async with running_admin(database_url, tmp_path) as admin:
        assert kid_of(await admin.issue("alice")) == kid_of(before)
        assert await admin.accepts(before)


async def test_two_admins_that_start_together_share_one_key(
    database_url: str, tmp_path: Path
) -> None:
    async def issue(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        async with running_admin(database_url, folder) as admin:
            return await admin.issue("alice")

    first, second = await asyncio.gather(issue("one"), issue("two"))
    assert kid_of(first) == kid_of(second)


async def test_disk_holds_public_keys_only_and_only_for_the_owner(
    database_url: str, tmp_path: Path
) -> None:
    async with running_admin(database_url, tmp_path) as admin:
        jwks = await admin.jwks()
    file = tmp_path / "keys" / "jwks.json"
    assert json.loads(file.read_text()) == jwks
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert all("d" not in key for key in jwks["keys"])


async def test_a_public_key_put_into_the_table_verifies_and_never_signs(
    database_url: str, tmp_path: Path
) -> None:
    signer = Signer("elsewhere-1")
    pem = signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    async with running_admin(database_url, tmp_path) as admin:
        own = kid_of(await admin.issue("alice"))
        assert not await admin.accepts(signer.token())
        async with admin_database(database_url) as connection:
            await connection.execute(
                "INSERT INTO signing_keys (kid, public_key) VALUES ('elsewhere-1', $1)",
                pem.decode(),
            )
            assert await wait_for_keys(admin, 2) == {own, "elsewhere-1"}
            assert await admin.accepts(signer.token())
            assert kid_of(await admin.issue("alice")) == own
            await connection.execute("DELETE FROM signing_keys WHERE kid = 'elsewhere-1'")
        await wait_for_keys(admin, 1)
        assert not await admin.accepts(signer.token())


async def test_a_broken_key_in_the_table_stops_nothing(database_url: str, tmp_path: Path) -> None:
    curve = generate_private_key(SECP256R1()).public_key()
    good = curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    async with running_admin(database_url, tmp_path) as admin:
        own = kid_of(await admin.issue("alice"))
        async with admin_database(database_url) as connection:
            await connection.execute(
                "INSERT INTO signing_keys (kid, public_key)"
                " VALUES ('broken', 'no PEM at all'), ('curve', $1)",
                good,
            )
        assert await wait_for_keys(admin, 2) == {own, "curve"}
        assert await admin.issue("alice")
