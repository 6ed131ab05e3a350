"""Home-making steps on record: one of a file at a time, and none of them forgotten."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from admin_server.life.homes import HomeSteps
from admin_server.life.seen import CopyState
from admin_server.life.steps import Activate
from mesh.errors import Aborted, Unavailable
from mesh.postgres.database import Database
from tests.support.waiting import until


@pytest_asyncio.fixture(loop_scope="session")
async def database(admin_tables: Database) -> Database:
    """As if admin had run for long, with nothing on record."""
    await HomeSteps(admin_tables).note_tables()
    await admin_tables.execute("UPDATE home_record SET since = '-infinity'")
    await admin_tables.execute("DELETE FROM home_steps")
    return admin_tables


def home_step(element_id: str, home_since: int) -> Activate:
    return Activate(
        element_id=element_id,
        digest="d",
        home_since=home_since,
        revision=None,
        state=CopyState.ACTIVE,
    )


async def test_one_home_making_step_of_a_file_at_a_time(database: Database) -> None:
    homes = HomeSteps(database, start_delay_seconds=0, life_seconds=0.3)
    found = await homes.of("file")
    assert await homes.begin("file", home_step("se-01", 5), on_record=found)
    assert not await homes.begin("file", home_step("se-01", 5), on_record=found)
    for other in (home_step("se-02", 6), home_step("se-01", 6)):
        with pytest.raises(Unavailable):
            await homes.begin("file", other, on_record=await homes.of("file"))
    assert (await homes.of("file")).may_be_making_home
    await until(_is_over(homes))
    # What was found before that says nothing of how it ended.
    with pytest.raises(Unavailable):
        await homes.begin("file", home_step("se-02", 6), on_record=found)
    found = await homes.of("file")
    await homes.end("file", 5)
    assert await homes.begin("file", home_step("se-02", 6), on_record=found)
    await homes.end("file", 6)
    assert (await homes.of("file")).sent is None


async def test_a_home_making_step_that_came_and_went_since_the_look_is_noticed(
    database: Database,
) -> None:
    homes = HomeSteps(database, start_delay_seconds=0)
    found = await homes.of("file")
    await homes.begin("file", home_step("se-01", 5), on_record=await homes.of("file"))
    await homes.end("file", 5)
    for step in (home_step("se-02", 6), home_step("se-01", 5)):
        with pytest.raises(Aborted):
            await homes.begin("file", step, on_record=found)
    assert (await homes.of("file")).sent is None
    assert await homes.begin("file", home_step("se-02", 6), on_record=await homes.of("file"))
    with pytest.raises(Unavailable):
        await homes.begin("file", home_step("se-01", 7), on_record=await homes.of("file"))


async def test_home_making_steps_that_ended_minutes_ago_are_cleared(database: Database) -> None:
    homes = HomeSteps(database, start_delay_seconds=0)
    for file_id in ("old", "recent"):
        await homes.begin(file_id, home_step("se-01", 5), on_record=await homes.of(file_id))
        await homes.end(file_id, 5)
    await database.execute(
        "UPDATE home_steps SET ended_at = ended_at - interval '1 hour' WHERE file_id = 'old'"
    )
    await homes.begin("file", home_step("se-01", 5), on_record=await homes.of("file"))
    await homes.end("file", 5)
    rows = await database.fetch("SELECT file_id FROM home_steps ORDER BY file_id")
    assert [row["file_id"] for row in rows] == ["file", "recent"]


async def test_a_home_making_step_is_on_record_for_as_long_as_its_sender_said(
    database: Database,
) -> None:
    step = home_step("se-01", 5)
    sender = HomeSteps(database, start_delay_seconds=0, life_seconds=60)
    await sender.begin("file", step, on_record=await sender.of("file"))
    # Another admin, or this one after a restart with other settings.
    other = HomeSteps(database, start_delay_seconds=0, life_seconds=1e-6)
    found = await other.of("file")
    assert found.may_be_making_home
    with pytest.raises(Unavailable):
        await other.begin("file", replace(step, home_since=6), on_record=found)
    await other.begin("file", step, on_record=found)
    assert (await other.of("file")).may_be_making_home


async def test_tables_that_were_restored_count_as_new_ones(database: Database) -> None:
    homes = HomeSteps(database, start_delay_seconds=60)
    assert not (await homes.of("file")).waits
    await database.execute("ALTER TABLE home_steps RENAME TO former")
    await database.execute("CREATE TABLE home_steps (LIKE former INCLUDING ALL)")
    assert (await homes.of("file")).waits
    assert (await homes.of("file")).may_be_making_home


async def test_tables_of_a_server_that_was_started_since_count_as_new_ones(
    database: Database,
) -> None:
    """As those of a data folder that was put back cold: all in them is as it was."""
    homes = HomeSteps(database, start_delay_seconds=60)
    assert not (await homes.of("file")).waits
    await database.execute(
        "UPDATE home_record SET of_what = regexp_replace(of_what, '[^/]*$', '')"
        " || extract(epoch FROM pg_postmaster_start_time() - interval '1 hour')"
    )
    assert (await homes.of("file")).waits


async def test_what_is_known_to_be_under_way_nowhere_is_put_on_record_by_these_tables_alone(
    database: Database,
) -> None:
    homes = HomeSteps(database, start_delay_seconds=60)
    await database.execute("UPDATE home_record SET since = clock_timestamp()")
    found = await homes.of("file")
    assert found.waits
    with pytest.raises(Unavailable):
        await homes.begin("file", home_step("se-01", 5), on_record=found)
    known = replace(found, waits=False)
    assert await homes.begin("file", home_step("se-01", 5), on_record=known)
    await homes.end("file", 5)
    await database.execute("ALTER TABLE home_steps RENAME TO earlier")
    await database.execute("CREATE TABLE home_steps (LIKE earlier INCLUDING ALL)")
    with pytest.raises(Unavailable):
        await homes.begin("other", home_step("se-01", 5), on_record=known)


def _is_over(homes: HomeSteps) -> Callable[[], Awaitable[bool]]:
    async def is_over() -> bool:
        return not (await homes.of("file")).may_be_making_home

    return is_over
