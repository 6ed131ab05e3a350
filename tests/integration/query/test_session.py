"""What the index's database and a search's connections are like."""

from __future__ import annotations

import asyncpg
import pytest

from mesh.postgres.creation import create_database_if_missing
from mesh.postgres.database import Database
from mesh.postgres.urls import database_name, with_database
from query_server.search.session import SETTINGS, check_letters


async def test_settings_hold_on_every_connection(database_url: str) -> None:
    database = Database(database_url, settings=SETTINGS)
    shown = {name: await database.fetchval(f"SHOW {name}") for name in SETTINGS}
    await database.close()
    assert shown == SETTINGS


async def test_a_database_that_is_made_knows_every_letter(database_url: str) -> None:
    name = f"{database_name(database_url)}_made"
    assert await create_database_if_missing(database_url, name)
    assert not await create_database_if_missing(database_url, name)
    made = Database(with_database(database_url, name))
    locale = await made.fetchrow(
        "SELECT datlocprovider, datlocale, datcollate FROM pg_database WHERE datname = $1", name
    )
    assert locale is not None
    assert tuple(locale) == (b"b", "C.UTF-8", "C")
    assert await check_letters(made)
    await made.close()


async def test_a_database_that_knows_ascii_only_is_told_of(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{database_name(database_url)}_ascii"
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'"
    )
    await connection.close()
    poor = Database(with_database(database_url, name))
    assert not await check_letters(poor)
    await poor.close()
    assert "ASCII letters only" in capsys.readouterr().out
