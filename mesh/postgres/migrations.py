"""Alembic without a command line: revisions of one server, run by the server as it starts.

A server keeps `migrations/versions/{revision}_{words}.py` and needs no `env.py`. Revisions run
raw SQL:

    from alembic import op
    from mesh.postgres.migrations import attribute

    def upgrade() -> None:
        op.execute(f"CREATE TABLE {attribute('prefix')}_files (...)")
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from mesh.errors import Unavailable
from mesh.postgres.failures import is_gone, is_missing
from mesh.tls_faults import tls_fault

CONNECT_SECONDS = 5.0

# Alembic's `op` is one global of the process.
_one_at_a_time = threading.Lock()


def attribute(name: str) -> str:
    """A value given to `upgrade`, read by a revision while it runs."""
    from mesh.postgres.revisions import attributes

    return attributes()[name]


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

    One that a later version has brought further is left as it is: revisions only add what an
    earlier version can do without, so that it may be put back.

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

    def run() -> None:
        # Imported here only: it takes half a second, which a server that restarts has not.
        from mesh.postgres.revisions import run_revisions

        with _one_at_a_time:
            asyncio.run(
                run_revisions(
                    database_url,
                    script_location=script_location,
                    version_table=version_table,
                    attributes=attributes or {},
                    lock_key=lock_key,
                    connect_seconds=CONNECT_SECONDS,
                    timeout_seconds=timeout_seconds,
                )
            )

    try:
        reached = await _revision(database_url, version_table, timeout_seconds)
        if (reached or "") < await asyncio.to_thread(_newest, Path(script_location)):
            await asyncio.to_thread(run)
    except Exception as exc:
        if is_gone(exc) or is_gone(getattr(exc, "orig", None) or exc):
            fault = tls_fault(exc)
            raise Unavailable(
                f"migration of {version_table}: PostgreSQL does not answer"
                + (f": {fault}" if fault else "")
            ) from exc
        raise


async def _revision(database_url: str, version_table: str, timeout_seconds: float) -> str | None:
    """What the database is at; None at a first start."""
    connection = await asyncpg.connect(
        database_url, timeout=CONNECT_SECONDS, command_timeout=timeout_seconds
    )
    try:
        revision: str | None = await connection.fetchval(f"SELECT version_num FROM {version_table}")
    except asyncpg.PostgresError as exc:
        if is_missing(exc):
            return None
        raise
    finally:
        connection.terminate()
    return revision


def _newest(script_location: Path) -> str:
    return max(path.stem for path in (script_location / "versions").glob("*.py")).partition("_")[0]
