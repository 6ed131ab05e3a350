"""Locks that are given back late, twice, unanswered, or taken away by an operator."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as ConnectionLost

from mesh.errors import Aborted, Unavailable
from storage_server.catalog.fences import Guard
from storage_server.locks import HeldLock, LockEntry, LockKind
from tests.integration.cache.lock_holders import (
    abandon,
    held_by_a_task,
    locks_of,
    may_write,
    take,
)
from tests.support.cache_rig import CacheRig

REBUILD, CHECK = LockKind.MANUAL_REBUILD, LockKind.MANUAL_CHECK
CLEANUP = LockKind.BACKGROUND_CLEANUP


async def test_a_lock_that_was_released_from_outside_is_lost_and_fenced(rig: CacheRig) -> None:
    ours, theirs = locks_of(rig, "here:1"), locks_of(rig, "there:2", ttl_seconds=0.6)
    for kind, guard in ((REBUILD, Guard.REBUILD), (CLEANUP, Guard.CLEANUP)):
        for locks in (ours, theirs):
            async with held_by_a_task(locks, kind) as holder:
                (lock,) = await ours.list_locks()
                assert not await ours.seize(kind, fence=lock.fence + 1)
                assert await ours.seize(kind, fence=lock.fence)
                assert not await ours.seize(kind)
                assert not await may_write(rig, guard, lock.fence)
                with pytest.raises(Aborted) as lost:
                    await asyncio.wait_for(holder, 2)
                assert lost.value.reason == "LOCK_LOST"


@pytest.mark.parametrize("kind", [REBUILD, CLEANUP])
async def test_a_release_succeeds_although_a_successor_has_raised_its_fence_first(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch, kind: LockKind
) -> None:
    ours, theirs = locks_of(rig, "here:1"), locks_of(rig, "there:2")
    raising = "raise_rebuild" if kind is REBUILD else "raise_cleanup"
    loser = await abandon(ours, kind)
    raise_fence = getattr(rig.catalog.fences, raising)
    successors: list[HeldLock] = []

    async def raise_after_the_successor(fence: int) -> None:
        monkeypatch.undo()
        successors.append(await abandon(theirs, kind))
        await raise_fence(fence)

    monkeypatch.setattr(rig.catalog.fences, raising, raise_after_the_successor)
    assert await ours.seize(kind, fence=loser.fence)
    guard = Guard.REBUILD if kind is REBUILD else Guard.CLEANUP
    assert await may_write(rig, guard, successors[0].fence)
    assert not await may_write(rig, guard, loser.fence)


async def test_a_lock_taken_just_before_its_release_is_fenced_all_the_same(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = locks_of(rig, "here:1"), locks_of(rig, "there:2")
    draw, losers = rig.catalog.fences.draw, list[HeldLock]()

    async def draw_and_be_overtaken() -> int:
        drawn = await draw()
        monkeypatch.undo()
        losers.append(await abandon(theirs, REBUILD))
        return drawn

    monkeypatch.setattr(rig.catalog.fences, "draw", draw_and_be_overtaken)
    assert await ours.seize(REBUILD)
    assert not await may_write(rig, Guard.REBUILD, losers[0].fence)
    assert await take(ours, REBUILD) > losers[0].fence


async def test_a_late_release_leaves_the_lock_of_the_next_holder(rig: CacheRig) -> None:
    late = locks_of(rig, "late:9", ttl_seconds=0.2)
    held = await abandon(late, REBUILD)
    async with locks_of(rig, "here:1").hold(
        REBUILD, operation_id="next", wait_seconds=5
    ) as next_one:
        await late._release(held)
        assert [one.fence for one in await late.list_locks()] == [next_one.fence]


class LosingAnswers:
    """A lock store that does what it is told, and whose next answer, or next command, is lost."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self.lose_next = False
        self.lose_next_command = False

    async def eval(self, *arguments: Any) -> Any:
        if self.lose_next_command:
            self.lose_next_command = False
            raise ConnectionLost("the connection was cut before this")
        answer = await self._redis.eval(*arguments)
        if self.lose_next:
            self.lose_next = False
            raise ConnectionLost("the answer was lost")
        return answer


async def test_an_acquisition_whose_answer_is_lost_leaves_no_lock_behind(rig: CacheRig) -> None:
    rig.redis, redis = LosingAnswers(rig.redis), rig.redis
    locks = locks_of(rig, "here:1")
    rig.redis.lose_next = True
    with pytest.raises(Unavailable):
        await take(locks, REBUILD)
    assert await take(locks, REBUILD, wait_seconds=5) > 0
    rig.redis = redis


async def test_a_release_whose_answer_is_lost_has_released_and_hurts_nobody(
    rig: CacheRig,
) -> None:
    rig.redis, redis = LosingAnswers(rig.redis), rig.redis
    locks = locks_of(rig, "here:1")
    async with locks.hold(CHECK, operation_id="first"):
        rig.redis.lose_next = True
    assert await take(locks, CHECK) > 0
    rig.redis = redis


async def test_a_release_that_was_never_sent_is_sent_again(rig: CacheRig) -> None:
    rig.redis, redis = LosingAnswers(rig.redis), rig.redis
    locks = locks_of(rig, "here:1")
    async with locks.hold(CHECK, operation_id="first"):
        rig.redis.lose_next_command = True
    # Sooner than the lock would expire by itself.
    assert await take(locks, CHECK, wait_seconds=5) > 0
    rig.redis = redis


async def test_an_acquisition_that_is_sent_twice_is_one(rig: CacheRig) -> None:
    locks = locks_of(rig, "here:1")
    first = await locks._try(CHECK, "", "one owner", "mine")
    again = await locks._try(CHECK, "", "one owner", "mine")
    assert isinstance(first, HeldLock)
    assert isinstance(again, HeldLock)
    assert first.fence == again.fence
    assert isinstance(await locks._try(CHECK, "", "another", "theirs"), LockEntry)
