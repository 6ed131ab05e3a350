"""Revisions run at start, by one starter at a time, each server with a table of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncpg
import pytest

from mesh.errors import Unavailable
from mesh.postgres.database import Database
from mesh.postgres.migrations import upgrade

FIRST = """
from alembic import op
from mesh.postgres.migrations import attribute

revision = "0001"
down_revision = None

def upgrade() -> None:
    op.execute(f"CREATE TABLE {attribute('prefix')}_files (n int)")
"""
SECOND = """
from alembic import op
from mesh.postgres.migrations import attribute

revision = "0002"
down_revision = "0001"

def upgrade() -> None:
    op.execute(f"ALTER TABLE {attribute('prefix')}_files ADD COLUMN m text DEFAULT '100%'")
"""
BROKEN = SECOND.replace("ADD COLUMN m", "NONSENSE").replace("0002", "0003").replace("0001", "0002")


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations 100%"
    (folder / "versions").mkdir(parents=True)
    (folder / "versions" / "0001_first.py").write_text(FIRST)
    (folder / "versions" / "0002_second.py").write_text(SECOND)
    return folder


async def run(url: str, scripts: Path, prefix: str = "one") -> None:
    await upgrade(
        url,
        script_location=scripts,
        version_table=f"{prefix}_schema",
        attributes={"prefix": prefix},
        lock_key=7,
        timeout_seconds=5,
    )


async def test_all_revisions_run_once_each(database_url: str, scripts: Path) -> None:
    database = Database(database_url)
    await run(database_url, scripts)
    await run(database_url, scripts)
    await database.execute("INSERT INTO one_files (n) VALUES (1)")
    assert await database.fetchval("SELECT m FROM one_files") == "100%"
    assert await database.fetchval("SELECT version_num FROM one_schema") == "0002"
    await database.close()


async def test_a_start_that_finds_the_newest_revision_does_without_alembic(
    database_url: str, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(database_url, scripts)
    monkeypatch.setitem(sys.modules, "mesh.postgres.revisions", None)
    await run(database_url, scripts)
    (scripts / "versions" / "0003_third.py").write_text(BROKEN)
    with pytest.raises(ImportError):
        await run(database_url, scripts)


async def test_an_earlier_version_leaves_what_a_later_one_made(
    database_url: str, scripts: Path
) -> None:
    await run(database_url, scripts)
    (scripts / "versions" / "0002_second.py").unlink()
    await run(database_url, scripts)
    database = Database(database_url)
    assert await database.fetchval("SELECT version_num FROM one_schema") == "0002"
    await database.close()


@pytest.mark.parametrize("server", ["storage_server/catalog", "query_server", "admin_server"])
def test_names_of_revisions_begin_with_what_they_are(server: str) -> None:
    root = Path(__file__).parents[3]
    for path in (root / server / "migrations" / "versions").glob("*.py"):
        assert f'revision = "{path.stem.partition("_")[0]}"' in path.read_text()


async def test_starters_at_the_same_time_take_turns(database_url: str, scripts: Path) -> None:
    await asyncio.gather(
        *(run(database_url, scripts, prefix) for prefix in ("one", "two", "one", "two"))
    )
    database = Database(database_url)
    for table in ("one_files", "two_files"):
        assert await database.fetch(f"SELECT n, m FROM {table}") == []
    await database.close()


async def test_a_broken_revision_changes_nothing(database_url: str, scripts: Path) -> None:
    (scripts / "versions" / "0003_third.py").write_text(BROKEN)
    with pytest.raises(Exception, match="NONSENSE") as caught:
        await run(database_url, scripts)
    assert not isinstance(caught.value, Unavailable)
    database = Database(database_url)
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.fetch("SELECT * FROM one_files")
    await database.close()


async def test_without_a_server_it_is_unavailable(scripts: Path) -> None:
    with pytest.raises(Unavailable):
        await run("postgresql://nobody@127.0.0.1:1/none", scripts)
