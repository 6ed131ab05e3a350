"""Two processes of one element on an S3 that ignores conditions: at most one writes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import grpc
import pytest

from artstore.v1 import storage_pb2 as pb
from artstore.v1 import types_pb2
from storage_server.element.session_lock import WAIT_SECONDS
from tests.integration.storage.process import Process
from tests.integration.storage.rig import Node, Rig, until

Code = grpc.StatusCode


@pytest.fixture
def pair(s3_rig: Rig) -> Iterator[tuple[Process, Process]]:
    """Two processes, not started."""
    made = Process(s3_rig), Process(s3_rig)
    yield made
    for process in made:
        process.kill()


def update(node: Node, file: types_pb2.File, text: str) -> Any:
    request = pb.UpdateFileRequest(file_id=file.file_id, file=types_pb2.File(description=text))
    return node.call("UpdateFile", request, timeout=40.0)


async def end_the_writers_session(connection: asyncpg.Connection[Any]) -> None:
    """As when the network between the writer and PostgreSQL breaks."""
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )


async def test_write_of_a_frozen_writer_is_refused_once_another_has_taken_over(
    pair: tuple[Process, Process],
) -> None:
    first, second = pair
    started = first.start()
    async with first.node() as writer:
        file = (await writer.upload()).file
        second.start()
        async with second.node(writes=False) as standby:
            assert not (await standby.element()).is_writer
            connection = await asyncpg.connect(first.rig.values["database_url"])
            # Its intent waits for this lock, so the update is between sidecar read and written.
            async with connection.transaction():
                await connection.execute(
                    "LOCK TABLE storage_elem_01_pending_writes IN EXCLUSIVE MODE"
                )
                late = asyncio.ensure_future(update(writer, file, "late"))
                await until(lambda: _waits_for_lock(first.rig))
                started.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            await end_the_writers_session(connection)
            await connection.close()
            await until(lambda: _writes(standby), 30)
            # The frozen process lives, and might be just before its write.
            assert time.monotonic() - began >= WAIT_SECONDS
            await update(standby, file, "new")
            started.send_signal(signal.SIGCONT)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await late
            assert error.value.code() == Code.UNAVAILABLE
            found = await standby.get(file.file_id)
            assert (found.description, found.revision) == ("new", file.revision + 1)
            await until(lambda: _stands_by(writer))


async def test_a_dead_writer_is_not_waited_for(pair: tuple[Process, Process]) -> None:
    first, second = pair
    first.start()
    async with first.node() as writer:
        file = (await writer.upload()).file
        second.start()
        async with second.node(writes=False) as standby:
            first.kill()
            began = time.monotonic()
            await until(lambda: _writes(standby), WAIT_SECONDS)
            assert time.monotonic() - began < WAIT_SECONDS / 2
            await update(standby, file, "new")


async def _waits_for_lock(rig: Rig) -> bool:
    connection = await asyncpg.connect(rig.values["database_url"])
    try:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
        return bool(await connection.fetchval(waiting))
    finally:
        await connection.close()


async def _stands_by(node: Node) -> bool:
    return not (await node.element()).is_writer


async def _writes(node: Node) -> bool:
    return bool((await node.element()).writable)
