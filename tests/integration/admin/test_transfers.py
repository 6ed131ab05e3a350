"""Moves of files as admin works on them, on elements in memory that keep the element's rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import accounts_pb2
from artstore.v1 import lifecycle_pb2 as pb
from mesh import errors
from mesh.calls.status import from_rpc_error
from storage_server.domain.sidecar import RetentionPolicy
from tests.integration.admin.transfers import ENDED, FAST, Lifecycle
from tests.support.running_admin import (
    EVERYBODY,
    OTHER_ELEMENTS,
    admin_database,
    grown_old,
    running_admin,
)
from tests.support.services import PostgresProcess
from tests.support.stepping_elements import Mesh, stepping_mesh
from tests.support.waiting import until

Code = grpc.StatusCode
OF_OLD = {**OTHER_ELEMENTS[0], "client_id": "query-of-old"}
ACCOUNTS = (*EVERYBODY, *OTHER_ELEMENTS, OF_OLD)


@dataclass
class Rig:
    """An admin, and elements: se-01 and se-02 in mode edit, se-03 in rw."""

    mesh: Mesh
    life: Lifecycle
    database_url: str

    async def ended(self, transfer: pb.Transfer, seconds: float = 10.0) -> pb.Transfer:
        found = transfer

        async def has_ended() -> bool:
            nonlocal found
            found = await self.life.get(transfer.transfer_id)
            return found.state in ENDED

        await until(has_ended, seconds)
        return found

    async def completed(self, transfer: pb.Transfer, seconds: float = 10.0) -> pb.Transfer:
        found = await self.ended(transfer, seconds)
        assert found.state == pb.TRANSFER_STATE_COMPLETED, found
        return found


@asynccontextmanager
async def rigged(
    mesh: Mesh, database_url: str, folder: Path, **changes: object
) -> AsyncIterator[Rig]:
    async with running_admin(
        database_url, folder, accounts=ACCOUNTS, **{**FAST, **changes}
    ) as admin:
        await grown_old(database_url)
        await mesh.report_to(admin)
        yield Rig(mesh, Lifecycle(admin), database_url)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(
    postgres: PostgresProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rig]:
    url = postgres.create_database()
    async with (
        stepping_mesh(se_01="edit", se_02="edit", se_03="rw") as mesh,
        rigged(mesh, url, tmp_path_factory.mktemp("transfers")) as rig,
    ):
        yield rig
    postgres.drop_database(url)


@pytest_asyncio.fixture(loop_scope="session")
async def rig(shared: Rig) -> AsyncIterator[Rig]:
    """The one of the module, whose elements do again what they should."""
    await shared.mesh.report_to(shared.life.admin)
    yield shared
    for element in shared.mesh.elements.values():
        for calls in (element.before, element.after, element.behalf, element.calls):
            calls.clear()
        element.given_up.clear()
        element.knows_giving_up = True


def refused(error: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> tuple[Code, str]:
    return error.value.code(), from_rpc_error(error.value).reason


async def test_a_file_moves_to_the_element_that_is_named(rig: Rig) -> None:
    file_id = rig.mesh["se-01"].store(b"some bytes", description="mine")
    begun = await rig.life.move(file_id, "se-02")
    assert (begun.kind, begun.source_storage_element_id) == (pb.TRANSFER_KIND_MOVE, "se-01")
    assert (begun.requested_by, begun.size_bytes) == ("admin", 10)
    moved = await rig.completed(begun)
    assert (moved.copied_size_bytes, moved.attempts, moved.error) == (10, 1, "")
    assert moved.change_token == "changed.2"
    assert moved.HasField("ended_at") and not moved.HasField("next_attempt_at")
    assert rig.mesh["se-01"].state(file_id) == "moved"
    home = rig.mesh["se-02"].sidecars[file_id]
    assert (home.state, home.revision, home.description) == ("active", 2, "mine")
    assert (await rig.life.list(file_id=file_id)).transfers == [moved]


async def test_a_file_that_is_changed_while_it_is_pulled_arrives_as_it_is_then(rig: Rig) -> None:
    source, target = rig.mesh["se-01"], rig.mesh["se-02"]
    file_id = source.store()

    async def changed() -> None:
        source.update(file_id, description="changed meanwhile")

    target.after["PullFile"] = changed
    await rig.completed(await rig.life.move(file_id, "se-02"))
    assert target.sidecars[file_id].description == "changed meanwhile"
    assert target.calls.index("SyncCopy") < target.calls.index("Activate")


async def test_starting_twice_answers_the_same_transfer(rig: Rig) -> None:
    file_id = rig.mesh["se-01"].store()
    held = asyncio.Event()
    rig.mesh["se-02"].before["pulled"] = held.wait
    both = await asyncio.gather(*(rig.life.move(file_id, "se-02") for _ in range(5)))
    assert len({one.transfer_id for one in both}) == 1
    assert (await rig.life.move(file_id, "se-03")).transfer_id == both[0].transfer_id
    held.set()
    await rig.completed(both[0])
    # It is there: nothing is to be done, and that again is one transfer.
    done = await rig.life.move(file_id, "se-02")
    assert done.state == pb.TRANSFER_STATE_COMPLETED
    assert (await rig.life.move(file_id, "se-02")).transfer_id == done.transfer_id


async def test_who_waits_for_a_transfer_is_answered_as_soon_as_it_ends(rig: Rig) -> None:
    file_id = rig.mesh["se-01"].store()
    held = asyncio.Event()
    rig.mesh["se-02"].before["pulled"] = held.wait
    begun = await rig.life.move(file_id, "se-02")
    # Nothing has come of it yet: it is answered when the wait is over.
    assert (await rig.life.get(begun.transfer_id, wait_seconds=0.05)).ended_at == Timestamp()
    several = [
        asyncio.create_task(rig.life.get(begun.transfer_id, wait_seconds=9)) for _ in range(3)
    ]
    await asyncio.wait(several, timeout=0.1)
    held.set()
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*several)
    assert {one.state for one in answers} == {pb.TRANSFER_STATE_COMPLETED}
    async with asyncio.timeout(5):
        assert await rig.life.get(begun.transfer_id, wait_seconds=9) == answers[0]


async def test_who_waits_for_a_transfer_is_answered_as_soon_as_it_is_cancelled(rig: Rig) -> None:
    file_id = rig.mesh["se-01"].store()
    rig.mesh["se-02"].before["pulled"] = asyncio.Event().wait
    begun = await rig.life.move(file_id, "se-02")
    waiting = asyncio.create_task(rig.life.get(begun.transfer_id, wait_seconds=9))
    await asyncio.wait({waiting}, timeout=0.1)
    await rig.life.cancel(begun.transfer_id)
    async with asyncio.timeout(5):
        assert (await waiting).state == pb.TRANSFER_STATE_CANCELLED


async def test_a_finalization_makes_the_file_permanent_before_it_is_answered(rig: Rig) -> None:
    source, target = rig.mesh["se-01"], rig.mesh["se-03"]
    file_id = source.store()
    held = asyncio.Event()
    target.before["pulled"] = held.wait
    begun = await rig.life.finalize(file_id, expected_revision=1)
    assert (begun.kind, begun.target_storage_element_id) == (pb.TRANSFER_KIND_FINALIZE, "se-03")
    assert begun.requested_by == "alice"
    assert source.sidecars[file_id].retention_policy is RetentionPolicy.PERMANENT
    assert source.behalf and all(source.behalf)
    held.set()
    done = await rig.completed(begun)
    home = target.sidecars[file_id]
    assert (home.finalized_to, home.revision, home.expires_at) == ("se-03", 3, None)
    assert home.finalized_at is not None
    again = await rig.life.finalize(file_id, expected_revision=1)
    assert again.transfer_id == done.transfer_id


async def test_without_an_element_in_mode_rw_nothing_changes(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        stepping_mesh(se_01="edit", se_02="edit") as mesh,
        rigged(mesh, database_url, tmp_path) as rig,
    ):
        file_id = mesh["se-01"].store()
        before = mesh["se-01"].sidecars[file_id]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await rig.life.finalize(file_id)
        assert refused(error) == (Code.FAILED_PRECONDITION, "NO_ELEMENT")
        assert mesh["se-01"].sidecars[file_id] is before
        assert (await rig.life.list()).total_size == 0


async def test_who_may_move_and_finalize(rig: Rig) -> None:
    file_id = rig.mesh["se-01"].store()
    stub, admin = rig.life.stub, rig.life.admin
    finalize = pb.MoveFileRequest(file_id=file_id, kind=pb.TRANSFER_KIND_FINALIZE)
    for request, who in (
        (pb.MoveFileRequest(file_id=file_id), "alice"),
        (pb.MoveFileRequest(file_id=file_id), "storage-se-01"),
        (finalize, "storage-se-01"),
        (finalize, "alice"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.MoveFile(request, **await admin.as_(who))
        assert refused(error) == (Code.PERMISSION_DENIED, "ROLE_DENIED")
    hers = rig.mesh["se-01"].store(namespace="of others")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rig.life.finalize(hers)
    assert error.value.code() is Code.NOT_FOUND
    moved = await rig.life.move(hers, "se-02")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetTransfer(
            pb.GetTransferRequest(transfer_id=moved.transfer_id), **await admin.as_("alice")
        )
    assert error.value.code() is Code.NOT_FOUND


async def test_what_can_t_be_moved_says_why(rig: Rig) -> None:
    first = rig.mesh["se-01"]
    deleted = first.store()
    first.delete(deleted)
    known = first.store()
    for file_id, target, fields, code, reason in (
        ("0199aaaa-0000-7000-8000-000000000001", "se-02", {}, Code.NOT_FOUND, "NOT_FOUND"),
        (deleted, "se-02", {}, Code.NOT_FOUND, "FILE_DELETED"),
        (known, "se-09", {}, Code.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (known, "se-02", {"expected_revision": 7}, Code.ABORTED, "REVISION_CONFLICT"),
        (
            known,
            "se-02",
            {"kind": pb.TRANSFER_KIND_HEAL},
            Code.INVALID_ARGUMENT,
            "INVALID_ARGUMENT",
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await rig.life.move(file_id, target, **fields)
        assert refused(error) == (code, reason)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rig.life.finalize(known, "se-02")
    assert refused(error) == (Code.FAILED_PRECONDITION, "MODE")


async def test_an_unknown_file_is_not_said_to_be_missing_while_an_element_is_silent(
    rig: Rig,
) -> None:
    async def fail() -> None:
        raise ConnectionError("down")

    rig.mesh["se-02"].before["GetFile"] = fail
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rig.life.move("0199aaaa-0000-7000-8000-000000000001", "se-01")
    assert refused(error) == (Code.UNAVAILABLE, "ELEMENT_UNAVAILABLE")


async def test_cancelled_before_the_source_is_told_it_leaves_nothing(rig: Rig) -> None:
    source, target = rig.mesh["se-01"], rig.mesh["se-02"]
    file_id = source.store()
    arrived = asyncio.Event()

    async def hold_up() -> None:
        arrived.set()
        await asyncio.Event().wait()

    target.after["PullFile"] = hold_up
    begun = await rig.life.move(file_id, "se-02")
    await arrived.wait()
    cancelled = await rig.life.cancel(begun.transfer_id)
    assert cancelled.state == pb.TRANSFER_STATE_CANCELLED
    assert (await rig.life.cancel(begun.transfer_id)) == cancelled
    await until(lambda: target.state(file_id) == "gone")
    assert (source.state(file_id), file_id in target.blobs) == ("active", False)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rig.life.retry(begun.transfer_id)
    assert error.value.code() is Code.FAILED_PRECONDITION
    del target.after["PullFile"]
    await rig.completed(await rig.life.move(file_id, "se-02"))


async def test_it_can_t_be_cancelled_once_the_source_may_know(rig: Rig) -> None:
    source, target = rig.mesh["se-01"], rig.mesh["se-02"]
    file_id = source.store()
    told, go_on = asyncio.Event(), asyncio.Event()

    async def hold_up() -> None:
        told.set()
        await go_on.wait()

    source.before["MarkMoved"] = hold_up
    begun = await rig.life.move(file_id, "se-02")
    await told.wait()
    assert (await rig.life.get(begun.transfer_id)).state == pb.TRANSFER_STATE_SWITCHING
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rig.life.cancel(begun.transfer_id)
    assert error.value.code() is Code.FAILED_PRECONDITION
    go_on.set()
    await rig.completed(begun)
    assert target.state(file_id) == "active"


async def test_after_ten_attempts_it_has_failed_and_may_be_tried_again(rig: Rig) -> None:
    target = rig.mesh["se-02"]
    file_id = rig.mesh["se-01"].store()

    async def fail() -> None:
        raise errors.ResourceExhausted("full")

    target.before["PullFile"] = fail
    begun = await rig.life.move(file_id, "se-02")
    async with admin_database(rig.database_url) as database:

        async def hurried() -> bool:
            await database.execute("UPDATE transfers SET next_attempt_at = now()")
            return (await rig.life.get(begun.transfer_id)).state == pb.TRANSFER_STATE_FAILED

        await until(hurried)
    failed = await rig.life.get(begun.transfer_id)
    assert (failed.attempts, bool(failed.error)) == (10, True)
    # What has come is gone on from.
    assert "Collect" not in target.calls
    del target.before["PullFile"]
    again = await rig.life.retry(begun.transfer_id)
    assert (again.state, again.attempts) == (pb.TRANSFER_STATE_QUEUED, 0)
    done = await rig.completed(again)
    assert await rig.life.retry(done.transfer_id) == done


async def test_a_file_that_is_deleted_on_the_way_is_not_brought_back(rig: Rig) -> None:
    source, target = rig.mesh["se-01"], rig.mesh["se-02"]
    file_id = source.store()

    async def delete() -> None:
        source.delete(file_id)

    target.after["PullFile"] = delete
    failed = await rig.ended(await rig.life.move(file_id, "se-02"))
    assert (failed.state, failed.attempts) == (pb.TRANSFER_STATE_FAILED, 1)
    assert "deleted" in failed.error
    await until(lambda: target.state(file_id) == "gone")
    assert source.state(file_id) == "deleted"


async def broken_off(rig: Rig) -> tuple[str, pb.Transfer]:
    """A file on its way to se-02, which has some of its bytes and comes no further."""
    file_id = rig.mesh["se-01"].store()
    arrived = asyncio.Event()

    async def break_off() -> None:
        arrived.set()
        raise errors.Unavailable("the source is down")

    rig.mesh["se-02"].before["PullFile"] = break_off
    begun = await rig.life.move(file_id, "se-02")
    await arrived.wait()
    return file_id, begun


@pytest.mark.parametrize("ends", ["cancelled", "deleted", "cancelled-for-another"])
async def test_what_has_come_of_a_transfer_that_can_t_go_on_is_given_up_at_its_target(
    rig: Rig, ends: str
) -> None:
    file_id, begun = await broken_off(rig)
    target, refusals = rig.mesh["se-02"], [errors.Unavailable("something may still arrive")]

    async def refuse_once() -> None:
        if refusals:
            raise refusals.pop()

    target.before["Collect"] = refuse_once
    if ends == "deleted":
        rig.mesh["se-01"].delete(file_id)
        assert (await rig.ended(begun)).state == pb.TRANSFER_STATE_FAILED
    else:
        await rig.life.cancel(begun.transfer_id)
    if ends == "cancelled-for-another":
        await rig.completed(await rig.life.move(file_id, "se-03"))
    await until(lambda: target.given_up == [file_id])


async def test_an_element_of_before_that_knows_of_no_giving_up_is_asked_once(rig: Rig) -> None:
    target = rig.mesh["se-02"]
    target.knows_giving_up = False
    _, begun = await broken_off(rig)
    await rig.life.cancel(begun.transfer_id)
    async with admin_database(rig.database_url) as database:

        async def is_tidied() -> bool:
            tidied: bool = await database.fetchval(
                "SELECT tidied FROM transfers WHERE transfer_id = $1", begun.transfer_id
            )
            return tidied

        await until(is_tidied)
    assert target.calls.count("Collect") == 1


async def test_an_activate_whose_answer_was_lost_is_sent_again_and_made_one_home(
    rig: Rig,
) -> None:
    target = rig.mesh["se-02"]
    file_id = rig.mesh["se-01"].store()

    async def lose_it() -> None:
        target.after.pop("Activate")
        raise ConnectionError("lost")

    target.after["Activate"] = lose_it
    moved = await rig.completed(await rig.life.move(file_id, "se-02"))
    assert moved.change_token == "changed.2"
    assert target.sidecars[file_id].revision == 2


async def test_an_element_that_tells_a_home_in_the_future_is_not_believed(rig: Rig) -> None:
    source, target = rig.mesh["se-01"], rig.mesh["se-02"]
    file_id = source.store()
    honest = source.sidecars[file_id]
    target.sidecars[file_id] = replace(honest, home_since=2**63 - 1, namespace="theirs")
    move = await rig.life.move(file_id, "se-02")
    # Its word would have made it the home already, and its namespace the file's.
    assert move.source_storage_element_id == "se-01"
    assert not move.HasField("ended_at")
    assert source.sidecars[file_id].namespace == honest.namespace


async def test_each_step_says_until_when_it_may_be_begun(rig: Rig) -> None:
    await rig.completed(await rig.life.move(rig.mesh["se-01"].store(), "se-02"))
    lives = [*rig.mesh["se-01"].lives, *rig.mesh["se-02"].lives]
    assert set(lives) == {FAST["decisions_live_seconds"] * 7 / 12}


@pytest.mark.parametrize(
    "refusal",
    [errors.StoreReadOnly("read-only"), errors.Aborted("too late", reason="STALE")],
    ids=["read-only", "stale"],
)
async def test_an_activate_refused_for_another_reason_than_the_sidecar_is_sent_as_it_was(
    rig: Rig, refusal: errors.ArtStoreError
) -> None:
    target = rig.mesh["se-02"]
    file_id = rig.mesh["se-01"].store()
    sent: list[int] = []

    async def refuse_once() -> None:
        async with admin_database(rig.database_url) as database:
            sent.append(
                await database.fetchval(
                    "SELECT home_since FROM home_steps WHERE file_id = $1", file_id
                )
            )
        if len(sent) == 1:
            raise refusal

    target.before["Activate"] = refuse_once
    await rig.completed(await rig.life.move(file_id, "se-02"))
    assert len(sent) == 2 and sent[0] == sent[1] == target.sidecars[file_id].home_since


async def test_an_activate_that_did_not_come_through_is_sent_as_it_was(rig: Rig) -> None:
    target = rig.mesh["se-02"]
    file_id = rig.mesh["se-01"].store()
    sent: list[int] = []
    statement = "SELECT home_since FROM home_steps WHERE file_id = $1 AND ended_at IS NULL"

    async def fail_once() -> None:
        async with admin_database(rig.database_url) as database:
            sent.append(await database.fetchval(statement, file_id))
        if len(sent) == 1:
            raise ConnectionError("lost")

    target.before["Activate"] = fail_once
    await rig.completed(await rig.life.move(file_id, "se-02"))
    assert len(sent) == 2 and sent[0] == sent[1] == target.sidecars[file_id].home_since
    async with admin_database(rig.database_url) as database:
        assert await database.fetchval(statement, file_id) is None


async def test_transfers_are_listed_newest_first_in_pages(rig: Rig) -> None:
    files = [rig.mesh["se-01"].store() for _ in range(3)]
    moves = [await rig.completed(await rig.life.move(file_id, "se-02")) for file_id in files]
    first = await rig.life.list(page_size=2)
    assert [one.file_id for one in first.transfers] == files[:0:-1]
    rest = await rig.life.list(page_size=2, page_token=first.next_page_token)
    assert (rest.transfers[0], rest.total_size) == (moves[0], first.total_size)
    # Counted once, not for each page of a list.
    await rig.completed(await rig.life.move(files[0], "se-01"))
    rest = await rig.life.list(page_size=2, page_token=first.next_page_token)
    assert (rest.transfers[0], rest.total_size) == (moves[0], first.total_size)
    await rig.completed(await rig.life.move(files[0], "se-02"))
    moves[0] = (await rig.life.list(page_size=1)).transfers[0]
    states = [pb.TRANSFER_STATE_FAILED]
    assert (await rig.life.list(states=states, file_id=files[0])).total_size == 0
    moved = await rig.life.list(storage_element_id="se-02", file_id=files[0])
    assert moved.transfers[0] == moves[0]
    assert moved.total_size == len(moved.transfers) == 3
    assert (await rig.life.list(storage_element_id="se-03", file_id=files[0])).total_size == 0


async def test_what_was_asked_for_is_in_the_audit(rig: Rig) -> None:
    file_id = rig.mesh["se-01"].store()
    begun = await rig.completed(await rig.life.move(file_id, "se-02"))
    async with admin_database(rig.database_url) as database:
        row = await database.fetchrow(
            "SELECT actor, resource, details->>'transfer_id' AS transfer_id FROM audit_events"
            " WHERE action = 'MoveFile' AND resource = $1",
            file_id,
        )
    assert tuple(row.values()) == ("admin", file_id, begun.transfer_id)


async def test_no_file_is_moved_while_a_follower_does_not_know_files_that_move(rig: Rig) -> None:
    file_id = rig.mesh["se-01"].store()
    await rig.mesh.report_to(rig.life.admin, followers_behind=["query-of-old"])
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rig.life.move(file_id, "se-02")
    assert error.value.code() is Code.FAILED_PRECONDITION
    assert "query-of-old" in (error.value.details() or "")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rig.life.finalize(file_id)
    assert error.value.code() is Code.FAILED_PRECONDITION
    # Names of accounts are an ADMIN's to know.
    assert "query-of-old" not in (error.value.details() or "")
    assert from_rpc_error(error.value).metadata == {}
    await rig.mesh.report_to(rig.life.admin)
    await rig.completed(await rig.life.move(file_id, "se-02"))


async def test_a_server_that_is_no_more_holds_no_move_up(rig: Rig) -> None:
    file_id = rig.mesh["se-01"].store()
    await rig.mesh.report_to(rig.life.admin, followers_behind=["was-deleted", "query-of-old"])
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rig.life.move(file_id, "se-02")
    assert "was-deleted" not in (error.value.details() or "")
    account = {"client_id": "query-of-old"}
    accounts, as_admin = rig.life.admin.accounts, await rig.life.admin.as_("admin")
    await accounts.SuspendServiceAccount(
        accounts_pb2.SuspendServiceAccountRequest(**account), **as_admin
    )
    try:
        await rig.completed(await rig.life.move(file_id, "se-02"))
    finally:
        await accounts.ResumeServiceAccount(
            accounts_pb2.ResumeServiceAccountRequest(**account), **as_admin
        )
