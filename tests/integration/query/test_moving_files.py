"""A file that moves is one line in every search, whichever feed comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest

from artstore.v1.types_pb2 import File, FileState
from mesh.follower import shown
from mesh.follower.rows import to_file
from tests.integration.query.searching import START, Searched, make_file

LATER = 2**50


def told(element: str, state: str, revision: int, **fields: Any) -> tuple[str, dict[str, Any]]:
    number = FileState.Value(f"FILE_STATE_{state.upper()}")
    return element, {"state": number, "revision": revision, **fields}


ACTIVE = told("se-01", "active", 1)
CHANGED = told("se-01", "active", 2, original_filename="report two.pdf")
MOVED = told("se-01", "moved", 3, moved_to="se-03", original_filename="report two.pdf")
GONE = told("se-01", "gone", 3, moved_to="se-03", original_filename="report two.pdf")
INCOMING = told("se-03", "incoming", 2)
HOME = told("se-03", "active", 3, home_since=LATER, original_filename="report two.pdf")
RENAMED = told("se-03", "active", 4, home_since=LATER, original_filename="other three.pdf")
DELETED = told("se-03", "deleted", 5, home_since=LATER)


def interleaved(*feeds: Sequence[Any]) -> list[list[Any]]:
    """Every order in which feeds may be followed."""
    marks = [number for number, feed in enumerate(feeds) for _ in feed]
    orders = []
    for order in sorted(set(permutations(marks))):
        rest = [iter(feed) for feed in feeds]
        orders.append([next(rest[number]) for number in order])
    return orders


async def put(searched: Searched, file: File, element: str, fields: dict[str, Any]) -> None:
    next_one = File()
    next_one.CopyFrom(file)
    for name, value in fields.items():
        setattr(next_one, name, value)
    await searched.put(next_one, element=element)


async def test_a_file_that_moves_is_one_line_in_every_order_of_the_feeds(
    searched: Searched,
) -> None:
    for order in interleaved([ACTIVE, CHANGED, MOVED], [INCOMING, HOME]):
        if order[0] is not ACTIVE:
            continue
        file = make_file("report one.pdf", created_at=START)
        seen = []
        # What is left of the source goes a day later, and only when its home answers.
        for element, fields in (*order, GONE):
            await put(searched, file, element, fields)
            page = await searched.search(facets=("storage_element_id",))
            shown = [hit.row["storage_element_id"] for hit in page.hits]
            seen.append((page.total, shown))
            assert page.facets == {"storage_element_id": [(shown[0], 1)]}
        assert all(line in ((1, ["se-01"]), (1, ["se-03"])) for line in seen)
        assert seen[-1] == (1, ["se-03"])
        await searched.database.execute("TRUNCATE file_metadata_cache")


async def test_what_a_file_was_called_where_it_was_finds_it_no_more(searched: Searched) -> None:
    for order in interleaved([ACTIVE, CHANGED, MOVED], [HOME, RENAMED]):
        if order[0] is not ACTIVE:
            continue
        file = make_file("report one.pdf", created_at=START)
        for element, fields in order:
            await put(searched, file, element, fields)
        assert await searched.names("report") == []
        assert await searched.names("other") == ["other three.pdf"]
        await searched.database.execute("TRUNCATE file_metadata_cache")


async def test_a_file_that_was_deleted_where_it_went_is_in_no_search(searched: Searched) -> None:
    for order in interleaved([ACTIVE, MOVED], [HOME, DELETED]):
        file = make_file("report one.pdf", created_at=START)
        for element, fields in order:
            await put(searched, file, element, fields)
        assert (await searched.search()).total == 0
        await searched.database.execute("TRUNCATE file_metadata_cache")


async def test_of_two_homes_the_later_is_found_and_the_other_when_that_is_purged(
    searched: Searched,
) -> None:
    file = make_file("report one.pdf", created_at=START)
    await put(searched, file, *HOME)
    await put(searched, file, *told("se-01", "active", 9))
    (hit,) = (await searched.search()).hits
    assert hit.row["storage_element_id"] == "se-03"
    await searched.remove(file, element="se-03")
    (hit,) = (await searched.search()).hits
    assert hit.row["storage_element_id"] == "se-01"
    assert to_file(hit.row).state == FileState.FILE_STATE_ACTIVE


async def test_until_its_target_is_known_a_file_is_told_of_as_moved(searched: Searched) -> None:
    file = make_file("report one.pdf", created_at=START)
    await put(searched, file, *ACTIVE)
    await put(searched, file, *MOVED)
    (hit,) = (await searched.search()).hits
    assert to_file(hit.row).state == FileState.FILE_STATE_MOVED
    assert to_file(hit.row).moved_to == "se-03"


@pytest.mark.parametrize("fresh", [True, False])
async def test_followers_that_write_at_the_same_time_show_one_line(
    searched: Searched, fresh: bool
) -> None:
    files = [make_file(f"report {n}.pdf", created_at=START) for n in range(30)]
    if not fresh:
        await searched.put(*files)
    sources, targets = [], []
    for file in files:
        source, target = File(), File()
        source.CopyFrom(file)
        source.state, source.moved_to = FileState.FILE_STATE_MOVED, "se-03"
        target.CopyFrom(file)
        target.home_since = LATER
        sources.append(source)
        targets.append(target)
    plain = files if fresh else sources
    await asyncio.gather(
        one_by_one(searched, plain, "se-01"),
        one_by_one(searched, targets, "se-03"),
    )
    page = await searched.search(page_size=100)
    assert page.total == len(files)
    assert {hit.row["storage_element_id"] for hit in page.hits} == {"se-03"}


async def one_by_one(searched: Searched, files: Sequence[File], element: str) -> None:
    for file in files:
        await searched.put(file, element=element)


async def test_files_that_moved_once_keep_no_other_follower_waiting(searched: Searched) -> None:
    files = []
    for n in range(20):
        file = make_file(f"report {n}.pdf", created_at=START, home_since=LATER, revision=3)
        files.append(file)
    await searched.put(*files, element="se-03")
    async with searched.database.transaction() as another:
        # As a batch of another element's files, which is being written.
        await another.execute(
            "SELECT pg_advisory_xact_lock_shared($1, n) FROM generate_series(0, 63) AS n",
            shown._LOCK_CLASS,
        )
        async with asyncio.timeout(5):
            await searched.put(*files, element="se-03")
    assert (await searched.search()).total == 20
