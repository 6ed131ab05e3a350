"""What FinalizeFile may move, what it answers when it is repeated, and where it goes instead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import lifecycle_pb2 as pb
from mesh import errors
from mesh.calls.status import from_rpc_error
from mesh.contract import CALLER_KEY, REQUEST_ID_KEY
from storage_server.domain.sidecar import RetentionPolicy
from tests.integration.admin.transfers import ENDED, FAST, Lifecycle, register
from tests.support.running_admin import (
    EVERYBODY,
    OTHER_ELEMENTS,
    admin_database,
    bearer,
    grown_old,
    running_admin,
)
from tests.support.stepping_elements import Mesh, stepping_mesh
from tests.support.waiting import until

ACCOUNTS = (*EVERYBODY, *OTHER_ELEMENTS)
KEPT: dict[str, Any] = {"retention_policy": RetentionPolicy.PERMANENT, "expires_at": None}
Running = tuple[Mesh, Lifecycle]


@asynccontextmanager
async def running(
    database_url: str, folder: Path, *, modes: dict[str, str], **changes: object
) -> AsyncIterator[Running]:
    async with (
        stepping_mesh(**modes) as mesh,
        running_admin(database_url, folder, accounts=ACCOUNTS, **{**FAST, **changes}) as admin,
    ):
        await grown_old(database_url)
        await mesh.report_to(admin)
        yield mesh, Lifecycle(admin)


async def ended(life: Lifecycle, transfer: pb.Transfer) -> pb.Transfer:
    async def has_ended() -> bool:
        return (await life.get(transfer.transfer_id)).state in ENDED

    await until(has_ended)
    return await life.get(transfer.transfer_id)


async def hurried(database_url: str, life: Lifecycle, transfer: pb.Transfer) -> pb.Transfer:
    """To its end, without the pauses between attempts."""
    async with admin_database(database_url) as database:

        async def has_ended() -> bool:
            await database.execute(
                "UPDATE transfers SET next_attempt_at = now() WHERE ended_at IS NULL"
                " AND leased_until IS NULL"
            )
            return (await life.get(transfer.transfer_id)).state in ENDED

        await until(has_ended, 20.0)
    return await life.get(transfer.transfer_id)


def failing(error: errors.ArtStoreError) -> Callable[[], Any]:
    async def fail() -> None:
        raise error

    return fail


async def test_a_permanent_file_leaves_no_element_but_one_in_mode_edit(
    database_url: str, tmp_path: Path
) -> None:
    modes = {"se_01": "ro", "se_02": "ar", "se_03": "rw", "se_04": "rw"}
    async with running(database_url, tmp_path, modes=modes) as (mesh, life):
        for element_id, target in (
            ("se-01", ""),
            ("se-01", "se-03"),
            ("se-02", ""),
            ("se-02", "se-03"),
            ("se-03", "se-04"),
        ):
            file_id = mesh[element_id].store(**KEPT)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await life.finalize(file_id, target)
            assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert from_rpc_error(error.value).reason == "MODE"
            assert mesh[element_id].state(file_id) == "active"
        file_id = mesh["se-03"].store(**KEPT)
        for target in ("", "se-03"):
            assert (await life.finalize(file_id, target)).state == pb.TRANSFER_STATE_COMPLETED
        assert mesh["se-03"].calls == []


@pytest.mark.full
async def test_a_finalization_that_found_no_room_goes_elsewhere(
    database_url: str, tmp_path: Path
) -> None:
    modes = {"se_01": "edit", "se_02": "rw", "se_03": "rw"}
    async with running(database_url, tmp_path, modes=modes) as (mesh, life):
        mesh["se-02"].refusing = errors.ResourceExhausted("full", reason="NO_SPACE")
        file_id, named = mesh["se-01"].store(), mesh["se-01"].store()
        moved = await ended(life, await life.finalize(file_id))
        assert (moved.state, moved.target_storage_element_id) == (
            pb.TRANSFER_STATE_COMPLETED,
            "se-03",
        )
        # Who named the element is told, and may name another one then.
        failed = await hurried(database_url, life, await life.finalize(named, "se-02"))
        assert failed.state == pb.TRANSFER_STATE_FAILED
        again = await ended(life, await life.finalize(named, "se-03"))
        assert again.state == pb.TRANSFER_STATE_COMPLETED
        assert again.transfer_id != failed.transfer_id
        assert mesh["se-03"].state(named) == "active"


async def test_a_finalization_is_answered_as_done_only_while_it_is_true(
    database_url: str, tmp_path: Path
) -> None:
    modes = {"se_01": "edit", "se_02": "rw"}
    async with running(database_url, tmp_path, modes=modes) as (mesh, life):
        file_id, lost = mesh["se-01"].store(), mesh["se-01"].store()
        backup = mesh["se-01"].sidecars[lost]
        done = await ended(life, await life.finalize(file_id))
        assert (await life.finalize(file_id)).transfer_id == done.transfer_id
        mesh["se-02"].delete(file_id)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await life.finalize(file_id)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        first = await ended(life, await life.finalize(lost))
        del mesh["se-02"].sidecars[lost]
        mesh["se-01"].sidecars[lost] = backup
        second = await ended(life, await life.finalize(lost))
        assert second.transfer_id != first.transfer_id
        assert mesh["se-02"].state(lost) == "active"


@pytest.mark.full
async def test_after_a_move_elsewhere_a_failed_finalization_is_begun_anew(
    database_url: str, tmp_path: Path
) -> None:
    modes = {"se_01": "edit", "se_02": "edit", "se_03": "rw"}
    async with running(database_url, tmp_path, modes=modes) as (mesh, life):
        mesh["se-03"].refusing = errors.ResourceExhausted("full", reason="NO_SPACE")
        file_id = mesh["se-01"].store()
        failed = await hurried(database_url, life, await life.finalize(file_id))
        assert failed.state == pb.TRANSFER_STATE_FAILED
        mesh["se-03"].refusing = None
        await ended(life, await life.move(file_id, "se-02"))
        done = await ended(life, await life.finalize(file_id))
        assert (done.state, done.source_storage_element_id) == (
            pb.TRANSFER_STATE_COMPLETED,
            "se-02",
        )


@pytest.mark.full
async def test_a_file_that_expired_long_ago_is_moved_like_any_other(
    database_url: str, tmp_path: Path
) -> None:
    modes = {"se_01": "edit", "se_02": "edit"}
    async with running(database_url, tmp_path, modes=modes) as (mesh, life):
        file_id = mesh["se-01"].store(expires_at=datetime.now(UTC) - timedelta(days=3))
        moved = await hurried(database_url, life, await life.move(file_id, "se-02"))
        assert moved.state == pb.TRANSFER_STATE_COMPLETED, moved.error
        assert mesh["se-02"].state(file_id) == "active"


async def test_a_service_account_finalizes_its_files(database_url: str, tmp_path: Path) -> None:
    modes = {"se_01": "edit", "se_02": "rw"}
    async with running(database_url, tmp_path, modes=modes) as (mesh, life):
        file_id = mesh["se-01"].store()
        answer = await life.stub.MoveFile(
            pb.MoveFileRequest(file_id=file_id, kind=pb.TRANSFER_KIND_FINALIZE),
            metadata=(
                *bearer(await life.admin.issue("storage-se-01")),
                (CALLER_KEY, await life.admin.issue("storage-se-02")),
            ),
        )
        assert (await ended(life, answer.transfer)).state == pb.TRANSFER_STATE_COMPLETED


@pytest.mark.full
async def test_a_move_that_is_repeated_by_the_same_request_is_answered(
    database_url: str, tmp_path: Path
) -> None:
    modes = {"se_01": "edit", "se_02": "edit"}
    async with running(database_url, tmp_path, modes=modes) as (mesh, life):
        file_id = mesh["se-01"].store()

        async def move(request_id: str) -> pb.Transfer:
            answer = await life.stub.MoveFile(
                pb.MoveFileRequest(file_id=file_id),
                metadata=(*bearer(await life.admin.issue("admin")), (REQUEST_ID_KEY, request_id)),
            )
            return await ended(life, answer.transfer)

        first = await move("once")
        assert await move("once") == first
        assert (await move("twice")).target_storage_element_id == "se-01"


async def test_a_finalization_that_was_given_up_in_its_switch_ends_as_one(
    database_url: str, tmp_path: Path
) -> None:
    modes = {"se_01": "edit", "se_02": "rw"}
    async with running(database_url, tmp_path, modes=modes) as (mesh, life):
        file_id = mesh["se-01"].store()
        mesh["se-02"].before["Activate"] = failing(errors.Unavailable("down"))
        failed = await hurried(database_url, life, await life.finalize(file_id))
        assert failed.state == pb.TRANSFER_STATE_FAILED
        assert mesh["se-01"].state(file_id) == "moved"
        async with admin_database(database_url) as database:
            await database.execute("DELETE FROM home_steps")
        mesh["se-02"].before.clear()
        await register(database_url, mesh, file_id)
        await until(lambda: mesh["se-02"].state(file_id) == "active")
        home = mesh["se-02"].sidecars[file_id]
        assert (home.finalized_to, home.finalized_at is not None) == ("se-02", True)
        done = await ended(life, await life.finalize(file_id))
        assert (done.transfer_id, done.state) == (
            failed.transfer_id,
            pb.TRANSFER_STATE_COMPLETED,
        )
