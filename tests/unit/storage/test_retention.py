"""Temporary files expire: what readers are told then, and how such a file is kept after all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh.errors import (
    AlreadyExists,
    ArtStoreError,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
)
from mesh.identity.caller import Role
from mesh.identity.policies import Policies, Policy
from storage_server.domain.sidecar import RetentionPolicy
from storage_server.element.clock import Clock
from storage_server.element.retention import Retention
from storage_server.uploads.intake import Repeated
from storage_server.uploads.streamed import StreamedUpload
from storage_server.writing.view import FileView
from tests.support.memory_element import ALICE, MemoryElement, a_header
from tests.support.origins import BY_ALICE

DAY = timedelta(days=1)
A_SERVER = replace(ALICE, subject="query", role=Role.SERVICE)


def now() -> datetime:
    return datetime.now(UTC)


async def ended(element: MemoryElement, **fields: Any) -> str:
    """Id of a file of 40 days ago that was kept for 30."""
    view = await element.upload()
    begun = now() - 40 * DAY
    put(element, view, created_at=begun, expires_at=begun + 30 * DAY, **fields)
    return view.sidecar.file_id


def put(element: MemoryElement, view: FileView, **fields: Any) -> None:
    """Write its sidecar anew, so that the next look reads it."""
    element.put_sidecar(replace(element.sidecar(view.sidecar.file_id), **fields))
    element.expire()


async def update(element: MemoryElement, file_id: str, **values: Any) -> FileView:
    return await element.changes.update(file_id, values, ALICE, by=BY_ALICE, expected_revision=None)


async def delete(element: MemoryElement, file_id: str) -> FileView:
    return await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)


async def undelete(element: MemoryElement, file_id: str, days: int | None = None) -> FileView:
    return await element.changes.undelete(
        file_id, ALICE, by=BY_ALICE, expected_revision=None, retention_days=days
    )


async def reason(work: Any) -> str:
    with pytest.raises(ArtStoreError) as refused:
        await work
    return refused.value.reason


async def test_an_expired_file_is_not_found_by_users_whatever_they_do() -> None:
    element = MemoryElement()
    file_id = await ended(element)
    for work in (
        element.lookup.get(file_id, ALICE),
        element.lookup.get(file_id, ALICE, omit_refresh=True),
        element.lookup.get(file_id, ALICE, seconds_left=1.0),
        update(element, file_id, description="later"),
        delete(element, file_id),
        undelete(element, file_id),
    ):
        assert await reason(work) == "EXPIRED"
    assert await element.lookup.get_many([file_id], ALICE) == ([], [file_id])
    assert element.sidecar(file_id).revision == 1


async def test_a_server_that_follows_is_told_of_it_as_of_others() -> None:
    element = MemoryElement()
    file_id = await ended(element)
    ((view,), missing) = await element.lookup.get_many([file_id], A_SERVER)
    assert (view.sidecar.file_id, missing) == (file_id, [])
    shown = await element.lookup.get(file_id, ALICE, show_deleted=True)
    assert shown.sidecar.file_id == file_id


async def test_a_foreign_namespace_is_not_told_that_a_file_has_expired() -> None:
    element = MemoryElement()
    file_id = await ended(element, namespace="secret")
    stranger = replace(ALICE, namespaces_read=frozenset({"default"}))
    assert await reason(element.lookup.get(file_id, stranger)) == "NOT_FOUND"


async def test_a_held_file_does_not_expire_until_the_hold_is_lifted() -> None:
    element = MemoryElement()
    file_id = await ended(element, legal_hold=True)
    assert (await element.lookup.get(file_id, ALICE)).sidecar.legal_hold
    await element.changes.hold(file_id, False, ALICE, by=BY_ALICE)
    assert await reason(element.lookup.get(file_id, ALICE)) == "EXPIRED"
    await element.changes.hold(file_id, True, ALICE, by=BY_ALICE)
    assert (await element.lookup.get(file_id, ALICE)).sidecar.revision == 3


async def test_a_sidecar_that_was_kept_longer_by_hand_is_found_although_the_row_has_expired() -> (
    None
):
    element = MemoryElement()
    file_id = await ended(element)
    assert await reason(element.lookup.get(file_id, ALICE)) == "EXPIRED"
    sidecar = element.sidecar(file_id)
    element.put_sidecar(replace(sidecar, retention_days=90, expires_at=now() + 50 * DAY))
    assert (await element.lookup.get(file_id, ALICE)).sidecar.retention_days == 90


async def test_an_update_reaches_an_expired_file_if_it_keeps_it_longer() -> None:
    element = MemoryElement()
    file_id = await ended(element)
    assert await reason(update(element, file_id, retention_days=39)) == "EXPIRED"
    kept = (await update(element, file_id, retention_days=41, description="kept")).sidecar
    assert (kept.expires_at, kept.description) == (kept.created_at + 41 * DAY, "kept")
    assert (await element.lookup.get(file_id, ALICE)).sidecar.revision == 2
    assert (await update(element, file_id, description="again")).sidecar.revision == 3


async def test_a_file_brought_back_counts_its_days_from_then() -> None:
    element = MemoryElement()
    file_id = await ended(element)
    back = (await undelete(element, file_id, 5)).sidecar
    assert (back.retention_days, back.revision) == (5, 2)
    assert back.expires_at is not None
    assert abs(back.expires_at - now() - 5 * DAY) < timedelta(minutes=1)
    longer = (await update(element, file_id, retention_days=9)).sidecar
    assert longer.expires_at == back.expires_at + 4 * DAY
    again = await undelete(element, file_id, 5)
    assert again.sidecar == longer


async def test_an_expired_file_in_the_trash_needs_new_days() -> None:
    element = MemoryElement()
    view = await element.upload()
    file_id = view.sidecar.file_id
    await delete(element, file_id)
    begun = now() - 40 * DAY
    put(element, view, created_at=begun, expires_at=begun + 30 * DAY)
    with pytest.raises(FailedPrecondition, match="retention_days") as refused:
        await undelete(element, file_id)
    assert refused.value.reason == "EXPIRED"
    back = (await undelete(element, file_id, 3)).sidecar
    assert back.expires_at is not None
    assert back.expires_at > now() + 2 * DAY


@pytest.mark.parametrize("days", [0, -1, 3_651])
async def test_new_days_are_within_bounds(days: int) -> None:
    element = MemoryElement()
    file_id = await ended(element)
    with pytest.raises(InvalidArgument) as refused:
        await undelete(element, file_id, days)
    assert refused.value.field == "retention_days"


async def test_a_permanent_file_takes_no_days_when_it_comes_back() -> None:
    element = MemoryElement()
    view = await element.upload(retention_policy=RetentionPolicy.PERMANENT, retention_days=None)
    await delete(element, view.sidecar.file_id)
    with pytest.raises(InvalidArgument, match="permanent"):
        await undelete(element, view.sidecar.file_id, 3)


async def test_a_request_is_not_answered_with_a_file_that_has_expired() -> None:
    element = MemoryElement()
    view = await element.upload(request_id="once")
    put(element, view, expires_at=now() - DAY)
    assert await reason(element.lookup.get(view.sidecar.file_id, ALICE)) == "EXPIRED"
    assert await reason(element.upload(request_id="once")) == "EXPIRED"


def set_policy(element: MemoryElement, **values: Any) -> None:
    element.policies.take([Policy("default", **values)])


async def test_a_policy_says_how_long_files_are_kept_and_how_long_they_may_be() -> None:
    element = MemoryElement()
    set_policy(element, default_retention_days=5, max_retention_days=10)
    view = await element.upload(retention_days=0)
    file_id = view.sidecar.file_id
    assert view.sidecar.retention_days == 5
    for work in (
        element.upload(retention_days=11),
        element.intake.start(a_header(retention_days=11), ALICE),
        update(element, file_id, retention_days=11),
    ):
        with pytest.raises(InvalidArgument, match="policy of the namespace") as refused:
            await work
        assert refused.value.field == "retention_days"
    assert (await update(element, file_id, retention_days=10)).sidecar.retention_days == 10
    set_policy(element, max_retention_days=3)
    assert (await update(element, file_id, retention_days=10)).sidecar.retention_days == 10
    assert (await element.upload(retention_days=0)).sidecar.retention_days == 3
    elsewhere = await element.upload(namespace="other", retention_days=0)
    assert elsewhere.sidecar.retention_days == 30


async def test_a_request_is_the_same_one_after_the_default_has_changed() -> None:
    element = MemoryElement()
    first = await element.upload(request_id="once", retention_days=0)
    opened = await element.intake.start(a_header(request_id="two", retention_days=0), ALICE)
    set_policy(element, default_retention_days=5, max_retention_days=10)
    again = await element.intake.begin(
        a_header(request_id="once", retention_days=0), ALICE, by=BY_ALICE
    )
    assert isinstance(again, Repeated)
    assert again.view.sidecar.file_id == first.sidecar.file_id
    reopened = await element.intake.start(a_header(request_id="two", retention_days=0), ALICE)
    assert reopened.upload_id == opened.upload_id
    with pytest.raises(AlreadyExists):
        await element.upload(request_id="once", retention_days=7)


async def test_a_policy_without_trash_lets_bytes_go_at_once() -> None:
    element = MemoryElement()
    view = await element.upload()
    set_policy(element, trash_days=0)
    assert not (await delete(element, view.sidecar.file_id)).blob_present
    other = await element.upload(namespace="other")
    assert (await delete(element, other.sidecar.file_id)).blob_present


async def test_uploads_pass_a_quota_neither_one_by_one_nor_together() -> None:
    element = MemoryElement()
    set_policy(element, quota_bytes=10, used_bytes=0)
    await element.upload(b"12345")
    assert await reason(element.upload(b"123456")) == "QUOTA"
    assert await reason(element.begin(size_bytes=6)) == "QUOTA"
    one, other = await element.begin(), await element.begin()
    for upload in (one, other):
        await upload.write(0, b"12345", None)
    await one.finish(None, None)
    with pytest.raises(ResourceExhausted) as refused:
        await other.finish(None, None)
    assert refused.value.metadata == {
        "namespace": "default",
        "quota_bytes": "10",
        "used_bytes": "10",
    }
    assert len([path for path in element.paths() if path.endswith(".json")]) == 2
    # What admin has counted meanwhile is not counted twice.
    set_policy(element, quota_bytes=15, used_bytes=10)
    assert isinstance(await element.begin(size_bytes=5), StreamedUpload)


async def test_a_resumable_upload_beyond_the_quota_stays_open_until_there_is_room() -> None:
    element = MemoryElement()
    set_policy(element, quota_bytes=4)
    started = await element.intake.start(a_header(), ALICE)
    upload, writer = await element.resumable.writer(started.upload_id, started.token, ALICE)
    await upload.write(writer, 0, b"12345", None)

    async def commit() -> FileView:
        return await element.resumable.commit(
            started.upload_id, started.token, ALICE, None, None, by=BY_ALICE
        )

    assert await reason(commit()) == "QUOTA"
    set_policy(element, quota_bytes=5)
    assert (await commit()).sidecar.size_bytes == 5


@pytest.mark.parametrize("days", [400, -400])
async def test_while_this_machines_clock_is_wrong_files_expire_by_the_others(days: int) -> None:
    right = now().timestamp()
    clock = Clock("se-01", tolerance_seconds=300, wall=lambda: right + days * 86_400)
    retention = Retention(clock, Policies(), trash_days=7)
    element = MemoryElement()
    fresh = (await element.upload()).sidecar
    old = element.sidecar(await ended(element))
    clock.heard("PostgreSQL", right, asked_at=clock.monotonic())
    assert (retention.is_expired(fresh), retention.is_expired(old)) == (False, True)
