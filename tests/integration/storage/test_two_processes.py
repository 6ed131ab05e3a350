"""Two processes of one element on S3: what at most one of them writes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import grpc
import pytest

from artstore.v1 import storage_pb2, types_pb2
from storage_server.element.session_lock import WAIT_SECONDS
from tests.support.storage_process import Process
from tests.support.storage_rig import Node, Rig
from tests.support.waiting import until

Code = grpc.StatusCode


Pair = tuple[Process, Process]


@pytest.fixture
def pair(rclone_rig: Rig) -> Iterator[Pair]:
    """Two processes, not started, on a server that ignores conditional PUT."""
    with _two(rclone_rig) as made:
        yield made


@pytest.fixture
def conditional_pair(s3_rig: Rig) -> Iterator[Pair]:
    """The same on a server that honours it."""
    with _two(s3_rig) as made:
        yield made


@contextmanager
def _two(rig: Rig) -> Iterator[Pair]:
    made = Process(rig), Process(rig)
    try:
        yield made
    finally:
        for process in made:
            process.kill()


def update(node: Node, file: types_pb2.File, text: str) -> Any:
    request = storage_pb2.UpdateFileRequest(
        file_id=file.file_id, file=types_pb2.File(description=text)
    )
    return node.call("UpdateFile", request, timeout=40.0)


async def end_the_writers_session(connection: asyncpg.Connection[Any]) -> None:
    """As when the network between the writer and PostgreSQL breaks."""
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )


async def test_write_of_a_frozen_writer_is_refused_once_another_has_taken_over(
    pair: Pair,
) -> None:
    # The frozen process lives, and might be just before its write.
    assert await _takes_over_from_a_frozen_writer(pair, Code.UNAVAILABLE) >= WAIT_SECONDS


async def test_server_with_conditional_put_refuses_the_write_and_needs_no_wait(
    conditional_pair: Pair,
) -> None:
    took = await _takes_over_from_a_frozen_writer(conditional_pair, Code.ABORTED)
    assert took < WAIT_SECONDS


async def _takes_over_from_a_frozen_writer(pair: Pair, late_code: grpc.StatusCode) -> float:
    """How long the second waits, while the first stands still in mid-update."""
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
            took = time.monotonic() - began
            await update(standby, file, "new")
            started.send_signal(signal.SIGCONT)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await late
            assert error.value.code() == late_code
            found = await standby.get(file.file_id)
            assert (found.description, found.revision) == ("new", file.revision + 1)
            await until(lambda: _stands_by(writer))
            return took


async def test_a_dead_writer_is_not_waited_for(pair: Pair) -> None:
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
