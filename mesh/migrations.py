"""Alembic without a command line: revisions of one server, run by the server as it starts.

A server keeps `migrations/versions/*.py` and needs no `env.py`. Revisions run raw SQL:

    from alembic import op
    from mesh.migrations import attribute

    def upgrade() -> None:
        op.execute(f"CREATE TABLE {attribute('prefix')}_files (...)")
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
from alembic import op
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from mesh.database import is_gone
from mesh.errors import Unavailable

# Alembic's `op` is one global of the process.
_one_at_a_time = threading.Lock()


def attribute(name: str) -> str:
    """A value given to `upgrade`, read by a revision while it runs."""
    config = op.get_context().config
    if config is None:
        raise RuntimeError("revisions run through mesh.migrations.upgrade only")
    return str(config.attributes[name])


async def upgrade(
    database_url: str,
    *,
    script_location: str | Path,
    version_table: str,
    attributes: Mapping[str, str] | None = None,
    lock_key: int,
    timeout_seconds: float = 60.0,
) -> None:
    """Bring the database to the newest revision in one transaction.

    Args:
        database_url: libpq URI.
        script_location: folder that holds `versions/`.
        version_table: where this server's revision is kept; each element has its own.
        attributes: what `attribute` answers inside the revisions.
        lock_key: advisory lock; servers that start together take turns.
        timeout_seconds: for the lock and for each statement.

    Raises:
        Unavailable: PostgreSQL is down, or silent for longer than that.
    """

    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes or {})

    def run() -> None:
        with _one_at_a_time:
            asyncio.run(
                _upgrade(
                    database_url,
                    config,
                    version_table=version_table,
                    lock_key=lock_key,
                    timeout_seconds=timeout_seconds,
                )
            )

    try:
        await asyncio.to_thread(run)
    except Exception as exc:
        if is_gone(exc) or is_gone(getattr(exc, "orig", None) or exc):
            raise Unavailable(f"migration of {version_table}: PostgreSQL does not answer") from exc
        raise


async def _upgrade(
    database_url: str,
    config: Config,
    *,
    version_table: str,
    lock_key: int,
    timeout_seconds: float,
) -> None:
    async def connect() -> asyncpg.Connection[Any]:
        return await asyncpg.connect(database_url, timeout=5.0, command_timeout=timeout_seconds)

    # asyncpg parses the libpq URI itself: socket folders have no faithful SQLAlchemy URL.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=pool.NullPool
    )
    guard = await connect()
    try:
        await guard.execute("SELECT pg_advisory_lock($1)", lock_key)
        async with engine.connect() as connection:
            await connection.run_sync(_run_revisions, config, version_table)
            await connection.commit()
    finally:
        # Dropping the connection lets the lock go, whatever state it is in.
        guard.terminate()
        await engine.dispose()


def _run_revisions(connection: Connection, config: Config, version_table: str) -> None:
    script = ScriptDirectory.from_config(config)

    def revisions(revision: Any, context: Any) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(config, script, fn=revisions, destination_rev="head") as environment:
        environment.configure(
            connection=connection, version_table=version_table, transactional_ddl=True
        )
        with environment.begin_transaction():
            environment.run_migrations()
