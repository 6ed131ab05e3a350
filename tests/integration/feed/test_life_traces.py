"""What broke an earlier form of the rules, on a real admin, real elements and real stores.

All eleven traces are walked in the model (`tests/unit/life/test_traces.py`); `docs/correctness.md`
says which test here is which, and what waits for the life of elements.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest

from admin_server.life.homes import HomeSteps
from admin_server.life.seen import CopyState
from admin_server.life.steps import Activate
from artstore.v1 import lifecycle_pb2 as pb
from artstore.v1 import storage_pb2, transfers_pb2, types_pb2
from storage_server.domain.sidecar import FileState, encode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.integration.feed.admins_hand import AdminsHand
from tests.integration.feed.by_hand import repair
from tests.integration.feed.living import STEPS_LIVE_SECONDS, Living, living_mesh
from tests.support.caller import ended
from tests.support.services import PostgresProcess, ValkeyProcess
from tests.support.waiting import until


@pytest.fixture(scope="module")
async def living(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresProcess, mesh_valkey: ValkeyProcess
) -> AsyncIterator[Living]:
    url = postgres.create_database()
    async with living_mesh(tmp_path_factory.mktemp("living"), url, mesh_valkey.url) as found:
        yield found
    postgres.drop_database(url)


async def pulled(living: Living, admin: AdminsHand, file: types_pb2.File) -> Any:
    """From se-01 to se-02, as a transfer does it; how it lies there."""
    ticket = admin.ticket(file, "se-01", "se-02")
    async for _ in admin.pull("se-02", ticket, admin.condition(file.file_id, "")):
        pass
    return await admin.look("se-02", file.file_id)


async def marked_moved(living: Living, admin: AdminsHand, file_id: str) -> None:
    seen = await admin.look("se-01", file_id)
    request = transfers_pb2.MarkMovedRequest(
        condition=admin.condition(file_id, seen.digest), moved_to="se-02"
    )
    await admin.take("se-01", "MarkMoved", request)


async def reason_of(call: Any) -> str:
    return (await ended(call)).reason


async def test_a_file_that_is_deleted_where_it_went_goes_where_it_was_and_stays_gone(
    living: Living,
) -> None:
    file = await living.stored()
    await living.moved(file.file_id, "se-02")
    assert living.letters(file.file_id) == "M A -"
    await living.delete("se-02", file.file_id)
    passed = await living.becomes(file.file_id, "- - -")
    assert all(letters[0] in "MG-" for letters in passed)
    for element_id in ("se-01", "se-02"):
        assert living.paths(element_id, file.file_id) == []
        await repair(living[element_id], "RebuildCache")
        assert await reason_of(living[element_id].get(file.file_id)) == "NOT_FOUND"
    await living.stays(file.file_id, "- - -")


@pytest.mark.full
async def test_a_source_is_not_undeleted_before_its_day_is_over_nor_after(living: Living) -> None:
    file = await living.stored()
    await living.moved(file.file_id, "se-02")
    undelete = storage_pb2.UndeleteFileRequest(file_id=file.file_id)
    assert await reason_of(living["se-01"].call("UndeleteFile", undelete)) == "MOVED"
    await living.day_is_over("se-01", file.file_id)
    await living.becomes(file.file_id, "G A -")
    assert await reason_of(living["se-01"].call("UndeleteFile", undelete)) == "MOVED"
    assert living.letters(file.file_id) == "G A -"
    assert [path.suffix for path in living.paths("se-01", file.file_id)] == [".json"]


@pytest.mark.full
async def test_a_source_that_was_away_is_no_home_though_nothing_tells_where_its_file_went(
    living: Living,
) -> None:
    file = await living.stored()
    await living.moved(file.file_id, "se-03")
    await living.mesh.stop("se-01")
    await living.moved(file.file_id, "se-02")
    assert living.letters(file.file_id) == "M A M"
    await living.day_is_over("se-03", file.file_id)
    await living.becomes(file.file_id, "M A G")
    await living.delete("se-02", file.file_id)
    await living.stays(file.file_id, "M D G")  # Nothing is forgotten while se-01 is silent.
    for path in living.paths("se-03", file.file_id):
        path.unlink()
    await repair(living["se-03"], "RebuildCache")
    await living.mesh.stop("se-02")
    await living.back("se-01")
    await living.stays(file.file_id, "M D -")
    assert await reason_of(living.update("se-01", file.file_id, "mine")) == "MOVED"
    await living.back("se-02")
    await living.becomes(file.file_id, "- - -")


@pytest.mark.full
async def test_a_store_restored_to_before_its_file_moved_yields_without_a_person(
    living: Living,
) -> None:
    file = await living.stored()
    backup = living.backed_up("se-01", file.file_id)
    await living.moved(file.file_id, "se-02")
    await living.day_is_over("se-01", file.file_id)
    await living.becomes(file.file_id, "G A -")
    later = await living.update("se-02", file.file_id, "later")
    await living.mesh.caught_up()
    await living.restored("se-01", file.file_id, backup)
    passed = await living.becomes(file.file_id, "G A -")
    assert passed[0][0] in "ACG"
    home = await living["se-02"].get(file.file_id)
    assert (home.description, home.revision) == ("later", later.revision)
    assert await living["se-02"].download(file.file_id) == b"some bytes"


@pytest.mark.full
async def test_a_file_that_is_deleted_while_it_is_pulled_is_nowhere_in_the_end(
    living: Living,
) -> None:
    admin = await AdminsHand.of(living.mesh)
    file = (await living["se-01"].upload(b"x" * 2**22)).file
    pull = asyncio.create_task(pulled(living, admin, file))
    await living.delete("se-01", file.file_id)
    await asyncio.wait({pull})
    assert pull.exception() is None or isinstance(pull.exception(), grpc.aio.AioRpcError)
    assert living.letters(file.file_id)[0] == "D"
    passed = await living.becomes(file.file_id, "- - -")
    assert all(letters[2] in "IG-" for letters in passed)


@pytest.mark.full
async def test_a_target_restored_to_when_its_file_was_on_the_way_becomes_its_home_again(
    living: Living,
) -> None:
    file = await living.stored()
    admin = await AdminsHand.of(living.mesh)
    await pulled(living, admin, file)
    backup = living.backed_up("se-02", file.file_id)
    await living.moved(file.file_id, "se-02")
    await living.restored("se-02", file.file_id, backup)
    await living.becomes(file.file_id, "M A -", "A G -")
    (home,) = [one for one in ("se-01", "se-02") if _is_home(living, one, file.file_id)]
    assert await living[home].download(file.file_id) == b"some bytes"
    assert (await living[home].get(file.file_id)).description == "first"


@pytest.mark.full
async def test_a_target_restored_in_the_midst_of_a_switch_is_no_home_with_its_old_text(
    living: Living,
) -> None:
    """It has the bytes and an earlier text."""
    file = await living.stored()
    admin = await AdminsHand.of(living.mesh)
    async with living.nothing_swept():
        there = await pulled(living, admin, file)
        backup = living.backed_up("se-02", file.file_id)
        await living.update("se-01", file.file_id, "acknowledged")
        home = await admin.look("se-01", file.file_id)
        sync = transfers_pb2.SyncCopyRequest(
            condition=admin.condition(file.file_id, there.digest), home=home.file
        )
        await admin.take("se-02", "SyncCopy", sync)
        await marked_moved(living, admin, file.file_id)
        await living.restored("se-02", file.file_id, backup)
        restored = living.sidecar("se-02", file.file_id)
        assert restored is not None
        assert (living.letters(file.file_id), restored.description) == ("M I -", "first")
    await living.becomes(file.file_id, "M A -", "A G -")
    (element_id,) = [one for one in ("se-01", "se-02") if _is_home(living, one, file.file_id)]
    assert (await living[element_id].get(file.file_id)).description == "acknowledged"


def _is_home(living: Living, element_id: str, file_id: str) -> bool:
    found = living.sidecar(element_id, file_id)
    return found is not None and found.state is FileState.ACTIVE


@pytest.mark.full
async def test_an_admin_restored_to_before_an_erasure_erases_what_was_down_meanwhile(
    living: Living,
) -> None:
    mesh = living.mesh
    file = await living.stored()
    await living.moved(file.file_id, "se-02")
    admins = mesh.admin_url.rpartition("/")[2]
    await mesh.stop("se-01")
    await mesh.stop("admin")
    await living.copied_database(f"{admins}_backup", admins)
    await living.start_admin()
    request = pb.EraseFileRequest(file_id=file.file_id, reason="case 1")

    async def erased() -> bool:
        try:
            answer = await living.life.EraseFile(request, **living.call)
        except grpc.aio.AioRpcError:
            return False  # It has only started.
        return set(answer.storage_element_ids) == {"se-02", "se-03"}

    await until(erased, 30)
    assert living.letters(file.file_id) == "M E E"
    await mesh.stop("admin")
    await living.copied_database(admins, f"{admins}_backup")
    await living.start_admin()
    await living.back("se-01")
    await living.becomes(file.file_id, "E E E")
    assert [path.name for path in living.paths("se-01", file.file_id)] == [
        path.name for path in living.paths("se-02", file.file_id)
    ]


async def test_while_one_home_is_made_no_other_is_and_nothing_is_erased(living: Living) -> None:
    """As when an admin was killed that had just sent it."""
    file = await living.stored()
    admin = await AdminsHand.of(living.mesh)
    async with living.nothing_swept(), living.tables() as database:
        await pulled(living, admin, file)
        await marked_moved(living, admin, file.file_id)
        sent = Activate(
            element_id="se-03",
            digest="d",
            home_since=int(time.time() * 1000),
            revision=None,
            state=CopyState.ACTIVE,
        )
        homes = HomeSteps(database, start_delay_seconds=0, life_seconds=2 * STEPS_LIVE_SECONDS)
        on_record = await homes.of(file.file_id)
        await homes.begin(file.file_id, sent, on_record=on_record)
        over = time.monotonic() + 2 * STEPS_LIVE_SECONDS
    request = pb.EraseFileRequest(file_id=file.file_id, reason="case 2")
    refused = await ended(living.life.EraseFile(request, **living.call))
    assert refused.reason == "SWITCHING", refused
    while living.letters(file.file_id) == "M I -":
        await asyncio.sleep(0.02)
        assert time.monotonic() < over + 20
    assert time.monotonic() >= over
    assert living.letters(file.file_id) == "M A -"


async def test_a_file_moves_to_the_element_that_has_a_copy_without_its_bytes(
    living: Living,
) -> None:
    file = await living.stored()
    blobs = _laid_as_copy(living, file.file_id)
    for element_id in ("se-01", "se-02"):
        await repair(living[element_id], "RebuildCache")
    await living.mesh.caught_up()
    assert living.letters(file.file_id) == "A C -"
    refused = await ended(living.change("se-02", file.file_id, "on a copy"))
    assert refused.reason == "NOT_HOME"
    assert f"`artstore explain {file.file_id}`" in refused.text
    await living.moved(file.file_id, "se-02")
    assert living.letters(file.file_id) == "M A -"
    assert [path.stat().st_ino for path in blobs] == list(blobs.values())
    assert await living["se-02"].download(file.file_id) == b"some bytes"


@pytest.mark.parametrize("kind", ["move", pytest.param("finalize", marks=pytest.mark.full)])
async def test_a_repeated_request_answers_the_file_where_it_went_and_change_tokens_come_true(
    living: Living, mesh_valkey: ValkeyProcess, kind: str
) -> None:
    mesh, request_id = living.mesh, f"repeated-{kind}"
    # A test before may have stopped it: what is not pinned there is known to its element alone.
    await until(lambda: living.pins(mesh_valkey), 30)
    stored = await living.put(request_id)
    file_id = stored.file.file_id
    assert stored.file.storage_element_id == "se-01"
    changed = await living.change("se-01", file_id, "changed")
    if kind == "move":
        home, transfer = "se-02", await living.moved(file_id, "se-02")
    else:
        home, transfer = "se-03", await living.finalized(file_id)
    there = await living.change(home, file_id, "and there")
    for tokens in (
        [stored.change_token, changed.change_token, transfer.change_token],
        [there.change_token],
        [transfer.change_token, there.change_token],
    ):
        page = await mesh.search(request_id, min_change_tokens=tokens)
        (found,) = [result.file for result in page.results]
        assert (found.file_id, found.storage_element_id) == (file_id, home)
    assert found.description == "and there"

    async def repeats_answer_it() -> None:
        for answer in (await living.put(request_id), await living.put(request_id, resumably=True)):
            assert (answer.file.file_id, answer.file.storage_element_id) == (file_id, home)
        for element_id in ("se-01", home):
            assert await living.known_at(element_id, request_id) == file_id

    await repeats_answer_it()
    await living.day_is_over("se-01", file_id)
    stub = "G A -" if home == "se-02" else "G - A"
    await living.becomes(file_id, stub)
    await repeats_answer_it()
    for element_id in ("se-01", home):
        await mesh.stop(element_id)
        await living.without_tables(element_id)
        await mesh.start_element(element_id)
        assert await living.known_at(element_id, request_id) == file_id
        await until(lambda: _reached(repeats_answer_it), 30)
    mesh_valkey.flush()
    await repeats_answer_it()
    mesh_valkey.stop()
    try:
        await repeats_answer_it()
    finally:
        mesh_valkey.start()
    assert living.letters(file_id) == stub
    assert living.files_of(request_id) == {file_id}


async def _reached(work: Callable[[], Awaitable[None]]) -> bool:
    """Whether all that it asks had been heard of again; it may fail in no other way."""
    try:
        await work()
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        return False
    return True


def _laid_as_copy(living: Living, file_id: str) -> dict[Any, int]:
    """Of what is on se-01, on se-02, as if two were wanted; the blobs there, and their inodes."""
    root, elsewhere = living.mesh.rigs["se-01"].root, living.mesh.rigs["se-02"].root
    home = living.sidecar("se-01", file_id)
    assert home is not None
    blobs = {}
    for path in living.paths("se-01", file_id):
        target = elsewhere / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith(SIDECAR_SUFFIX):
            path.write_bytes(encode(replace(home, copies=2)))
            target.write_bytes(encode(replace(home, copies=2, state=FileState.COPY)))
        else:
            target.write_bytes(path.read_bytes())
            blobs[target] = target.stat().st_ino
    return blobs
