"""Nothing stays of an erased file: no byte, no word, on no element, in no table, under no key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest

from artstore.v1 import (
    lifecycle_pb2,
    storage_pb2,
    transfers_pb2,
    types_pb2,
    uploads_pb2,
)
from storage_server.domain.file_id import new_file_id
from storage_server.domain.sidecar import decode, encode
from tests.integration.feed.admins_hand import AdminsHand
from tests.integration.feed.by_hand import repair
from tests.integration.feed.erasing import REASON, Erasing, header
from tests.integration.feed.small_mesh import SmallMesh
from tests.support.caller import ended
from tests.support.services import PostgresProcess, ValkeyProcess
from tests.support.waiting import until
from tests.support.what_is_left import Search, a_secret

ELEMENTS = ("se-01", "se-02", "se-03")


@pytest.fixture(scope="module")
async def erasing(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresProcess, mesh_valkey: ValkeyProcess
) -> AsyncIterator[Erasing]:
    url = postgres.create_database()
    mesh = SmallMesh(tmp_path_factory.mktemp("mesh"), url, mesh_valkey.url)
    try:
        await start_admin(mesh)
        for number, element_id in enumerate(ELEMENTS, start=1):
            await mesh.start_element(element_id, priority=100 * number)
        await mesh.start_query()
        await mesh.start_ingest()
        yield Erasing(mesh)
    finally:
        await mesh.stop_all()
        postgres.drop_database(url)


async def start_admin(mesh: SmallMesh) -> None:
    """With tables that are new it does not know of homes that are being changed, for so long."""
    await mesh.start_admin(
        decisions_live_seconds=2.6, first_home_step_seconds=2.6, sweep_seconds=0.5
    )


async def test_nothing_stays_of_erased_files_also_where_an_element_was_silent(
    erasing: Erasing, capfd: pytest.CaptureFixture[str]
) -> None:
    mesh = erasing.mesh
    said = [a_secret(label) for label in ("streamed", "resumed", "open")]
    files = [await erasing.streamed(said[0]), await erasing.resumed(said[1])]
    opened = await erasing.resumed(said[2], commit=False)
    for file, one in zip(files, said, strict=False):
        await erasing.update(file, one)
        assert (await erasing.hold(file.file_id, True)).file.legal_hold
        assert (await ended(erasing.erase(file.file_id))).reason == "LEGAL_HOLD"
        await erasing.hold(file.file_id, False)
    await mesh.agree()
    there = await erasing.left(*said)
    tables = ("file_registry", "file_metadata_cache", "storage_elem_01_uploads")
    assert {f"table {name}" for name in tables} <= there.keys()
    assert any(place.startswith("key artstore:request:") for place in there)

    home = files[0].storage_element_id
    silent = next(one for one in ELEMENTS if one not in (home, opened.storage_element_id))
    await mesh.stop(silent)
    open_file = await _file_of(mesh, opened)
    answers = [await erasing.erase(one) for one in (*(f.file_id for f in files), open_file)]
    for answer in answers:
        assert len(answer.storage_element_ids) >= 2
        assert silent not in answer.storage_element_ids
        assert answer.operation.error == f"waits for {silent}"
    assert files[0].file_id not in {file.file_id for file in await _found(mesh)}
    assert (await ended(mesh.elements[home].get(files[0].file_id))).reason == "NOT_FOUND"
    assert (await ended(mesh.elements[opened.storage_element_id].commit_upload(opened))).code is (
        grpc.StatusCode.NOT_FOUND
    )
    again = await erasing.erase(files[0].file_id)
    assert again.operation.operation_id == answers[0].operation.operation_id

    await mesh.start_element(silent)
    for answer in answers:
        await until(lambda one=answer: erasing.is_done(one.operation.operation_id), 30)
    await until(lambda: erasing.quiet(*said), 20)
    assert Search(*said).tells("".join(capfd.readouterr()).encode()) == set()


@pytest.mark.full
async def test_nothing_stays_of_a_file_that_moved_before_it_was_erased(erasing: Erasing) -> None:
    mesh, said = erasing.mesh, a_secret("moved")
    file = await erasing.streamed(said)
    source = file.storage_element_id
    target = next(one for one in ELEMENTS[:2] if one != source)
    await erasing.move(file.file_id, target)
    for one in (source, target):
        assert list(mesh.rigs[one].root.rglob(f"*{file.file_id}*"))
    answer = await erasing.erase(file.file_id)
    assert {source, target} <= set(answer.storage_element_ids)
    await until(lambda: erasing.is_done(answer.operation.operation_id), 20)
    await until(lambda: erasing.quiet(said), 20)


async def test_an_erased_file_is_erased_to_whoever_would_hold_it(erasing: Erasing) -> None:
    mesh = erasing.mesh
    erased, deleted = [await erasing.streamed(a_secret(label)) for label in ("gone", "trash")]
    answer = await erasing.erase(erased.file_id)
    await mesh.elements[deleted.storage_element_id].call(
        "DeleteFile", storage_pb2.DeleteFileRequest(file_id=deleted.file_id)
    )
    await mesh.agree()
    for held in (True, False):
        refused = await ended(erasing.hold(erased.file_id, held))
        assert (refused.reason, "erased" in refused.text) == ("NOT_FOUND", True)
        assert (await ended(erasing.hold(deleted.file_id, held))).reason == "FILE_DELETED"
    long = lifecycle_pb2.SetLegalHoldRequest(file_id=deleted.file_id, reason="x" * 201)
    refused = await ended(erasing.life.SetLegalHold(long, **erasing.call))
    assert "a reason has at most 200 bytes" in refused.text
    await until(lambda: erasing.is_done(answer.operation.operation_id), 20)


async def test_nothing_ends_a_held_file_and_the_hold_moves_with_it(erasing: Erasing) -> None:
    mesh = erasing.mesh
    file = await erasing.streamed(a_secret("held"))
    target = next(one for one in ELEMENTS[:2] if one != file.storage_element_id)
    await erasing.hold(file.file_id, True)
    await erasing.move(file.file_id, target)
    node = mesh.elements[target]
    (path,) = node.rig.root.rglob(f"*{file.file_id}*.attr.json")
    expired = replace(decode(path.read_bytes()), expires_at=datetime.now(UTC) - timedelta(days=2))
    path.write_bytes(encode(expired))
    await repair(node)

    assert (await node.get(file.file_id)).legal_hold
    delete = storage_pb2.DeleteFileRequest(file_id=file.file_id)
    assert (await ended(node.call("DeleteFile", delete))).reason == "LEGAL_HOLD"
    admin = await AdminsHand.of(mesh)
    digest = (await admin.look(target, file.file_id)).digest
    collect = transfers_pb2.CollectRequest(
        condition=admin.condition(file.file_id, digest),
        step=transfers_pb2.COLLECT_STEP_TO_DELETED,
    )
    assert (await ended(admin.take(target, "Collect", collect))).reason == "LEGAL_HOLD"
    assert (await ended(erasing.erase(file.file_id))).reason == "LEGAL_HOLD"
    assert (await node.get(file.file_id)).state == types_pb2.FILE_STATE_ACTIVE


async def _found(mesh: SmallMesh) -> list[types_pb2.File]:
    return [result.file for result in (await mesh.search()).results]


async def _file_of(mesh: SmallMesh, opened: Any) -> str:
    connection = await asyncpg.connect(mesh.database_url)
    try:
        uploads = mesh.tables(opened.storage_element_id).uploads
        found: str = await connection.fetchval(
            f"SELECT file_id FROM {uploads} WHERE upload_id = $1", opened.upload_id
        )
    finally:
        await connection.close()
    return found


async def test_a_file_that_nobody_knows_is_erased_by_who_reaches_all(erasing: Erasing) -> None:
    file_id = new_file_id(datetime.now(UTC))
    answer = await erasing.erase(file_id, operation_id="case-1")
    assert list(answer.storage_element_ids) == list(ELEMENTS)
    await until(lambda: erasing.is_done("case-1"), 20)
    for wrong in ("", "no id"):
        assert (await ended(erasing.erase(wrong))).code is grpc.StatusCode.INVALID_ARGUMENT
    request = lifecycle_pb2.EraseFileRequest(file_id=file_id)
    refused = await ended(erasing.life.EraseFile(request, **erasing.call))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_two_calls_at_a_time_erase_once(erasing: Erasing) -> None:
    file = await erasing.streamed(a_secret("twice"))
    both = await asyncio.gather(erasing.erase(file.file_id), erasing.erase(file.file_id))
    assert len({answer.operation.operation_id for answer in both}) == 1


async def test_a_hold_reaches_copies_and_names_those_that_are_silent(erasing: Erasing) -> None:
    mesh = erasing.mesh
    file = await erasing.streamed(a_secret("copied"))
    home, other = file.storage_element_id, "se-02"
    assert home != other
    root, elsewhere = mesh.rigs[home].root, mesh.rigs[other].root
    for path in root.rglob(f"*{file.file_id}*"):
        target = elsewhere / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes()
        if path.name.endswith(".attr.json"):
            copy = target
            content = content.replace(b'"state":"active"', b'"state":"copy"')
        target.write_bytes(content)

    assert not (await erasing.hold(file.file_id, True)).silent_storage_element_ids
    assert b'"legal_hold":true' in copy.read_bytes()
    await until(lambda: _registered(mesh, file.file_id, other), 20)
    await mesh.stop(other)
    answer = await erasing.hold(file.file_id, False)
    assert list(answer.silent_storage_element_ids) == [other]
    assert b'"legal_hold":true' in copy.read_bytes()
    await mesh.start_element(other)
    await until(lambda: not copy.exists() or b'"legal_hold":false' in copy.read_bytes(), 20)


async def _registered(mesh: SmallMesh, file_id: str, element_id: str) -> bool:
    connection = await asyncpg.connect(mesh.admin_url)
    try:
        return bool(
            await connection.fetchval(
                "SELECT true FROM file_registry WHERE file_id = $1 AND storage_element_id = $2"
                " AND legal_hold",
                file_id,
                element_id,
            )
        )
    finally:
        await connection.close()


async def test_where_no_sidecar_is_an_upload_under_way_is_forgotten_too(erasing: Erasing) -> None:
    mesh, said = erasing.mesh, a_secret("begun past ingest")
    # Not one of the two that are asked to be witnesses first.
    node = mesh.elements[ELEMENTS[-1]]
    opened = await node.call("StartUpload", uploads_pb2.StartUploadRequest(header=header(said)))
    await node.write_upload(opened, said.content)
    assert await erasing.left(said)
    answer = await erasing.erase(await _file_of(mesh, opened))
    await until(lambda: erasing.is_done(answer.operation.operation_id), 20)
    assert await erasing.left(said) == {}


async def test_within_a_switch_both_its_ends_are_erased(erasing: Erasing) -> None:
    mesh, said = erasing.mesh, a_secret("switching")
    file = await erasing.streamed(said)
    source, target = file.storage_element_id, "se-02"
    admin = await AdminsHand.of(mesh)
    seen = await admin.look(source, file.file_id)
    ticket = admin.ticket(seen.file, source, target)
    async for _ in admin.pull(target, ticket, admin.condition(file.file_id, "")):
        pass
    mark = transfers_pb2.MarkMovedRequest(
        condition=admin.condition(file.file_id, seen.digest), moved_to=target
    )
    await admin.take(source, "MarkMoved", mark)
    answer = await erasing.erase(file.file_id)
    assert {source, target} <= set(answer.storage_element_ids)
    await until(lambda: erasing.quiet(said), 20)


async def test_a_pull_under_way_leaves_no_byte_of_what_is_erased(erasing: Erasing) -> None:
    mesh, said = erasing.mesh, a_secret("pulled", 24 << 20)
    file = await erasing.streamed(said)
    admin = await AdminsHand.of(mesh)
    ticket = admin.ticket(file, file.storage_element_id, "se-03")

    async def pull() -> None:
        with suppress(grpc.aio.AioRpcError):
            async for _ in admin.pull("se-03", ticket, admin.condition(file.file_id, "")):
                begun.set()

    begun = asyncio.Event()
    pulling = asyncio.create_task(pull())
    await asyncio.wait(
        {pulling, asyncio.ensure_future(begun.wait())}, return_when="FIRST_COMPLETED"
    )
    answer = await erasing.erase(file.file_id)
    await pulling
    await until(lambda: erasing.is_done(answer.operation.operation_id), 20)
    await until(lambda: erasing.quiet(said), 20)


async def test_an_erasure_that_a_killed_admin_had_begun_goes_on(erasing: Erasing) -> None:
    mesh, said = erasing.mesh, a_secret("begun")
    file = await erasing.streamed(said)
    admin = await AdminsHand.of(mesh)
    seen = await admin.look(file.storage_element_id, file.file_id)
    request = transfers_pb2.EraseRequest(
        condition=admin.condition(file.file_id, seen.digest), reason=REASON, requested_by="admin"
    )
    # Nothing of it is in admin's own tables.
    await admin.take(file.storage_element_id, "Erase", request)
    operation_id = f"erase-{file.file_id}"
    await until(lambda: _is_done_if_known(erasing, operation_id), 20)
    await until(lambda: erasing.quiet(said), 20)


async def _is_done_if_known(erasing: Erasing, operation_id: str) -> bool:
    try:
        return await erasing.is_done(operation_id)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND
        return False


@pytest.mark.full
async def test_what_is_held_where_it_was_silent_is_a_finding_until_it_is_released(
    erasing: Erasing,
) -> None:
    mesh, said = erasing.mesh, a_secret("held elsewhere")
    file = await erasing.streamed(said)
    home, other = mesh.rigs[file.storage_element_id].root, mesh.rigs["se-02"].root
    await mesh.stop("se-02")
    for path in home.rglob(f"*{file.file_id}*"):
        target = other / path.relative_to(home)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        if path.name.endswith(".attr.json"):
            held = replace(decode(path.read_bytes()), legal_hold=True, revision=9)
            target.write_bytes(encode(held))
    answer = await erasing.erase(file.file_id)
    await mesh.start_element("se-02")
    await repair(mesh.elements["se-02"])
    await until(lambda: erasing.held_findings(file.file_id), 20)
    ((elements, detail),) = await erasing.held_findings(file.file_id)
    assert "se-02" in elements and "legal hold on se-02" in detail
    assert (await mesh.elements["se-02"].get(file.file_id)).legal_hold

    await erasing.hold(file.file_id, False)
    await until(lambda: erasing.is_done(answer.operation.operation_id), 20)
    assert await erasing.held_findings(file.file_id) == []
    await until(lambda: erasing.quiet(said), 20)


@pytest.mark.full
async def test_an_erased_file_is_erased_again_wherever_it_comes_back(erasing: Erasing) -> None:
    # The last one: what starts again has another port.
    mesh = erasing.mesh
    said = a_secret("put back")
    file = await erasing.streamed(said)
    root = mesh.rigs[file.storage_element_id].root
    backup = {path: path.read_bytes() for path in root.rglob(f"*{file.file_id}*")}
    answer = await erasing.erase(file.file_id)
    await until(lambda: erasing.is_done(answer.operation.operation_id), 20)
    other = next(one for one in ELEMENTS if one != file.storage_element_id)
    elsewhere = mesh.rigs[other].root

    # Admin loses what it knows; another store is put back as it was before, with the file.
    await mesh.stop("admin")
    connection = await asyncpg.connect(mesh.admin_url)
    await connection.execute("DELETE FROM erasures")
    await connection.close()
    for path in list(elsewhere.rglob(f"*{file.file_id}*")):
        path.unlink()
    for path, content in backup.items():
        target = elsewhere / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    await mesh.stop(other)
    await start_admin(mesh)
    for one in ELEMENTS:
        if one != other:
            await mesh.stop(one)
            await mesh.start_element(one)
    await repair(await mesh.start_element(other))
    await until(lambda: erasing.quiet(said), 30)
