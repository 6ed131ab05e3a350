"""One account that asks for all there is: others upload as before."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from artstore.v1 import accounts_pb2, types_pb2, uploads_pb2
from artstore_client import Client
from tests.support.caller import Caller, Ending, ended
from tests.support.command import Command
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside
from tests.support.waiting import until

ELEMENTS = ("se-01", "se-02", "se-03")
CAPACITY = 4 * 2**30
PERCENT = CAPACITY // 100
SIZES = (
    *(None, 0, 1, 2**20, 2**50),
    *(share * PERCENT for share in (1, 5, 20, 60, 80, 98, 200)),
)
POLICIES = (types_pb2.RETENTION_POLICY_TEMPORARY, types_pb2.RETENTION_POLICY_PERMANENT)
CALLS = 10_000
SIDE_BY_SIDE = 32


async def start(caller: Caller, size: int | None, policy: int) -> Ending:
    header = uploads_pb2.UploadHeader(
        original_filename="greedy.bin", size_bytes=size, retention_policy=policy
    )
    return await ended(
        caller.ingest.StartUpload(uploads_pb2.StartUploadRequest(header=header), **caller.auth)
    )


async def ask_for_everything(caller: Caller, calls: int) -> Counter[str]:
    """How `calls` calls of StartUpload ended, of any sizes."""
    chance, turns, endings = random.Random(7), asyncio.Semaphore(SIDE_BY_SIDE), Counter[str]()

    async def one(size: int | None, policy: int) -> None:
        async with turns:
            ending = await start(caller, size, policy)
            endings[ending.reason or ending.name] += 1

    await asyncio.gather(
        *(one(chance.choice(SIZES), chance.choice(POLICIES)) for _ in range(calls))
    )
    return endings


async def reserved(caller: Caller) -> dict[str, int]:
    return {name: (await caller.element(name)).reserved_bytes for name in ELEMENTS}


async def _is(caller: Caller, held: dict[str, int]) -> bool:
    return await reserved(caller) == held


@pytest.mark.full
async def test_ten_thousand_uploads_of_one_account_leave_room_to_others(
    own_mesh: Callable[..., MeshProcess], tmp_path: Path
) -> None:
    mesh = own_mesh(
        **{f"ARTSTORE_SE_{name[3:]}_CAPACITY_BYTES": str(CAPACITY) for name in ELEMENTS}
    )
    with Outside(mesh.file) as outside:
        greedy = outside.account(accounts_pb2.ROLE_USER)
        with greedy, outside.account(accounts_pb2.ROLE_USER) as modest:
            async with Caller(mesh.file, greedy.token) as caller:
                asking = asyncio.create_task(ask_for_everything(caller, CALLS))
                uploads = 0
                while not asking.done():
                    for policy in POLICIES:
                        await asyncio.to_thread(
                            modest.upload, b"modest", "modest.txt", retention_policy=policy
                        )
                        uploads += 1
                    await asyncio.sleep(0.2)
                endings = await asking
                assert uploads
                assert endings["OK"]
                assert endings["UPLOAD_SHARE"]
                assert set(endings) <= {"OK", "UPLOAD_SHARE", "NO_SPACE", "TOO_MANY_UPLOADS"}

                held = await reserved(caller)
                assert sum(size > 0.1 * CAPACITY for size in held.values()) <= 1
                assert all(size <= 0.95 * CAPACITY for size in held.values())
                dead = mesh.kill_one("se-01")
                await asyncio.to_thread(mesh.wait_restarted, "se-01", dead)
                await until(lambda: caller.health("se-01", "StorageService"), 30.0)
                # The counters of one that is not writing yet are those of nobody.
                await until(lambda: _is(caller, held))
            await _ends_one_by_the_command(mesh, greedy, tmp_path)
            await _big_one_of_another(mesh, modest)


async def _ends_one_by_the_command(mesh: MeshProcess, owner: Outside, home: Path) -> None:
    mesh.environment |= {
        "ARTSTORE_CLIENT_ID": owner.client_id,
        "ARTSTORE_CLIENT_SECRET": owner.client_secret,
    }
    last = await asyncio.to_thread(Command(mesh, home, "uploads", "--json").result)
    assert last["created_by"] == owner.client_id
    assert last["header"]["original_filename"] == "greedy.bin"
    ended_one = Command(mesh, home, "uploads", "--abort", last["upload_id"], "--json")
    told = await asyncio.to_thread(ended_one.result)
    assert told == {"upload_id": last["upload_id"], "aborted": True}
    async with Client.connect(
        mesh_file=mesh.mesh_file, client_id=owner.client_id, client_secret=owner.client_secret
    ) as client:
        assert last["upload_id"] not in [one.upload_id async for one in client.open_uploads.list()]


async def _big_one_of_another(mesh: MeshProcess, modest: Outside) -> None:
    """Once the greedy one's were ended by an ADMIN."""
    async with Client.connect(mesh_file=mesh.mesh_file) as client:
        opened = [one.upload_id async for one in client.open_uploads.list()]
        assert 0 < len(opened) <= 1000 + 3 * 250
        await asyncio.gather(*(client.open_uploads.abort(upload_id) for upload_id in opened))
        assert [one async for one in client.open_uploads.list()] == []
    async with Caller(mesh.file, modest.token) as caller:
        assert set((await reserved(caller)).values()) == {0}
        size = 80 * PERCENT
        assert await _once_ingest_knows_of_the_room(caller, size, POLICIES[0]) == "OK"
        assert await _once_ingest_knows_of_the_room(caller, size, POLICIES[1]) == "UPLOAD_SHARE"


async def _once_ingest_knows_of_the_room(caller: Caller, size: int, policy: int) -> str:
    """How an upload is answered by an element; ingest goes by reports of up to a second ago."""
    answers: list[str] = []

    async def answered() -> bool:
        ending = await start(caller, size, policy)
        answers.append(ending.reason or ending.name)
        return answers[-1] != "NO_SPACE"

    await until(answered)
    return answers[-1]
