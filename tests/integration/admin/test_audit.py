"""The audit as its readers see it: events, pages, the chain, and what breaks it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio

from admin_server.audit.chain import Chain
from admin_server.audit.kept_head import KeptHead
from admin_server.prepared_database import PreparedDatabase
from artstore.v1 import accounts_pb2, audit_pb2, audit_pb2_grpc, elements_pb2
from mesh.postgres.database import Database
from tests.support.running_admin import (
    ADMIN,
    AUDITOR,
    SECRET,
    SERVICE,
    USER,
    RunningAdmin,
    bearer,
    code_of,
    report,
    running_admin,
)
from tests.support.services import PostgresProcess
from tests.support.waiting import until

EVERYBODY = [
    ADMIN,
    USER,
    AUDITOR | {"namespaces": ["*"]},
    SERVICE | {"namespaces": ["*"]},
    {"client_id": "auditor-of-one", "client_secret": SECRET, "role": "AUDITOR"},
]


class Audited:
    """An admin with stubs of its audit, and its database."""

    def __init__(self, admin: RunningAdmin, database_url: str, folder: Path) -> None:
        self.admin = admin
        self.url = f"{database_url}_admin"
        self.folder = folder
        self.stub: Any = audit_pb2_grpc.AuditServiceStub(admin.channel)

    async def page(self, who: str = "auditor", **fields: Any) -> audit_pb2.ListAuditEventsResponse:
        wanted = {
            name: fields.pop(name) for name in ("actor", "action", "resource") if name in fields
        }
        request = audit_pb2.ListAuditEventsRequest(filter=audit_pb2.AuditFilter(**wanted), **fields)
        answer: audit_pb2.ListAuditEventsResponse = await self.stub.ListAuditEvents(
            request, **await self.admin.as_(who)
        )
        return answer

    async def events(self, **wanted: Any) -> list[audit_pb2.AuditEvent]:
        """All that match, oldest first."""
        return list(reversed((await self.page(page_size=1000, **wanted)).events))

    async def verify(self, **fields: Any) -> audit_pb2.VerifyAuditEventsResponse:
        answer: audit_pb2.VerifyAuditEventsResponse = await self.stub.VerifyAuditEvents(
            audit_pb2.VerifyAuditEventsRequest(**fields), **await self.admin.as_("auditor")
        )
        return answer

    async def broken(self, **fields: Any) -> int:
        """The first event that does not fit."""
        verdict = await self.verify(**fields)
        assert not verdict.valid
        return int(verdict.first_broken_sequence)

    async def change_accounts(self, count: int, prefix: str = "robot") -> None:
        for n in range(count):
            await self.admin.accounts.CreateServiceAccount(
                accounts_pb2.CreateServiceAccountRequest(
                    client_id=f"{prefix}-{n}", role=accounts_pb2.ROLE_USER
                ),
                **await self.admin.as_("admin"),
            )

    async def refuse(self, *refusals: audit_pb2.Refusal, server: str = "se-01", **more: Any) -> int:
        request = audit_pb2.RecordRefusalsRequest(server=server, refusals=refusals, **more)
        answer = await self.stub.RecordRefusals(
            iter([request]), **await self.admin.as_("storage-se-01")
        )
        return int(answer.recorded_count)

    async def sql(self, *statements: str) -> None:
        """As somebody who has got at the database."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@pytest_asyncio.fixture(loop_scope="session")
