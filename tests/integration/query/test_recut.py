"""A large index of the version before is cut into words anew while searches go on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.operations import Operations
from mesh.postgres.database import Database
from mesh.postgres.migrations import upgrade
from query_server.following import recut as module
from query_server.following.recut import Recut
from query_server.following.tables import MIGRATION_LOCK, MIGRATIONS, VERSION_TABLE
from query_server.migrations import words
from query_server.search import session
from query_server.search.index import SearchIndex
from query_server.search.table import CUT, TABLE, UNCUT
from tests.integration.query.corpus import fill
from tests.integration.query.searching import query
from tests.support.waiting import until_answered

ROWS = 3_000
LEFT = f"SELECT count(*) FROM {TABLE} WHERE words IS NULL"


@dataclass(slots=True)
class Old:
    """An index that was upgraded, with nothing cut yet."""

    database: Database
    operations: Operations
    recut: Recut
    index: SearchIndex

    async def total(self, text: str) -> int:
        return (await self.index.search(query(text))).total


@pytest_asyncio.fixture(loop_scope="session")
async def old(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Old]:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(words, "AT_ONCE", ROWS - 1)
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.05)
    before = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, before)
    for revision in (before / "versions").glob("0*_*"):
        if revision.name >= "0006":
            revision.unlink()
    for folder in (before, MIGRATIONS):
        await upgrade(
            database_url,
            script_location=folder,
            version_table=VERSION_TABLE,
            lock_key=MIGRATION_LOCK,
        )
        if folder is before:
            await fill(database_url, ROWS)
    followed, searched = Database(database_url), Database(database_url, settings=session.SETTINGS)
    operations = Operations()
    recut = Recut(followed, operations)
    try:
        yield Old(followed, operations, recut, SearchIndex(searched, lambda: recut.layout))
    finally:
        await operations.stop()
        await followed.close()
        await searched.close()


async def test_searches_are_answered_until_and_after_all_is_cut_anew(old: Old) -> None:
    await old.recut.look()
    assert old.recut.layout is UNCUT
    assert not old.index.complete
    assert await old.database.fetchval(LEFT) == ROWS
    expected = await old.total("report")
    assert expected > ROWS // 8
    assert len((await old.index.search(query("", "original_filename"))).hits) == 50
    work = asyncio.create_task(old.recut.run())
    while not work.done():
        assert await old.total("report") == expected
    await work
    assert old.recut.layout is CUT
    assert old.index.complete
    assert await old.database.fetchval(LEFT) == 0
    assert await old.total("report") == await old.total("REPORTS") == expected
    columns = await old.database.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND NOT attisdropped",
        TABLE,
    )
    assert "search_vector" not in {row["attname"] for row in columns}
    assert old.operations.find("").files == ROWS


async def test_what_was_cut_before_it_was_stopped_is_not_cut_again(old: Old) -> None:
    work = asyncio.create_task(old.recut.run())

    async def begun() -> bool:
        left: int = await old.database.fetchval(LEFT)
        return 0 < left < ROWS

    await until_answered(begun, 30, "some rows are cut")
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await old.operations.stop()
    made = f"SELECT file_id, xmin::text AS made_by FROM {TABLE} WHERE words IS NOT NULL"
    cut = {tuple(row) for row in await old.database.fetch(made)}
    assert 0 < len(cut) < ROWS
    again = Recut(old.database, Operations())
    await again.run()
    assert again.layout is CUT
    assert cut <= {tuple(row) for row in await old.database.fetch(made)}


async def test_what_is_written_meanwhile_is_cut_at_once(old: Old) -> None:
    await old.database.execute(
        f"UPDATE {TABLE} SET description = 'Ёлки' WHERE ctid = (SELECT min(ctid) FROM {TABLE})"
    )
    assert await old.database.fetchval(LEFT) == ROWS - 1
    await old.recut.run()
    assert await old.total("елка") == 1
