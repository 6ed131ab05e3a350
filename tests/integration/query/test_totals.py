"""The count of files that is kept is the one that counting all rows finds, whatever happened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artstore.v1.types_pb2 import File, FileState
from query_server.following.totals import SUM_UP, TOTALS, count_files
from query_server.search.table import TABLE
from tests.integration.query.searching import Searched, make_file

_SLOW = f"""
    SELECT storage_element_id, count(*) FROM {TABLE}
    WHERE state = 'active' AND (expires_at IS NULL OR expires_at > now() OR legal_hold)
      AND ($1::text[] IS NULL OR namespace = ANY($1))
    GROUP BY 1
"""
ELEMENTS = ("se-01", "se-02")
NAMESPACES = ("default", "other", "third")
_FILE = st.fixed_dictionaries(
    {
        "number": st.integers(0, 5),
        "element": st.sampled_from(ELEMENTS),
        "namespace": st.sampled_from(NAMESPACES),
        "state": st.sampled_from(FileState.values()),
        "since": st.none() | st.integers(0, 3),
        "hours": st.none() | st.sampled_from([-1, 1]),
        "held": st.booleans(),
    }
)
_STEP = (
    st.tuples(st.just("put"), st.lists(_FILE, min_size=1, max_size=4))
    | st.tuples(st.just("remove"), st.integers(0, 5))
    | st.tuples(
        st.sampled_from(
            [
                SUM_UP,
                f"DELETE FROM {TABLE} WHERE namespace = 'other'",
                f"UPDATE {TABLE} SET namespace = 'third', state = 'active'",
                f"UPDATE {TABLE} SET description = 'somebody'",
                f"TRUNCATE {TABLE}",
            ]
        ),
        st.none(),
    )
)


def _file(said: dict[str, Any]) -> File:
    file = make_file("x", file_id=f"file {said['number']}")
    file.namespace, file.state, file.legal_hold = said["namespace"], said["state"], said["held"]
    if said["since"] is not None:
        file.home_since = said["since"]
    if said["hours"] is not None:
        file.expires_at.FromDatetime(datetime.now(UTC) + timedelta(hours=said["hours"]))
    return file


async def _step(searched: Searched, what: str, with_: Any) -> None:
    if what == "put":
        for element in ELEMENTS:
            files = {one["number"]: _file(one) for one in with_ if one["element"] == element}
            if files:
                await searched.put(*files.values(), element=element)
    elif what == "remove":
        await searched.remove(make_file("x", file_id=f"file {with_}"))
    else:
        await searched.database.execute(what)


async def _agrees(searched: Searched) -> None:
    for namespaces in (None, ["default"], ["other", "third"], list[str]()):
        rows = await searched.database.fetch(_SLOW, namespaces)
        counts = await count_files(searched.database, namespaces)
        assert {name: n for name, n in counts.items() if n} == {
            row["storage_element_id"]: row["count"] for row in rows
        }


async def test_counts_are_exact_after_whatever_happened_to_the_rows(searched: Searched) -> None:
    loop = asyncio.get_running_loop()

    async def walk(steps: Sequence[tuple[str, Any]]) -> None:
        for what, with_ in steps:
            await _step(searched, what, with_)
        await _agrees(searched)

    @settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
    @given(st.lists(_STEP, min_size=1, max_size=6))
    def check(steps: list[tuple[str, Any]]) -> None:
        asyncio.run_coroutine_threadsafe(walk(steps), loop).result()

    await asyncio.to_thread(check)


async def test_what_was_not_committed_is_not_counted(searched: Searched) -> None:
    await searched.put(make_file("one.txt"), make_file("two.txt"))
    with pytest.raises(asyncio.CancelledError):
        async with searched.database.transaction() as tx:
            await tx.execute(f"DELETE FROM {TABLE}")
            raise asyncio.CancelledError
    assert await count_files(searched.database, None) == {"se-01": 2}


async def test_notes_are_summed_up(searched: Searched) -> None:
    for number in range(5):
        await searched.put(make_file(f"{number}.txt"))
    await asyncio.gather(*(searched.database.execute(SUM_UP) for _ in range(3)))
    assert await count_files(searched.database, None) == {"se-01": 5}
    await searched.database.execute(SUM_UP)
    assert await searched.database.fetchval(f"SELECT count(*) FROM {TOTALS}") == 1
