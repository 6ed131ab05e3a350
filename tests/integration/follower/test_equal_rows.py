"""A change that says what a row says already leaves the row alone, and is applied all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artstore.v1 import cache_pb2, cache_pb2_grpc
from artstore.v1.types_pb2 import File, FileState, RetentionPolicy
from mesh.elements import change_token
from mesh.follower import Cursor, CursorMoved, ReplicaTable, SnapshotRun, process_name
from mesh.follower.rows import content_digest, to_row
from mesh.follower.writing import COMPARED_FROM, Numbered
from mesh.postgres.database import Database
from tests.support.following import TABLE, Following, on_element, replica_rows, tables_of
from tests.support.storage_rig import Node
from tests.support.waiting import until

Follow = Callable[..., Following]
ELEMENT = "se-01"
FEW = COMPARED_FROM + 5


async def _written(database: Database) -> dict[str, Any]:
    """What changes whenever a row is written, by file."""
    rows = await database.fetch("SELECT file_id, xmin::text, sequence FROM replicas")
    return {row["file_id"]: (row["xmin"], row["sequence"]) for row in rows}


async def test_rows_of_a_rebuild_that_found_nothing_new_are_left_alone_and_the_cursor_moves_on(
    own_element: Node, follow: Follow, replica_database: Database
) -> None:
    for number in range(FEW):
        await own_element.upload(original_filename=f"{number}.txt")
    following = follow(own_element)
    cache: Any = cache_pb2_grpc.CacheServiceStub(own_element.channel)
    async with following.running():
        await following.agrees()
        (changed, *_) = sorted(before := await _written(replica_database))
        await replica_database.execute(
            "UPDATE replicas SET digest = NULL, description = 'damaged' WHERE file_id = $1", changed
        )
        # All rows are told again, in one go.
        await on_element(own_element, f"TRUNCATE {tables_of(own_element).files}")
        await cache.RebuildCache(
            cache_pb2.RebuildCacheRequest(), metadata=own_element.bearer(), timeout=30
        )
        await following.agrees()
        after = await _written(replica_database)
        assert {file_id for file_id in after if after[file_id] != before[file_id]} == {changed}
        # Whoever waits for a change that left its row alone has it.
        stored = change_token.decode((await own_element.upload()).change_token)
        async with asyncio.timeout(5):
            await following.fleet.progress.wait_for(ELEMENT, stored.epoch, stored.sequence)


async def test_one_row_that_is_missing_or_of_other_content_among_equal_ones_is_written(
    replica_database: Database,
) -> None:
    table = await _led(replica_database)
    files = [_file(number) for number in range(FEW)]
    cursor = await _apply(table, Cursor(), files)
    await replica_database.execute("DELETE FROM replicas WHERE file_id = 'file 3'")
    files[7].description = "other"
    before = await _written(replica_database)
    await _apply(table, cursor, files)
    after = await _written(replica_database)
    assert {file_id for file_id in after if after[file_id] != before.get(file_id)} == {
        "file 3",
        "file 7",
    }
    assert await replica_database.fetchval(
        "SELECT description FROM replicas WHERE file_id = 'file 7'"
    ) == "other"  # fmt: skip


async def test_what_a_snapshot_read_before_a_change_does_not_undo_it_where_the_row_was_equal(
    replica_database: Database,
) -> None:
    """A file becomes another one and itself again, and a snapshot beside that read it between."""
    table = await _led(replica_database)
    files = [_file(number) for number in range(FEW)]
    cursor = await _apply(table, Cursor(), files)
    await table.announce_snapshot(ELEMENT)
    head = cursor.sequence
    cursor = await _apply(table, cursor, files)
    run = SnapshotRun(ELEMENT, "a snapshot", head, replace=False)
    await table.begin_snapshot(run)
    between = [_file(number, description="between") for number in range(FEW)]
    await table.apply_snapshot(run, [(head, file) for file in between])
    found = await replica_database.fetch("SELECT DISTINCT description FROM replicas")
    assert [row["description"] for row in found] == [""]
    await table.finish_snapshot(run, cursor, number=0, files=FEW)
    # Now that nobody asks for sequences any more, equal rows are left alone again.
    before = await _written(replica_database)
    await _apply(table, cursor, files)
    assert await _written(replica_database) == before


async def test_a_snapshot_that_another_process_began_is_not_let_in_any_more(
    replica_database: Database,
) -> None:
    late, new = _table(replica_database), _table(replica_database)
    assert await late.lead(ELEMENT, seconds=-1) is not None
    run = SnapshotRun(ELEMENT, "late", 1, replace=False)
    await late.begin_snapshot(run)
    assert await new.lead(ELEMENT, seconds=-1) is not None
    assert await late.lead(ELEMENT, seconds=60) is not None
    with pytest.raises(CursorMoved):
        await late.apply_snapshot(run, [(1, _file(1))])
    assert await replica_rows(late) == set()


async def test_following_anew_ends_what_a_snapshot_asked_for(
    own_element: Node, follow: Follow, replica_database: Database
) -> None:
    following = follow(own_element)
    async with following.running():
        await following.agrees()
    await replica_database.execute("UPDATE follow_cursors SET reading = 'of a process that ended'")
    async with following.running():
        await until(
            lambda: replica_database.fetchval("SELECT reading = '' FROM follow_cursors"), 10
        )


_TEXTS = st.sampled_from(["", "a", "b"])
_FILES = st.builds(
    File,
    file_id=st.just("one"),
    revision=st.integers(1, 2),
    state=st.sampled_from([*FileState.values(), 77]),
    namespace=_TEXTS,
    original_filename=_TEXTS,
    description=_TEXTS,
    version=_TEXTS,
    tags=st.lists(_TEXTS, max_size=2),
    attributes=st.dictionaries(_TEXTS, _TEXTS, max_size=2),
    retention_policy=st.sampled_from(RetentionPolicy.values()),
    retention_days=st.integers(0, 1),
    legal_hold=st.booleans(),
    home_since=st.none() | st.integers(0, 1),
    copies=st.none() | st.integers(0, 1),
    crc32c=st.none() | st.integers(0, 1),
    moved_to=_TEXTS,
    cache_ttl_hours=st.integers(0, 2),
    cache_expired=st.booleans(),
)


@given(_FILES, _FILES)
def test_messages_of_the_same_digest_make_the_same_row(one: File, other: File) -> None:
    rows = [to_row(file, ELEMENT, 1) for file in (one, other)]
    contents = [{k: v for k, v in row.items() if k != "digest"} for row in rows]
    if content_digest(one) == content_digest(other):
        assert contents[0] == contents[1]
    other.CopyFrom(one)
    other.cache_ttl_hours, other.cache_stale = 77, True
    other.cache_updated_at.seconds = 5
    assert content_digest(one) == content_digest(other)


def _file(number: int, **values: Any) -> File:
    return File(file_id=f"file {number}", state=FileState.FILE_STATE_ACTIVE, **values)


def _table(database: Database) -> ReplicaTable:
    return ReplicaTable(database, table=TABLE, prefix="follow", leader=process_name())


async def _led(database: Database) -> ReplicaTable:
    table = _table(database)
    assert await table.lead(ELEMENT, seconds=60) is not None
    return table


async def _apply(table: ReplicaTable, old: Cursor, files: Sequence[File]) -> Cursor:
    new = Cursor(old.epoch, old.sequence + len(files), "x")
    numbered: list[Numbered] = [
        (old.sequence + place, file) for place, file in enumerate(files, start=1)
    ]
    await table.apply(ELEMENT, old, new, files=numbered)
    return new
