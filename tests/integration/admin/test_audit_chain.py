"""The chain of hashes under the audit, and what breaks it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import asyncpg
import grpc
import pytest

from admin_server.audit.chain import Chain
from admin_server.audit.kept_head import KeptHead
from admin_server.prepared_database import PreparedDatabase
from artstore.v1 import audit_pb2
from mesh.postgres.database import Database
from tests.integration.admin.audited import Audited, refusal
from tests.support.waiting import until


async def test_events_of_several_at_a_time_are_one_chain(shared_audited: Audited) -> None:
    await asyncio.gather(
        *(shared_audited.refuse(refusal(f"together-{n}")) for n in range(20)),
        *(shared_audited.change_accounts(1, f"together-{n}") for n in range(10)),
    )
    verdict = await shared_audited.verify()
    assert verdict.valid
    assert verdict.verified_count == len(await shared_audited.events())
    later = await shared_audited.verify(from_sequence=5)
    assert later.verified_count == verdict.verified_count - 4
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shared_audited.verify(from_sequence=10**6)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


TAMPERING = (
    ("UPDATE audit_events SET actor = 'mallory' WHERE sequence = 8", 8),
    ("UPDATE audit_events SET details = '{}' WHERE sequence = 8", 8),
    ("UPDATE audit_events SET occurred_at = occurred_at - interval '1 us' WHERE sequence = 8", 8),
    ("UPDATE audit_events SET occurred_at = 'infinity' WHERE sequence = 8", 8),
    ("UPDATE audit_events SET source_id = 'x' WHERE sequence = 8", 8),
    ("UPDATE audit_events SET hash = sha256('x') WHERE sequence = 8", 8),
    ("DELETE FROM audit_events WHERE sequence = 8", 8),
    ("DELETE FROM audit_events WHERE sequence = 1", 1),
    ("DELETE FROM audit_events WHERE sequence >= 14", 14),
    ("DELETE FROM audit_events", 1),
    (
        "UPDATE audit_events SET sequence = 100 WHERE sequence = 8;"
        "UPDATE audit_events SET sequence = 8 WHERE sequence = 11;"
        "UPDATE audit_events SET sequence = 11 WHERE sequence = 100",
        8,
    ),
    (
        "INSERT INTO audit_events SELECT 16, occurred_at, 'mallory', action, resource, outcome,"
        " details, storage_element_id, request_id, reason, source_id, hash"
        " FROM audit_events WHERE sequence = 15",
        16,
    ),
    ("UPDATE audit_head SET sequence = 14", 14),
)


async def test_what_was_tampered_with_is_found_by_number(audited: Audited) -> None:
    await audited.change_accounts(15 - len(await audited.events()))
    assert (await audited.verify()).verified_count == 15
    await audited.sql("CREATE TABLE whole AS TABLE audit_events")
    for change, first in TAMPERING:
        await audited.sql(change)
        assert await audited.broken() == first, change
        await audited.sql(
            "TRUNCATE audit_events",
            "INSERT INTO audit_events TABLE whole",
            "UPDATE audit_head SET sequence = 15",
        )
    assert (await audited.verify()).valid


async def test_a_chain_that_was_cut_with_its_head_is_found_by_the_kept_one(
    audited: Audited,
) -> None:
    await audited.change_accounts(5)
    last = (await audited.events())[-1]
    kept = audited.folder / "audit" / "head.json"

    async def is_kept() -> bool:
        return kept.exists() and last.hash in kept.read_text()

    await until(is_kept, 20)
    await audited.sql(
        f"DELETE FROM audit_events WHERE sequence > {last.sequence - 2}",
        f"UPDATE audit_head SET sequence = {last.sequence - 2}, hash = (SELECT hash FROM"
        f" audit_events WHERE sequence = {last.sequence - 2})",
    )
    assert await audited.broken() == last.sequence - 1
    # Also when as many others stand in their place.
    await audited.change_accounts(2, "instead")
    assert await audited.broken() == last.sequence
    assert last.hash in kept.read_text()


async def test_an_admin_that_falls_silent_with_the_lock_holds_nobody_up_for_long(
    audited: Audited,
) -> None:
    silent = PreparedDatabase(audited.url)
    silent.prepared.set()
    async with silent.connection() as connection:
        await connection.execute("BEGIN")
        await connection.fetch("SELECT * FROM audit_head FOR UPDATE")
        began = time.monotonic()

        async def changed() -> bool:
            with suppress(grpc.aio.AioRpcError):
                await audited.change_accounts(1)
                return True
            return False

        await until(changed, 20)
        assert time.monotonic() - began < 10
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await connection.execute("COMMIT")
    await silent.close()


async def test_what_stands_behind_an_emptied_head_is_found(audited: Audited) -> None:
    await audited.change_accounts(3)
    (audited.folder / "audit" / "head.json").unlink(missing_ok=True)
    await audited.sql(
        "UPDATE audit_events SET actor = 'mallory' WHERE sequence = 2", "TRUNCATE audit_head"
    )
    (audited.folder / "audit" / "head.json").unlink(missing_ok=True)
    assert await audited.broken() == 1


async def test_a_kept_head_that_nobody_can_read_is_told_and_not_overwritten(
    audited: Audited,
) -> None:
    await audited.change_accounts(1)
    kept = audited.folder / "audit" / "head.json"
    await until(kept.exists, 20)
    kept.write_text("{")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await audited.verify()
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "head.json" in str(refused.value.details())
    head = KeptHead(kept, Chain(Database(audited.url)))
    await head.keep()
    assert kept.read_text() == "{"
    kept.unlink()
    assert (await audited.verify()).valid


UNREADABLE = (
    "occurred_at = '4713-01-01 BC'",
    "details = '1e999'",
    """details = '"\\ud800"'""",
    f"details = '{'[' * 2000}{']' * 2000}'",
    "details = '[1]'",
)


async def test_what_nobody_can_read_is_named_and_lists_go_on(audited: Audited) -> None:
    await audited.change_accounts(3)
    count = len(await audited.events())
    await audited.sql("CREATE TABLE whole AS TABLE audit_events")
    for change in UNREADABLE:
        await audited.sql(f"UPDATE audit_events SET {change} WHERE sequence = 2")
        assert await audited.broken() == 2, change[:50]
        assert len(await audited.events()) == count, change[:50]
        stream = audited.stub.ExportAuditEvents(
            audit_pb2.ExportAuditEventsRequest(), **await audited.admin.as_("auditor")
        )
        assert len([one async for piece in stream for one in piece.events]) == count
        await audited.sql("TRUNCATE audit_events", "INSERT INTO audit_events TABLE whole")


async def test_a_row_put_in_behind_the_head_is_said_to_whoever_changes_something(
    audited: Audited,
) -> None:
    await audited.change_accounts(2)
    last = (await audited.events())[-1].sequence
    await audited.sql(
        "INSERT INTO audit_events SELECT sequence + 1, occurred_at, 'mallory', action, resource,"
        " outcome, details, storage_element_id, request_id, reason, '', hash"
        f" FROM audit_events WHERE sequence = {last}"
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await audited.change_accounts(1, "after")
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert f"broken at {last + 1}" in str(refused.value.details())


async def test_an_emptied_head_stops_nothing(audited: Audited) -> None:
    await audited.sql("TRUNCATE audit_head")
    await audited.change_accounts(2)
    assert (await audited.verify()).valid
