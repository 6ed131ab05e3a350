"""Priority locks: who gives way to whom, and who can write when things go wrong."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from mesh.errors import Aborted, NotFound, Unavailable
from mesh.redis import open_redis
from storage_server.cache.report import Level
from storage_server.catalog.fences import Fence, Guard
from storage_server.locks import ElementLocks, LazyLocks, LockKind
from storage_server.locks.kinds import conflict
from tests.integration.cache.lock_holders import abandon, held_by_a_task, locks_of, may_write, take
from tests.support.cache_rig import ELEMENT_ID, CacheRig
from tests.support.services import ValkeyProcess
from tests.support.waiting import until

REBUILD, CHECK = LockKind.MANUAL_REBUILD, LockKind.MANUAL_CHECK
LAZY, CLEANUP = LockKind.LAZY_REBUILD, LockKind.BACKGROUND_CLEANUP
GUARDS = {REBUILD: Guard.REBUILD, LAZY: Guard.LAZY, CLEANUP: Guard.CLEANUP}


async def test_a_rebuild_refuses_a_lazy_refresh_at_once_and_names_itself(rig: CacheRig) -> None:
    ours, theirs = locks_of(rig, "here:1"), locks_of(rig, "there:2")
    async with held_by_a_task(ours, REBUILD):
        began = time.monotonic()
        with pytest.raises(Aborted) as refused:
            await take(theirs, LAZY, file_id="f")
        assert time.monotonic() - began < 0.5
        assert refused.value.reason == "LOCK_HELD"
        about = refused.value.metadata
        assert (about["holder"], about["operation"]) == ("here:1", "MANUAL_REBUILD")
        assert about["operation_id"] == "holding"
        assert about["since"] < about["expires"]


@pytest.mark.parametrize("loser", [CHECK, CLEANUP, LAZY])
@pytest.mark.parametrize("same_process", [True, False])
async def test_a_rebuild_takes_over_and_the_loser_ends_preempted(
    rig: CacheRig, loser: LockKind, same_process: bool
) -> None:
    ours = locks_of(rig, "here:1", ttl_seconds=1.0)
    theirs = ours if same_process else locks_of(rig, "there:2")
    file_id = "f" if loser is LAZY else ""
    async with (
        held_by_a_task(ours, loser, file_id=file_id) as losing,
        held_by_a_task(theirs, REBUILD),
    ):
        # Another process learns it when it renews.
        with pytest.raises(Aborted) as lost:
            await asyncio.wait_for(losing, 2)
        assert lost.value.reason == "PREEMPTED"
        assert lost.value.metadata["operation"] == "MANUAL_REBUILD"


async def test_checks_take_over_cleanups_and_leave_lazy_refreshes_alone(rig: CacheRig) -> None:
    locks = locks_of(rig, "here:1")
    async with (
        held_by_a_task(locks, LAZY, file_id="f") as lazy,
        held_by_a_task(locks, CLEANUP) as cleanup,
        held_by_a_task(locks, CHECK),
    ):
        with pytest.raises(Aborted):
            await cleanup
        assert not lazy.done()
        assert [lock.kind for lock in await locks.list_locks()] == [CHECK, LAZY]
        with pytest.raises(Aborted) as refused:
            await take(locks, CLEANUP)
        assert refused.value.metadata["operation"] == "MANUAL_CHECK"
        # The file's own lock is its own only.
        await take(locks, LAZY, file_id="other")
        with pytest.raises(Aborted):
            await take(locks, LAZY, file_id="f")


async def test_a_repair_that_nobody_asked_for_gives_way_to_whatever_is_asked_for(
    rig: CacheRig,
) -> None:
    locks, cache = locks_of(rig, "here:1"), rig.process.cache
    file = await rig.upload()
    await rig.lose_row(file)
    async with held_by_a_task(locks, CHECK) as check:
        completion = asyncio.create_task(cache.complete(wait_seconds=20))
        await asyncio.sleep(0.1)
        assert not completion.done()
        assert not check.done()
        check.cancel()
        assert (await completion).entries_created == 1
    assert await rig.rows_equal_sidecars()
    async with held_by_a_task(locks, CLEANUP) as running:
        assert (await cache.rebuild(full=True)).error_count == 0
        with pytest.raises(Aborted):
            await running


@pytest.mark.parametrize("kind", [REBUILD, CHECK, CLEANUP])
async def test_equals_refuse_each_other_and_the_loser_changes_nothing(
    rig: CacheRig, kind: LockKind
) -> None:
    locks = locks_of(rig, "here:1")
    async with held_by_a_task(locks, kind) as holder:
        before = await locks.list_locks()
        with pytest.raises(Aborted) as refused:
            await take(locks_of(rig, "there:2"), kind)
        assert refused.value.metadata["operation"] == kind.name
        assert await locks.list_locks() == before
        assert not holder.done()


async def test_who_waits_gets_the_lock_when_it_is_free_or_gives_up_in_time(rig: CacheRig) -> None:
    locks = locks_of(rig, "here:1")
    async with held_by_a_task(locks, REBUILD) as holder:
        began = time.monotonic()
        with pytest.raises(Aborted):
            await take(locks, CHECK, wait_seconds=0.3)
        assert 0.3 <= time.monotonic() - began < 1.0
        waiting = asyncio.create_task(take(locks, CHECK, wait_seconds=20))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        holder.cancel()
        began = time.monotonic()
        assert await waiting > 0
        assert time.monotonic() - began < 1.0


async def test_a_killed_holders_lock_expires_and_the_next_gets_in(rig: CacheRig) -> None:
    dead = await abandon(locks_of(rig, "dead:9", ttl_seconds=0.4), REBUILD)
    locks = locks_of(rig, "here:1")
    with pytest.raises(Aborted) as refused:
        await take(locks, CHECK)
    assert refused.value.metadata["holder"] == "dead:9"
    assert await take(locks, CHECK, wait_seconds=5) > dead.fence
    assert await take(locks, REBUILD) > dead.fence


@pytest.mark.parametrize(
    ("paused", "guard", "next_kind"),
    [
        (REBUILD, Guard.REBUILD, REBUILD),
        (REBUILD, Guard.REBUILD, CLEANUP),
        (CLEANUP, Guard.CLEANUP, CLEANUP),
        (CLEANUP, Guard.CLEANUP, REBUILD),
        (LAZY, Guard.LAZY, REBUILD),
    ],
)
async def test_a_paused_holder_that_wakes_up_after_expiry_cannot_write(
    rig: CacheRig, paused: LockKind, guard: Guard, next_kind: LockKind
) -> None:
    file_id = "f" if paused is LAZY else ""
    held = await abandon(locks_of(rig, "paused:9", ttl_seconds=0.2), paused, file_id=file_id)
    assert await may_write(rig, guard, held.fence)
    locks = locks_of(rig, "here:1")
    async with locks.hold(next_kind, operation_id="next", wait_seconds=5) as next_one:
        assert next_one.fence > held.fence
        assert not await may_write(rig, guard, held.fence)


async def test_a_holder_that_cannot_renew_stops_before_its_lock_expires(
    rig: CacheRig, own_valkey: ValkeyProcess
) -> None:
    rig.redis = open_redis(own_valkey.url, timeout_seconds=0.2)
    locks = locks_of(rig, "here:1", ttl_seconds=1.0)
    async with held_by_a_task(locks, REBUILD) as holder:
        own_valkey.freeze()
        try:
            began = time.monotonic()
            with pytest.raises(Aborted) as lost:
                await asyncio.wait_for(holder, 3)
            assert lost.value.reason == "LOCK_LOST"
            assert time.monotonic() - began < 1.3
        finally:
            own_valkey.thaw()
    await rig.redis.aclose()


async def test_a_holder_whose_lock_store_refuses_to_renew_stops_at_expiry(
    rig: CacheRig, own_valkey: ValkeyProcess
) -> None:
    rig.redis = open_redis(own_valkey.url)
    locks = locks_of(rig, "here:1", ttl_seconds=0.6)
    async with held_by_a_task(locks, REBUILD) as holder:
        await rig.redis.config_set("maxmemory", 1)
        with pytest.raises(Aborted) as lost:
            await asyncio.wait_for(holder, 5)
        assert lost.value.reason == "LOCK_LOST"
    with pytest.raises(Unavailable):
        await take(locks, REBUILD)
    await rig.redis.config_set("maxmemory", 0)
    await until(lambda: succeeds(lambda: take(locks, REBUILD)))
    await rig.redis.aclose()


async def test_whatever_ends_a_renewal_ends_the_work_at_expiry(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = locks_of(rig, "here:1", ttl_seconds=0.4)
    async with held_by_a_task(locks, CHECK) as holder:

        async def broken(*_: object) -> object:
            raise RuntimeError("nobody foresaw this")

        monkeypatch.setattr(locks, "_run", broken)
        with pytest.raises(Aborted) as lost:
            await asyncio.wait_for(holder, 5)
        assert lost.value.reason == "LOCK_LOST"


async def test_a_lock_is_renewed_for_as_long_as_its_work_takes(rig: CacheRig) -> None:
    locks = locks_of(rig, "here:1", ttl_seconds=0.3)
    async with held_by_a_task(locks, CHECK) as holder:
        await asyncio.sleep(1.0)
        assert not holder.done()
        (lock,) = await locks.list_locks()
        assert lock.expires > lock.since


async def test_a_lock_store_that_is_down_is_unavailable_never_busy(
    rig: CacheRig, own_valkey: ValkeyProcess
) -> None:
    rig.redis = open_redis(own_valkey.url, timeout_seconds=0.2)
    rig.process = rig.new_process()
    sidecar = await rig.upload()
    await rig.check()
    for breaking in (own_valkey.freeze, own_valkey.kill):
        breaking()
        for call in (rig.check, rig.full, rig.incremental, rig.process.cache.cleanup):
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await call()
            assert time.monotonic() - began < 2
        with pytest.raises(Unavailable):
            await rig.process.cache.list_locks()
    own_valkey.start()
    await until(lambda: succeeds(rig.check))
    assert await rig.row(sidecar) is not None
    await rig.redis.aclose()


async def succeeds(call: Any) -> bool:
    try:
        await call()
    except Unavailable:
        return False
    return True


async def test_a_flushed_lock_store_lets_no_second_writer_in(rig: CacheRig) -> None:
    ours = locks_of(rig, "here:1", ttl_seconds=1.0)
    async with held_by_a_task(ours, REBUILD) as losing:
        (before,) = await ours.list_locks()
        await rig.redis.flushall()
        async with locks_of(rig, "there:2").hold(REBUILD, operation_id="second") as second:
            assert second.fence > before.fence
            assert not await may_write(rig, Guard.REBUILD, before.fence)
            assert await may_write(rig, Guard.REBUILD, second.fence)
            with pytest.raises(Aborted):
                await asyncio.wait_for(losing, 2)


async def test_tables_made_anew_go_on_above_the_fences_that_the_lock_store_knows(
    rig: CacheRig,
) -> None:
    locks = locks_of(rig, "here:1")
    for _ in range(5):
        last = await take(locks, REBUILD)
    await rig.catalog.database.execute(
        f"ALTER SEQUENCE {rig.catalog.tables.fence_sequence} RESTART"
    )
    await rig.catalog.database.execute(f"UPDATE {rig.catalog.tables.fences} SET rebuild_fence = 0")
    for kind in LockKind:
        fence = await take(locks, kind, file_id="f" if kind is LAZY else "")
        assert fence > last
        last = fence


async def test_a_waiter_that_leaves_leaves_no_lock_behind(rig: CacheRig) -> None:
    locks = locks_of(rig, "here:1")
    for _ in range(20):
        taking = asyncio.create_task(take(locks, CHECK))
        await asyncio.sleep(random.uniform(0, 0.004))
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)

    async def free() -> bool:
        return not await locks.list_locks()

    await until(free)


async def test_a_cancellation_stays_one_although_the_lock_is_lost_too(rig: CacheRig) -> None:
    locks = locks_of(rig, "here:1")
    async with held_by_a_task(locks, CHECK) as holder:
        holder.cancel()
        async with locks.hold(REBUILD, operation_id="next"):
            pass
        with pytest.raises(asyncio.CancelledError):
            await holder
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await take(locks, CHECK, wait_seconds=1) and await asyncio.sleep(1)


async def test_64_contenders_never_hold_conflicting_locks_and_fences_only_grow(
    rig: CacheRig,
) -> None:
    """Whoever passes its fence writes: of those, no two conflict while the passing lasts."""
    processes = [locks_of(rig, f"here:{n}") for n in range(4)]
    writing: dict[int, tuple[LockKind, str]] = {}
    last: dict[tuple[LockKind, str], int] = {}
    rng = random.Random(7)
    outcomes: dict[str, int] = {}

    async def write(kind: LockKind, file_id: str, fence: int) -> None:
        """What a guarded transaction does: the fence is required and stays so to its end."""
        async with rig.catalog.database.transaction() as connection:
            await rig.catalog.fences.require(connection, Fence(GUARDS[kind], fence))
            for other, (other_kind, other_file) in writing.items():
                assert not conflict(kind, file_id, other_kind, other_file), (fence, other)
            writing[fence] = (kind, file_id)
            try:
                await asyncio.sleep(rng.uniform(0, 0.01))
            finally:
                del writing[fence]

    async def contend(number: int) -> None:
        kind = LockKind(number % 4 + 1)
        file_id = f"f{number % 3}" if kind is LAZY else ""
        locks = processes[number % len(processes)]
        for _ in range(4):
            try:
                async with locks.hold(
                    kind,
                    operation_id=str(number),
                    file_id=file_id,
                    wait_seconds=rng.choice((0, 0.2)),
                ) as held:
                    if kind in GUARDS:
                        await write(kind, file_id, held.fence)
                        # In the order of writing: a later writer has the higher fence.
                        assert held.fence > last.get((kind, file_id), 0)
                        last[kind, file_id] = held.fence
                outcome = "held"
            except Aborted as refused:
                outcome = refused.reason
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            await asyncio.sleep(rng.uniform(0, 0.02))

    # Where the machine is busy the lowest priority may get in once in some hundred tries.
    while {kind for kind, _ in last} != set(GUARDS):
        await asyncio.gather(*(contend(number) for number in range(64)))
    assert outcomes["held"] > 0
    assert outcomes["LOCK_HELD"] > 0
    assert await processes[0].list_locks() == []


async def test_t9_in_parallel(rig: CacheRig) -> None:
    """A running rebuild, and everybody who meets it; then those whom a rebuild meets."""
    sidecar = await rig.upload()
    locks, cache = rig.process.locks, rig.process.cache
    lines: list[Aborted] = []

    async def refused(call: Any) -> None:
        with pytest.raises(Aborted) as error:
            await call
        lines.append(error.value)

    async with held_by_a_task(locks, REBUILD):
        await asyncio.gather(
            refused(cache.check(Level.FULL)),
            refused(cache.cleanup()),
            refused(cache.rebuild(full=True)),
            refused(cache.rebuild(full=False)),
            refused(take(locks, LAZY, file_id=sidecar.file_id)),
        )
        assert {error.reason for error in lines} == {"LOCK_HELD"}
        assert {error.metadata["operation"] for error in lines} == {"MANUAL_REBUILD"}
        assert await rig.row(sidecar) is not None

    async with held_by_a_task(locks, CHECK) as check:
        assert (await rig.full()).error_count == 0
        with pytest.raises(Aborted, match="MANUAL_REBUILD") as lost:
            await check
        assert lost.value.reason == "PREEMPTED"
    async with held_by_a_task(locks, CLEANUP) as cleanup:
        waiting = asyncio.create_task(cache.check(Level.FULL, wait_seconds=5))
        assert (await waiting).is_consistent
        with pytest.raises(Aborted):
            await cleanup
    assert await locks.list_locks() == []
    with pytest.raises(NotFound):
        cache.operations.find("no such operation")


def test_the_element_is_part_of_every_key(rig: CacheRig) -> None:
    locks = rig.process.locks
    for key in (locks._locks_key, locks._fences_key, locks._fence_prefix):
        assert f"{{{ELEMENT_ID}}}" in key


async def test_a_refresh_beside_a_rebuild_of_its_own_process_is_refused_without_asking(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = LazyLocks(rig.process.locks)
    async with rig.process.locks.hold(REBUILD, operation_id="full"):
        with monkeypatch.context() as patched:
            patched.delattr(ElementLocks, "_run")
            with pytest.raises(Aborted) as refused:
                async with lazy.hold("some file"):
                    pass
        assert refused.value.reason == "LOCK_HELD"
    async with lazy.hold("some file"):
        pass
