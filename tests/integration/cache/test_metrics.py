"""What is measured of cache operations and of their locks."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from mesh.errors import Aborted
from storage_server.cache.report import Level
from storage_server.locks import LockKind
from tests.integration.cache.lock_holders import held_by_a_task
from tests.support.cache_rig import ELEMENT_ID, CacheRig

CHECK, CLEANUP = LockKind.MANUAL_CHECK, LockKind.BACKGROUND_CLEANUP


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"artstore_{name}", labels) or 0.0


class Since:
    """How much samples have grown since this was made."""

    def __init__(self, **samples: tuple[str, dict[str, str]]) -> None:
        self._samples = samples
        self._before = {key: value(name, **labels) for key, (name, labels) in samples.items()}

    @property
    def grown(self) -> dict[str, float]:
        return {
            key: value(name, **labels) - self._before[key]
            for key, (name, labels) in self._samples.items()
        }


def outcome(kind: LockKind, word: str) -> tuple[str, dict[str, str]]:
    return "lock_outcomes_total", {"kind": kind.name, "outcome": word}


async def test_an_operation_is_measured_by_time_files_and_rate(rig: CacheRig) -> None:
    await rig.upload_many(3)
    of = {"operation": "full"}
    since = Since(
        ended=("cache_operation_seconds_count", {**of, "outcome": "succeeded"}),
        seconds=("cache_operation_seconds_sum", {**of, "outcome": "succeeded"}),
        files=("cache_operation_files_total", of),
    )
    result = await rig.full()
    assert result.completed_at is not None
    grown = since.grown
    assert (grown["ended"], grown["files"]) == (1, 3)
    assert grown["seconds"] > 0
    assert value("cache_operation_files_per_second", **of) == pytest.approx(
        3 / grown["seconds"], rel=0.2
    )


async def test_a_check_leaves_its_findings_by_element(rig: CacheRig) -> None:
    lost, aged = await rig.upload_many(2)
    await rig.lose_row(lost)
    await rig.age_row(aged, hours=100)
    await rig.check(Level.FULL)
    assert value("cache_inconsistency_percentage", element=ELEMENT_ID) == 50
    assert value("cache_findings", element=ELEMENT_ID, kind="orphan_attr_files") == 1
    assert value("cache_expired_rows", element=ELEMENT_ID) == 1
    await rig.full()
    await rig.check(Level.FULL)
    assert value("cache_inconsistency_percentage", element=ELEMENT_ID) == 0
    assert value("cache_findings", element=ELEMENT_ID, kind="orphan_attr_files") == 0
    assert value("cache_expired_rows", element=ELEMENT_ID) == 0


async def test_what_becomes_of_each_lock_is_counted_and_timed(rig: CacheRig) -> None:
    locks = rig.new_process("there:2").locks
    since = Since(
        acquired=outcome(CHECK, "acquired"),
        refused=outcome(CHECK, "refused"),
        timeout=outcome(CHECK, "timeout"),
        waited=outcome(CHECK, "waited"),
        takeover=outcome(CHECK, "takeover"),
        lost=outcome(CLEANUP, "lost"),
        taken=("lock_acquire_seconds_count", {"kind": CHECK.name}),
        given_back=("lock_release_seconds_count", {"kind": CHECK.name}),
    )

    async def take(wait_seconds: float) -> None:
        async with locks.hold(CHECK, operation_id="", wait_seconds=wait_seconds):
            pass

    async with held_by_a_task(locks, CLEANUP), held_by_a_task(locks, CHECK) as holder:
        assert value("locks_held", kind=CHECK.name) == 1
        for patience in (0.0, 0.05):
            with pytest.raises(Aborted):
                await take(patience)
        waiting = asyncio.create_task(take(20))
        await asyncio.sleep(0.05)
        holder.cancel()
        await waiting
    assert value("locks_held", kind=CHECK.name) == 0
    assert since.grown == {
        "acquired": 1,
        "refused": 1,
        "timeout": 1,
        "waited": 1,
        "takeover": 1,
        "lost": 1,
        "taken": 2,
        "given_back": 2,
    }
