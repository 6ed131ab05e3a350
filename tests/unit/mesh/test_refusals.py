"""What is kept of refused calls until admin has it."""

from __future__ import annotations

import asyncio

import pytest

from artstore.v1.audit_pb2 import RecordRefusalsRequest
from mesh.errors import Unavailable
from mesh.server.interceptors.refusal_spool import (
    EACH_MINUTE,
    MOST_AT_ONCE,
    MOST_KEPT,
    RefusalSpool,
    tell_refusals,
)


class Time:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def spool(time: Time) -> RefusalSpool:
    return RefusalSpool("se-01", now=time)


def told(spool: RefusalSpool) -> list[tuple[str, str, str, int]]:
    request = spool.next()
    if request is None:
        return []
    spool.told()
    return [(one.actor, one.action, one.reason, one.count) for one in request.refusals]


def test_equal_refusals_of_a_minute_are_one_with_a_count(spool: RefusalSpool, time: Time) -> None:
    for _ in range(3):
        spool.note("eve", "DeleteFile", "ROLE_DENIED")
    spool.note("eve", "GetFile", "ROLE_DENIED")
    assert told(spool) == []
    time.now += 61
    spool.note("eve", "DeleteFile", "ROLE_DENIED")
    assert told(spool) == [
        ("eve", "DeleteFile", "ROLE_DENIED", 3),
        ("eve", "GetFile", "ROLE_DENIED", 1),
    ]
    time.now += 61
    assert told(spool) == [("eve", "DeleteFile", "ROLE_DENIED", 1)]
    assert told(spool) == []


def test_what_was_not_taken_is_told_again_as_it_was(spool: RefusalSpool, time: Time) -> None:
    spool.note("eve", "DeleteFile", "ROLE_DENIED")
    time.now += 61
    first = spool.next()
    spool.note("eve", "DeleteFile", "ROLE_DENIED")
    time.now += 61
    assert first is not None
    assert spool.next() == first
    spool.told()
    second = spool.next()
    assert second is not None
    assert second.refusals[0].refusal_id != first.refusals[0].refusal_id


def test_an_attack_fills_neither_memory_nor_the_audit(spool: RefusalSpool, time: Time) -> None:
    entries = refused = dropped = counted = 0
    for minute in range(100):
        for n in range(1000):
            spool.note(f"account-{minute}-{n}", "GetFile", "TOKEN_EXPIRED")
            refused += 1
        time.now += 60
        request = spool.next()
        assert request is not None
        spool.told()
        assert len(request.refusals) <= MOST_KEPT
        entries += len(request.refusals)
        counted += sum(one.count for one in request.refusals)
        dropped += request.dropped_count
    assert entries <= MOST_AT_ONCE + 100 * (EACH_MINUTE + 1)
    assert counted + dropped == refused


def test_while_admin_is_away_little_is_kept_and_the_rest_is_counted(
    spool: RefusalSpool, time: Time
) -> None:
    for minute in range(1000):
        for n in range(20):
            spool.note(f"account-{minute}-{n}", "GetFile", "TOKEN_EXPIRED")
        time.now += 60
        spool.next()
    left, dropped = 0, 0
    while (request := spool.next()) is not None:
        left += len(request.refusals)
        dropped += request.dropped_count
        spool.told()
    assert left <= 2 * MOST_KEPT
    assert left + dropped == 20_000


async def test_what_is_left_is_told_when_the_server_stops() -> None:
    spool, got = RefusalSpool("se-01"), list[RecordRefusalsRequest]()

    async def tell(request: RecordRefusalsRequest) -> None:
        got.append(request)

    task = asyncio.create_task(tell_refusals(spool, tell))
    await asyncio.sleep(0)
    spool.note("eve", "DeleteFile", "ROLE_DENIED")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [one.actor for one in got[0].refusals] == ["eve"]


async def test_admin_is_told_again_after_a_failure() -> None:
    spool, got = RefusalSpool("se-01", minute_seconds=0.02), list[str]()
    answers = iter([False, False, True])
    done = asyncio.Event()

    async def tell(request: RecordRefusalsRequest) -> None:
        got.append(request.refusals[0].refusal_id)
        if not next(answers):
            raise Unavailable("admin is away")
        done.set()

    spool.note("eve", "DeleteFile", "ROLE_DENIED")
    task = asyncio.create_task(tell_refusals(spool, tell))
    await asyncio.wait_for(done.wait(), 5)
    task.cancel()
    await asyncio.wait([task])
    assert len(got) == 3
    assert len(set(got)) == 1
