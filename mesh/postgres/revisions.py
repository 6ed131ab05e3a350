"""Running a server's revisions by Alembic."""

from __future__ import annotations

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


def attributes() -> Mapping[str, str]:
    """The values given to `run_revisions`, while one runs."""
    config = op.get_context().config
    if config is None:
        raise RuntimeError("revisions run through mesh.postgres.migrations.upgrade only")
    return config.attributes


async def run_revisions(
    database_url: str,
    *,
    script_location: str | Path,
    version_table: str,
    attributes: Mapping[str, str],
    lock_key: int,
    connect_seconds: float,
    timeout_seconds: float,
) -> None:
    """`mesh.postgres.migrations.upgrade`, in an event loop that may be held up."""
    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes)

    async def connect() -> asyncpg.Connection[Any]:
        return await asyncpg.connect(
            database_url, timeout=connect_seconds, command_timeout=timeout_seconds
        )

    # asyncpg parses the libpq URI itself: socket folders have no faithful SQLAlchemy URL.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=pool.NullPool
    )
    guard = await connect()
    try:
        await guard.execute("SELECT pg_advisory_lock($1)", lock_key)
        async with engine.connect() as connection:
            await connection.run_sync(_run, config, version_table)
            await connection.commit()
    finally:
        # Dropping the connection lets the lock go, whatever state it is in.
        guard.terminate()
        await engine.dispose()


def _run(connection: Connection, config: Config, version_table: str) -> None:
    script = ScriptDirectory.from_config(config)

    def revisions(revision: Any, context: Any) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(config, script, fn=revisions, destination_rev="head") as environment:
        environment.configure(
            connection=connection, version_table=version_table, transactional_ddl=True
        )
        with environment.begin_transaction():
            environment.run_migrations()
