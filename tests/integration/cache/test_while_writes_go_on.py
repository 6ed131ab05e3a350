"""Checks are exact and rebuilds lose nothing while files come, change and go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from storage_server.consistency.report import Level
from storage_server.sidecar import FileState, Sidecar
from tests.integration.cache.rig import CacheRig

HOURS = ["2020/01/01/01", "2020/01/01/02", "2020/01/01/03"]


class Writers:
    """Upload, update and delete without pause; know how each file must end."""

    def __init__(self, rig: CacheRig, seed: int) -> None:
        self._rig = rig
        self._rng = random.Random(seed)
        self.files: dict[str, Sidecar] = {}
        self.writes = 0
        self.wrote = asyncio.Event()

    async def write(self) -> None:
        own: list[str] = []
        while True:
            choice = self._rng.random()
            live = [one for one in own if self.files[one].state is FileState.ACTIVE]
            if choice < 0.5 or not live:
                made = await self._rig.upload(storage_path=self._rng.choice(HOURS))
                own.append(made.file_id)
            elif choice < 0.8:
                made = await self._rig.update(
                    self.files[self._rng.choice(live)], version=str(self.writes)
                )
            else:
                made = await self._rig.delete(self.files[self._rng.choice(live)])
            self.files[made.file_id] = made
            self.writes += 1
            self.wrote.set()


@asynccontextmanager
async def writing(rig: CacheRig, count: int = 4, seed: int = 1) -> AsyncIterator[Writers]:
    """So many writers; each ends between two of its writes."""
    writers = Writers(rig, seed)
    stopped = asyncio.Event()

    async def run() -> None:
        steps = asyncio.create_task(writers.write())
        await stopped.wait()
        steps.cancel()
        await asyncio.gather(steps, return_exceptions=True)

    tasks = [asyncio.create_task(run()) for _ in range(count)]
    try:
        yield writers
    finally:
        stopped.set()
        await asyncio.gather(*tasks)
        # What was cut off between its sidecar and its row.
        await rig.restart()


async def test_checks_find_nothing_wrong_while_four_write(rig: CacheRig) -> None:
    async with writing(rig) as writers:
        for level in (Level.FULL, Level.QUICK, Level.DEEP) * 7:
            writers.wrote.clear()
            report = await rig.check(level)
            assert report.findings == 0, {kind: report.details(kind) for kind in report._counts}
            assert report.inconsistency_percentage == 0
            await writers.wrote.wait()
    assert (await rig.check(Level.DEEP)).findings == 0


async def test_rebuilds_lose_no_write_while_four_write(rig: CacheRig) -> None:
    async with writing(rig, seed=2) as writers:
        for turn in range(12):
            writers.wrote.clear()
            if turn % 3 == 0:
                await rig.sql(
                    "DELETE FROM {files} WHERE file_id IN (SELECT file_id FROM {files} LIMIT 3)"
                )
            result = await rig.process.cache.rebuild(full=turn % 2 == 0)
            assert (result.error_count, result.entries_deleted) == (0, 0)
            await writers.wrote.wait()
    await rig.full()
    truth = await rig.truth()
    assert {file_id: row.sidecar for file_id, row in (await rig.rows()).items()} == truth
    for file_id, sidecar in writers.files.items():
        assert truth[file_id].revision >= sidecar.revision
        if sidecar.state is FileState.DELETED:
            assert truth[file_id].state is FileState.DELETED
    changes = await rig.catalog.feed.read(0, limit=100_000)
    assert [change.sequence for change in changes] == list(range(1, len(changes) + 1))
    head = await rig.catalog.feed.head()
    live = [one for one in truth.values() if one.state is not FileState.DELETED]
    assert head.file_count == len(live)
    assert head.used_bytes == sum(one.size_bytes for one in truth.values())


async def test_a_reader_never_misses_a_file_during_rebuilds_whole_or_killed(rig: CacheRig) -> None:
    made = await rig.upload_many(60)
    ids = [one.file_id for one in made]
    misses: list[str] = []
    reads = 0

    async def read() -> None:
        nonlocal reads
        for number in range(10**9):
            file_id = ids[number % len(ids)]
            if await rig.row(file_id) is None:
                misses.append(file_id)
            reads += 1

    readers = [asyncio.create_task(read()) for _ in range(3)]
    try:
        for turn in range(8):
            await rig.sql("UPDATE {files} SET description = 'damaged'")
            for full in (True, False):
                killed = asyncio.create_task(
                    rig.process.cache.rebuild(full=full, operation_id=f"{turn}-{full}")
                )
                await asyncio.sleep(0.003 * turn)
                rig.process.cache.operations.cancel(f"{turn}-{full}")
                await asyncio.gather(killed, return_exceptions=True)
            await rig.full()
    finally:
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    assert misses == []
    assert reads > 1000
    assert await rig.rows_equal_sidecars()


async def test_a_rebuild_killed_anywhere_leaves_a_usable_cache_and_no_lock(rig: CacheRig) -> None:
    made = await rig.upload_many(12)
    rng = random.Random(3)
    for turn in range(25):
        lost = rng.sample(made, 4)
        for sidecar in lost:
            await rig.lose_row(sidecar)
        killed = asyncio.create_task(rig.full(operation_id=f"killed-{turn}"))
        await asyncio.sleep(rng.uniform(0, 0.03))
        rig.process.cache.operations.cancel(f"killed-{turn}")
        await asyncio.gather(killed, return_exceptions=True)
        # Every row is either still lost or whole.
        for file_id, row in (await rig.rows()).items():
            assert row.sidecar == next(one for one in made if one.file_id == file_id)
        await rig.incremental()
        assert await rig.rows_equal_sidecars()
    assert await rig.process.cache.list_locks() == []
