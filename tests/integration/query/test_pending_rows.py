"""Rows that wait in the lists of GIN indexes are found, and do not wait for long."""

from __future__ import annotations

from mesh.follower.pending import MANY, PendingRows
from query_server.search.table import TABLE
from tests.integration.query.searching import Searched, make_file
from tests.support.waiting import until

# How many pages of lists it had to empty.
_LEFT = """
    SELECT sum(gin_clean_pending_list(indexrelid)) FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
    WHERE indrelid = $1::regclass AND amname = 'gin'
"""


async def test_all_indexes_of_words_have_lists_and_rows_in_them_are_found(
    searched: Searched,
) -> None:
    await searched.put(make_file("first.txt"), make_file("second.txt"))
    assert await searched.names("second") == ["second.txt"]
    assert await searched.database.fetchval(_LEFT, TABLE) > 0
    assert await searched.names("second") == ["second.txt"]


async def test_lists_are_emptied_when_a_load_is_through_and_not_for_a_single_row(
    searched: Searched,
) -> None:
    pending = PendingRows(searched.database, TABLE)
    await searched.put(make_file("left by another process.txt"))
    pending.through()
    await _emptied(pending)
    assert await searched.database.fetchval(_LEFT, TABLE) == 0
    await searched.put(make_file("one.txt"))
    pending.written(1)
    pending.through()
    await _emptied(pending)
    assert await searched.database.fetchval(_LEFT, TABLE) > 0
    await searched.put(make_file("last.txt"))
    pending.written(MANY)
    pending.through()
    await _emptied(pending)
    assert await searched.database.fetchval(_LEFT, TABLE) == 0
    assert await searched.names("last") == ["last.txt"]


async def _emptied(pending: PendingRows) -> None:
    await until(lambda: pending.idle)
