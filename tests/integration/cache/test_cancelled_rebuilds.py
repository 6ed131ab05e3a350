"""A rebuild that is stopped anywhere harms nothing."""

from __future__ import annotations

import asyncio
import random

from tests.support.cache_rig import CacheRig


async def test_a_rebuild_cancelled_anywhere_leaves_a_usable_cache_and_no_lock(
    rig: CacheRig,
) -> None:
    made = await rig.upload_many(12)
    rng = random.Random(3)
    for turn in range(25):
        lost = rng.sample(made, 4)
        for sidecar in lost:
            await rig.lose_row(sidecar)
        cancelled = asyncio.create_task(rig.full(operation_id=f"cancelled-{turn}"))
        await asyncio.sleep(rng.uniform(0, 0.03))
        rig.process.cache.operations.cancel(f"cancelled-{turn}")
        await asyncio.gather(cancelled, return_exceptions=True)
        # Every row is either still lost or whole.
        for file_id, row in (await rig.rows()).items():
            assert row.sidecar == next(one for one in made if one.file_id == file_id)
        await rig.incremental()
        assert await rig.rows_equal_sidecars()
    assert await rig.process.cache.list_locks() == []
