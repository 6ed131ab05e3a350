"""The Lua scripts and `kinds` decide alike, whatever is held."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from mesh.redis import open_redis
from storage_server.locks import ElementLocks, LockEntry, LockKind
from storage_server.locks.kinds import conflict, takes_over

wanted = st.sampled_from(LockKind).flatmap(
    lambda kind: st.tuples(
        st.just(kind), st.sampled_from("abc") if kind is LockKind.LAZY_REBUILD else st.just("")
    )
)


class CountingFences:
    """Fences without PostgreSQL."""

    def __init__(self) -> None:
        self._last = 0

    async def draw(self) -> int:
        self._last += 1
        return self._last

    async def setval_at_least(self, fence: int) -> None:
        self._last = max(self._last, fence)

    async def raise_rebuild(self, fence: int) -> None:
        assert fence <= self._last

    async def raise_cleanup(self, fence: int) -> None:
        assert fence <= self._last


async def contend(redis: Redis, attempts: list[tuple[LockKind, str]]) -> None:
    await redis.flushall()
    locks = ElementLocks(redis=redis, fences=CountingFences(), element_id="se-01", holder="h:1")
    held: dict[tuple[LockKind, str], int] = {}
    for number, (kind, file_id) in enumerate(attempts):
        met = [one for one in held if conflict(kind, file_id, *one)]
        got = await locks._try(kind, file_id, str(number), "")
        if all(takes_over(kind, other) for other, _ in met):
            assert not isinstance(got, LockEntry), (kind, file_id, held)
            for one in met:
                del held[one]
            held[kind, file_id] = got.fence
        else:
            assert isinstance(got, LockEntry)
            assert (got.kind, got.file_id) in met
            assert not takes_over(kind, got.kind)
        listed = await locks.list_locks()
        assert {(one.kind, one.file_id): one.fence for one in listed} == held


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(attempts=st.lists(wanted, max_size=12))
def test_whatever_is_held_the_script_decides_as_the_rule_says(
    redis_url: str, attempts: list[tuple[LockKind, str]]
) -> None:
    async def run() -> None:
        redis = open_redis(redis_url)
        try:
            await contend(redis, attempts)
        finally:
            await redis.aclose()

    asyncio.run(run())
