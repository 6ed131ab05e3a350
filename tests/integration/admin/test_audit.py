"""The audit as its readers see it: what is on record, pages, exports, and who reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import accounts_pb2, audit_pb2, elements_pb2
from tests.integration.admin.audited import EVERYBODY, Audited, refusal
from tests.support.running_admin import (
    bearer,
    code_of,
    report,
    running_admin,
)
from tests.support.waiting import until


async def test_what_admin_changes_is_on_record_with_actor_and_request(
    shared_audited: Audited,
) -> None:
    as_admin = await shared_audited.admin.as_("admin")
    metadata = (*as_admin["metadata"], ("x-request-id", "call-17"))
    accounts: Any = shared_audited.admin.accounts
    await shared_audited.change_accounts(1, "carol")
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
    found = await shared_audited.events(resource="carol-0")
    assert [(event.action, event.actor, event.outcome) for event in found] == [
        (f"{verb}ServiceAccount", "admin", audit_pb2.AUDIT_OUTCOME_DONE)
        for verb in ("Create", "Update", "Suspend", "Resume", "Rotate", "Delete")
    ]
    assert {event.request_id for event in found[1:]} == {"call-17"}
    assert found[1].details["role"] == "AUDITOR"
    assert found[1].details["limits"] == "open_uploads 7"
    assert "Carol" not in str(found)


async def test_what_was_refused_or_changed_nothing_is_no_change(shared_audited: Audited) -> None:
    as_admin = await shared_audited.admin.as_("admin")
    for client_id in ("admin", "nobody"):
        delete = accounts_pb2.DeleteServiceAccountRequest(client_id=client_id)
        with pytest.raises(grpc.aio.AioRpcError):
            await shared_audited.admin.accounts.DeleteServiceAccount(delete, **as_admin)
    assert await shared_audited.events(action="DeleteServiceAccount", resource="admin") == []
    assert await shared_audited.events(resource="nobody") == []


async def test_elements_and_keys_are_on_record(shared_audited: Audited) -> None:
    stub: Any = shared_audited.admin.elements
    reported = elements_pb2.ReportStorageElementRequest(report=report("se-01"))
    for _ in range(2):
        await stub.ReportStorageElement(reported, **await shared_audited.admin.as_("storage-se-01"))
    await stub.UpdateStorageElement(
        elements_pb2.UpdateStorageElementRequest(storage_element_id="se-01", priority=5),
        **await shared_audited.admin.as_("admin"),
    )
    found = await shared_audited.events(resource="se-01")
    assert [(event.action, event.actor) for event in found] == [
        ("ReportStorageElement", "storage-se-01"),
        ("UpdateStorageElement", "admin"),
    ]
    keys = await shared_audited.events(action="RotateKeys")
    assert [event.actor for event in keys] == [""]


async def test_refusals_are_counted_once_however_often_they_are_told(
    shared_audited: Audited,
) -> None:
    told = [refusal("r-1"), refusal("r-2", actor="", reason="TOKEN_EXPIRED")]
    for _ in range(3):
        assert await shared_audited.refuse(*told, dropped_count=40) == 2
    found = await shared_audited.events(action="DeleteFile")
    assert [(event.actor, event.reason, event.details["count"]) for event in found] == [
        ("eve", "ROLE_DENIED", "3"),
        ("", "TOKEN_EXPIRED", "3"),
    ]
    assert {event.outcome for event in found} == {audit_pb2.AUDIT_OUTCOME_REFUSED}
    (dropped,) = await shared_audited.events(action="refusals.dropped")
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
    shared_audited: Audited, wrong: audit_pb2.Refusal
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shared_audited.refuse(wrong)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_account_that_tells_of_many_refusals_adds_to_a_count(audited: Audited) -> None:
    for told in range(3):
        await audited.refuse(*(refusal(f"{told}-{n}", actor=f"a{n}") for n in range(300)))
    found = await audited.events()
    noted = [one for one in found if one.action == "DeleteFile"]
    assert 200 <= len(noted) <= 202
    (dropped, *_) = [one for one in found if one.action == "refusals.dropped"]
    assert dropped.details["count"] == str(3 * 100)


async def test_texts_that_no_table_takes_are_cut_and_break_nothing(shared_audited: Audited) -> None:
    odd = refusal("r-odd", actor="nul\0nul", reason="ж" * 5000, action="Odd" * 2000)
    await shared_audited.refuse(odd, server="\0")
    (event,) = await shared_audited.events(actor="nul nul")
    assert len(event.reason.encode()) <= 200
    assert event.reason == "ж" * 100
    assert (await shared_audited.verify()).valid


async def test_pages_are_newest_first_and_hold_each_event_once(shared_audited: Audited) -> None:
    await shared_audited.change_accounts(7, "paged")
    wanted = {"action": "CreateServiceAccount", "actor": "admin"}
    whole = await shared_audited.page(page_size=1000, **wanted)
    found, token = list[int](), ""
    while True:
        page = await shared_audited.page(page_size=3, page_token=token, **wanted)
        assert page.total_size == len(whole.events)
        found += [event.sequence for event in page.events]
        token = page.next_page_token
        if not token:
            break
    assert found == [event.sequence for event in whole.events]
    assert found == sorted(found, reverse=True)
    first = await shared_audited.page(page_size=3, **wanted)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shared_audited.page(page_size=3, page_token=first.next_page_token)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_times_bound_a_list(shared_audited: Audited) -> None:
    await shared_audited.change_accounts(2, "timed")
    one, two = await shared_audited.events(
        actor="admin", resource="timed-0"
    ) + await shared_audited.events(resource="timed-1")
    request = audit_pb2.ListAuditEventsRequest(
        filter=audit_pb2.AuditFilter(
            occurred_after_at=one.occurred_at, occurred_before_at=two.occurred_at
        )
    )
    answer = await shared_audited.stub.ListAuditEvents(
        request, **await shared_audited.admin.as_("auditor")
    )
    assert [event.sequence for event in answer.events] == [one.sequence]


async def test_an_export_has_all_events_oldest_first(shared_audited: Audited) -> None:
    await shared_audited.change_accounts(5, "exported")
    stream = shared_audited.stub.ExportAuditEvents(
        audit_pb2.ExportAuditEventsRequest(), **await shared_audited.admin.as_("auditor")
    )
    found = [event async for piece in stream for event in piece.events]
    assert [event.sequence for event in found] == list(range(1, len(found) + 1))
    assert found == await shared_audited.events()
    stream = shared_audited.stub.ExportAuditEvents(
        audit_pb2.ExportAuditEventsRequest(
            from_sequence=3, filter=audit_pb2.AuditFilter(resource="exported-1")
        ),
        **await shared_audited.admin.as_("auditor"),
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
    shared_audited: Audited, who: str, method: str, request_: Any, may: bool
) -> None:
    call = getattr(shared_audited.stub, method)(request_, **await shared_audited.admin.as_(who))
    if may:
        await call
    else:
        assert await code_of(call) is grpc.StatusCode.PERMISSION_DENIED


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
