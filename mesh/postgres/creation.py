"""Making a database that is missing."""

from __future__ import annotations

from typing import Any

import asyncpg

from mesh.errors import Unavailable
from mesh.postgres.database import DEFAULT_TIMEOUT_SECONDS, Database
from mesh.postgres.urls import with_database

# For a new database, the first that the server has: the case of every letter is known, whatever
# the cluster's own locale, and texts are sorted alike everywhere.
_LOCALES = (
    *(
        f"LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE '{ctype}'"
        for ctype in ("C.UTF-8", "en_US.UTF-8")
    ),
    # PostgreSQL 16 and older.
    *(f"LC_COLLATE 'C' LC_CTYPE '{ctype}'" for ctype in ("C.UTF-8", "en_US.UTF-8")),
    "",
)
_NO_SUCH_LOCALE = (
    asyncpg.PostgresSyntaxError,
    asyncpg.WrongObjectTypeError,
    asyncpg.InvalidObjectDefinitionError,
    asyncpg.InvalidParameterValueError,
)


async def create_database_if_missing(
    url: str, name: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> bool:
    """Create database `name` on the server of `url`; True if it was not there.

    Reached through `url`'s own database, or `postgres` when that is the one missing.

    Raises:
        Unavailable: the server does not answer.
    """
    database = Database(url, timeout_seconds=timeout_seconds)
    maintenance = Database(with_database(url, "postgres"), timeout_seconds=timeout_seconds)
    try:
        for candidate in (maintenance, database):
            try:
                connection = await candidate.connect()
            except (Unavailable, asyncpg.PostgresError):
                if candidate is database:
                    raise
                continue
            try:
                return await _create_database(connection, name)
            finally:
                connection.terminate()
    finally:
        await database.close()
        await maintenance.close()
    return False


async def _create_database(connection: asyncpg.Connection[Any], name: str) -> bool:
    if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        return False
    quoted = '"' + name.replace('"', '""') + '"'
    for locale in _LOCALES:
        try:
            await connection.execute(
                f"CREATE DATABASE {quoted} TEMPLATE template0 ENCODING 'UTF8' {locale}",
                timeout=30.0,
            )
            return True
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            return False
        except _NO_SUCH_LOCALE:
            if locale is _LOCALES[-1]:
                raise
    raise AssertionError