async def audited(database_url: str, tmp_path: Path) -> AsyncIterator[Audited]:
    async with running_admin(database_url, tmp_path, accounts=EVERYBODY) as admin:
        yield Audited(admin, database_url, tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(
    postgres: PostgresProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Audited]:
    """One whose chain no test breaks."""
    url, folder = postgres.create_database(), tmp_path_factory.mktemp("audited")
    async with running_admin(url, folder, accounts=EVERYBODY) as admin:
        yield Audited(admin, url, folder)
    postgres.drop_database(url)


def refusal(refusal_id: str, **fields: Any) -> audit_pb2.Refusal:
    values: dict[str, Any] = {
        "refusal_id": refusal_id,
        "actor": "eve",
        "action": "DeleteFile",
        "reason": "ROLE_DENIED",
        "count": 3,
    }
    return audit_pb2.Refusal(**values | fields)


async def test_what_admin_changes_is_on_record_with_actor_and_request(shared: Audited) -> None:
    as_admin = await shared.admin.as_("admin")
    metadata = (*as_admin["metadata"], ("x-request-id", "call-17"))
    accounts: Any = shared.admin.accounts
    await shared.change_accounts(1, "carol")
    account = accounts_pb2.ServiceAccount(
        description="Carol's robot",
        role=accounts_pb2.ROLE_AUDITOR,
        limits=accounts_pb2.AccountLimits(open_uploads=7),
    )
    for method, request in (
        (
            "UpdateServiceAccount",
            accounts_pb2.UpdateServiceAccountRequest(client_id="carol-0", account=account),
        ),
        ("SuspendServiceAccount", accounts_pb2.SuspendServiceAccountRequest(client_id="carol-0")),
        ("ResumeServiceAccount", accounts_pb2.ResumeServiceAccountRequest(client_id="carol-0")),
        ("RotateServiceAccount", accounts_pb2.RotateServiceAccountRequest(client_id="carol-0")),
        ("DeleteServiceAccount", accounts_pb2.DeleteServiceAccountRequest(client_id="carol-0")),
    ):
        await getattr(accounts, method)(request, metadata=metadata, timeout=10)
    found = await shared.events(resource="carol-0")
    assert [(event.action, event.actor, event.outcome) for event in found] == [
        (f"{verb}ServiceAccount", "admin", audit_pb2.AUDIT_OUTCOME_DONE)
        for verb in ("Create", "Update", "Suspend", "Resume", "Rotate", "Delete")
    ]
    assert {event.request_id for event in found[1:]} == {"call-17"}
    assert found[1].details["role"] == "AUDITOR"
    assert found[1].details["limits"] == "open_uploads 7"
    assert "Carol" not in str(found)


async def test_what_was_refused_or_changed_nothing_is_no_change(shared: Audited) -> None:
    as_admin = await shared.admin.as_("admin")
    for client_id in ("admin", "nobody"):
        delete = accounts_pb2.DeleteServiceAccountRequest(client_id=client_id)
        with pytest.raises(grpc.aio.AioRpcError):
            await shared.admin.accounts.DeleteServiceAccount(delete, **as_admin)
    assert await shared.events(action="DeleteServiceAccount", resource="admin") == []
    assert await shared.events(resource="nobody") == []


async def test_elements_and_keys_are_on_record(shared: Audited) -> None:
    stub: Any = shared.admin.elements
    reported = elements_pb2.ReportStorageElementRequest(report=report("se-01"))
    for _ in range(2):
        await stub.ReportStorageElement(reported, **await shared.admin.as_("storage-se-01"))
    await stub.UpdateStorageElement(
        elements_pb2.UpdateStorageElementRequest(storage_element_id="se-01", priority=5),
        **await shared.admin.as_("admin"),
    )
    found = await shared.events(resource="se-01")
    assert [(event.action, event.actor) for event in found] == [
        ("ReportStorageElement", "storage-se-01"),
        ("UpdateStorageElement", "admin"),
    ]
    keys = await shared.events(action="RotateKeys")
    assert [event.actor for event in keys] == [""]


async def test_refusals_are_counted_once_however_often_they_are_told(shared: Audited) -> None:
    told = [refusal("r-1"), refusal("r-2", actor="", reason="TOKEN_EXPIRED")]
    for _ in range(3):
        assert await shared.refuse(*told, dropped_count=40) == 2
    found = await shared.events(action="DeleteFile")
    assert [(event.actor, event.reason, event.details["count"]) for event in found] == [
        ("eve", "ROLE_DENIED", "3"),
        ("", "TOKEN_EXPIRED", "3"),
    ]
    assert {event.outcome for event in found} == {audit_pb2.AUDIT_OUTCOME_REFUSED}
    (dropped,) = await shared.events(action="refusals.dropped")
    assert dict(dropped.details) == {
        "count": "40",
        "server": "se-01",
        "told_by": "storage-se-01",
    }
    assert {event.details["told_by"] for event in found} == {"storage-se-01"}


@pytest.mark.parametrize(
    "wrong", [refusal("r" * 65), refusal(""), refusal("r-0", count=0), refusal("r-0", count=-5)]
)
async def test_a_refusal_without_a_good_id_or_count_is_refused(
    shared: Audited, wrong: audit_pb2.Refusal
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shared.refuse(wrong)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_account_that_tells_of_many_refusals_adds_to_a_count(audited: Audited) -> None:
    for told in range(3):
        await audited.refuse(*(refusal(f"{told}-{n}", actor=f"a{n}") for n in range(300)))
    found = await audited.events()
    noted = [one for one in found if one.action == "DeleteFile"]
    assert 200 <= len(noted) <= 202
    (dropped, *_) = [one for one in found if one.action == "refusals.dropped"]
    assert dropped.details["count"] == str(3 * 100)


async def test_texts_that_no_table_takes_are_cut_and_break_nothing(shared: Audited) -> None:
    odd = refusal("r-odd", actor="nul\0nul", reason="ж" * 5000, action="Odd" * 2000)
    await shared.refuse(odd, server="\0")
    (event,) = await shared.events(actor="nul nul")
    assert len(event.reason.encode()) <= 200
    assert event.reason == "ж" * 100
    assert (await shared.verify()).valid


async def test_pages_are_newest_first_and_hold_each_event_once(shared: Audited) -> None:
    await shared.change_accounts(7, "paged")
    wanted = {"action": "CreateServiceAccount", "actor": "admin"}
    whole = await shared.page(page_size=1000, **wanted)
    found, token = list[int](), ""
    while True:
        page = await shared.page(page_size=3, page_token=token, **wanted)
        assert page.total_size == len(whole.events)
        found += [event.sequence for event in page.events]
        token = page.next_page_token
        if not token:
            break
    assert found == [event.sequence for event in whole.events]
    assert found == sorted(found, reverse=True)
    first = await shared.page(page_size=3, **wanted)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shared.page(page_size=3, page_token=first.next_page_token)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_times_bound_a_list(shared: Audited) -> None:
    await shared.change_accounts(2, "timed")
    one, two = await shared.events(actor="admin", resource="timed-0") + await shared.events(
        resource="timed-1"
    )
    request = audit_pb2.ListAuditEventsRequest(
        filter=audit_pb2.AuditFilter(
            occurred_after_at=one.occurred_at, occurred_before_at=two.occurred_at
        )
    )
    answer = await shared.stub.ListAuditEvents(request, **await shared.admin.as_("auditor"))
    assert [event.sequence for event in answer.events] == [one.sequence]


async def test_an_export_has_all_events_oldest_first(shared: Audited) -> None:
    await shared.change_accounts(5, "exported")
    stream = shared.stub.ExportAuditEvents(
        audit_pb2.ExportAuditEventsRequest(), **await shared.admin.as_("auditor")
    )
    found = [event async for piece in stream for event in piece.events]
    assert [event.sequence for event in found] == list(range(1, len(found) + 1))
    assert found == await shared.events()
    stream = shared.stub.ExportAuditEvents(
        audit_pb2.ExportAuditEventsRequest(
            from_sequence=3, filter=audit_pb2.AuditFilter(resource="exported-1")
        ),
        **await shared.admin.as_("auditor"),
    )
    found = [event async for piece in stream for event in piece.events]
    assert [event.resource for event in found] == ["exported-1"]


@pytest.mark.parametrize(
    ("who", "method", "request_", "may"),
    [
        ("admin", "ListAuditEvents", audit_pb2.ListAuditEventsRequest(), True),
        ("auditor-of-one", "ListAuditEvents", audit_pb2.ListAuditEventsRequest(), False),
        ("auditor-of-one", "VerifyAuditEvents", audit_pb2.VerifyAuditEventsRequest(), False),
        ("alice", "ListAuditEvents", audit_pb2.ListAuditEventsRequest(), False),
        ("storage-se-01", "ListAuditEvents", audit_pb2.ListAuditEventsRequest(), False),
    ],
)
async def test_only_auditors_of_all_namespaces_read_it(
    shared: Audited, who: str, method: str, request_: Any, may: bool
) -> None:
    call = getattr(shared.stub, method)(request_, **await shared.admin.as_(who))
    if may:
        await call
    else:
        assert await code_of(call) is grpc.StatusCode.PERMISSION_DENIED


async def test_events_of_several_at_a_time_are_one_chain(shared: Audited) -> None:
    await asyncio.gather(
        *(shared.refuse(refusal(f"together-{n}")) for n in range(20)),
        *(shared.change_accounts(1, f"together-{n}") for n in range(10)),
    )
    verdict = await shared.verify()
    assert verdict.valid
    assert verdict.verified_count == len(await shared.events())
    later = await shared.verify(from_sequence=5)
    assert later.verified_count == verdict.verified_count - 4
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shared.verify(from_sequence=10**6)
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


async def test_refused_calls_of_admin_come_to_the_audit(database_url: str, tmp_path: Path) -> None:
    async with running_admin(
        database_url, tmp_path, accounts=EVERYBODY, refusal_seconds=0.2
    ) as admin:
        audited = Audited(admin, database_url, tmp_path)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await audited.page("alice")
        with pytest.raises(grpc.aio.AioRpcError):
            await audited.stub.ListAuditEvents(
                audit_pb2.ListAuditEventsRequest(), metadata=bearer("forged"), timeout=10
            )

        async def noted() -> bool:
            found = await audited.events(action="ListAuditEvents")
            return sum(int(event.details["count"]) for event in found) == 4

        await until(noted, 10)
        by_alice = await audited.events(actor="alice")
        assert {event.reason for event in by_alice} == {"ROLE_DENIED"}
        assert sum(int(event.details["count"]) for event in by_alice) == 3
