"""Locks on the cache when holders are killed or paused, and when the lock store breaks.

Seen through gRPC. A rebuild is held in the middle of its work by an operator's lock on the
table of files; locks live for two seconds here instead of fifteen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import redis

from artstore.v1 import cache_pb2
from tests.acceptance.element_operator import Operator
from tests.support.mesh import MeshProcess, running_mesh
from tests.support.outside import Outside, error_info
from tests.support.waiting import wait_until

ELEMENT = "se-02"
LOCK_SECONDS = 2.0
CALLS = ("CheckConsistency", "RebuildCache", "RebuildCacheIncremental", "CleanupExpired")


@pytest.fixture(scope="module")
def short_mesh() -> Iterator[MeshProcess]:
    """A mesh whose locks end soon after their holder."""
    with running_mesh({"ARTSTORE_LOCK_SECONDS": str(LOCK_SECONDS)}, quiet=False) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def outside(short_mesh: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(short_mesh.file) as caller:
        yield caller


@pytest.fixture(scope="module")
def operator(short_mesh: MeshProcess) -> Operator:
    """The operator of the element."""
    return Operator(short_mesh, ELEMENT)


@pytest.fixture
def file_ids(outside: Outside, operator: Operator) -> list[str]:
    """Files of the element, whose rows are lost."""
    found = [outside.upload_to(ELEMENT, b"x", f"{n}.txt").file_id for n in range(3)]
    operator.wait_until_followed()
    operator.lose_rows()
    return found


def begin(caller: Outside, call: str, **asked: Any) -> grpc.Future:
    """Begin one of the four long calls."""
    request = getattr(cache_pb2, f"{call}Request")(**asked)
    begun: grpc.Future = getattr(caller.cache(ELEMENT), call).future(request, **caller.auth)
    return begun


def code_of(begun: grpc.Future) -> grpc.StatusCode:
    """How a call ended that must fail."""
    error = begun.exception()
    assert isinstance(error, grpc.RpcError), begun.result()
    code: grpc.StatusCode = error.code()
    return code


def locks(caller: Outside) -> list[cache_pb2.Lock]:
    """The locks that are held on the element."""
    return list(caller.cache(ELEMENT).ListLocks(cache_pb2.ListLocksRequest(), **caller.auth).locks)


def answers(caller: Outside) -> bool:
    """Whether the element's cache can be worked on."""
    try:
        locks(caller)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        return False
    return True


def fence_of(mesh: MeshProcess) -> int:
    """The last fence of a rebuild that the lock store knows."""
    with redis.from_url(mesh.file.redis_url) as store:
        return int(store.hget(f"artstore:{{{ELEMENT}}}:fences", "rebuild") or 0)


def test_lock_of_a_killed_holder_expires_and_the_next_gets_in(
    short_mesh: MeshProcess, outside: Outside, operator: Operator, file_ids: list[str]
) -> None:
    with operator.writes_blocked() as wait_blocked:
        running = begin(outside, "RebuildCache")
        wait_blocked()
        (lock,) = locks(outside)
        old_pid = short_mesh.kill_one(ELEMENT)
        assert code_of(running) is grpc.StatusCode.UNAVAILABLE
    short_mesh.wait_restarted(ELEMENT, old_pid, 30.0)
    wait_until(lambda: answers(outside), 30.0, "the element answers")
    assert outside.rebuild(ELEMENT, wait_seconds=20).error_count == 0
    assert set(operator.rows()) >= set(file_ids)
    assert fence_of(short_mesh) > lock.fence
    assert locks(outside) == []


def test_paused_holder_that_wakes_up_after_expiry_writes_nothing(
    short_mesh: MeshProcess, outside: Outside, operator: Operator, file_ids: list[str]
) -> None:
    with operator.writes_blocked() as wait_blocked:
        running = begin(outside, "RebuildCache", operation_id="paused")
        wait_blocked()
        short_mesh.freeze(ELEMENT)
        try:
            with redis.from_url(short_mesh.file.redis_url) as store:
                wait_until(lambda: expired(store), 30.0, "the lock ends")
        finally:
            short_mesh.thaw(ELEMENT)
        error = running.exception()
        assert isinstance(error, grpc.RpcError)
        assert (error.code(), error_info(error).reason) == (
            grpc.StatusCode.ABORTED,
            "LOCK_LOST",
        )
    assert operator.rows() == {}
    assert outside.rebuild(ELEMENT, wait_seconds=20).statistics.entries_created >= 3


def expired(store: redis.Redis) -> bool:
    """Whether the lock store would give the element's rebuild lock to another."""
    raw = store.hget(f"artstore:{{{ELEMENT}}}:locks", "rebuild")
    seconds, micros = store.time()
    return raw is None or json.loads(raw)["expires_ms"] < seconds * 1000 + micros // 1000


@pytest.mark.parametrize("breaking", ["freeze", "kill"])
def test_lock_store_that_is_down_is_unavailable_and_never_busy(
    short_mesh: MeshProcess, outside: Outside, breaking: str
) -> None:
    wait_until(lambda: answers(outside), 30.0, "the lock store answers")
    old_pid = short_mesh.pid_of("valkey")
    if breaking == "freeze":
        short_mesh.freeze("valkey")
    else:
        short_mesh.kill_one("valkey")
    try:
        begun = [begin(outside, call) for call in CALLS]
        if breaking == "freeze":
            assert {code_of(one) for one in begun} == {grpc.StatusCode.UNAVAILABLE}
            assert not answers(outside)
        else:
            # The launcher starts it again meanwhile: some may find it there.
            ends = {one.code() for one in begun}
            assert ends <= {
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.OK,
                grpc.StatusCode.ABORTED,
            }
            assert grpc.StatusCode.UNAVAILABLE in ends
    finally:
        if breaking == "freeze":
            short_mesh.thaw("valkey")
        else:
            short_mesh.wait_restarted("valkey", old_pid)
    wait_until(lambda: answers(outside), 30.0, "the lock store answers again")
    assert outside.rebuild(ELEMENT, wait_seconds=20).error_count == 0


def test_flushed_lock_store_lets_no_second_writer_in(
    short_mesh: MeshProcess, outside: Outside, operator: Operator, file_ids: list[str]
) -> None:
    with operator.writes_blocked() as wait_blocked:
        first = begin(outside, "RebuildCache", operation_id="first")
        wait_blocked()
        with redis.from_url(short_mesh.file.redis_url) as store:
            store.flushall()
        second = begin(outside, "RebuildCache", operation_id="second", wait_seconds=20)
        assert code_of(first) is grpc.StatusCode.ABORTED
        assert operator.rows() == {}
    assert second.result().result.statistics.entries_created >= len(file_ids)
    assert set(operator.rows()) >= set(file_ids)
