"""The writer's lock of an element on S3: a PostgreSQL session advisory lock.

The lock goes when the session does, which a writer that is merely cut off from PostgreSQL
does not notice at once. Where the S3 server has no conditional PUT, the writer therefore asks
its session just before each sidecar, and a new holder waits until the last one, if it may
still be alive, has had the time to meet that check.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import structlog

from mesh.errors import Unavailable
from mesh.postgres.database import Database
from mesh.postgres.failures import is_gone
from storage_server.catalog.tables import Tables
from storage_server.store.port import Store

CHECK_SECONDS = 5.0
WAIT_SECONDS = 10.0

_log = structlog.stdlib.get_logger(__name__)


class SessionWriterLock:
    """See the module. The last holder is kept in a table of one row.

    Args:
        database: of the element; the lock takes a connection of its own.
    """

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._table = f"public.{tables.prefix}writer"
        name = hashlib.blake2b(tables.prefix.encode(), digest_size=8, person=b"artstore-writer")
        self._key = int.from_bytes(name.digest(), "big", signed=True)
        self._connection: asyncpg.Connection[Any] | None = None
        self._turn = asyncio.Lock()
        self._me = (socket.gethostname(), os.getpid(), _started_at(os.getpid()))
        self._not_before = 0.0
        self._was_held = False

    @property
    def lost(self) -> bool:
        """It was held, and its session is gone."""
        return self._was_held and (self._connection is None or self._connection.is_closed())

    async def acquire(self, store: Store) -> bool:
        """Take the lock; False while another session has it, or had it a moment ago."""
        await store.acquire_writer()
        async with self._turn:
            if self._connection is None or self._connection.is_closed():
                self._connection = None
                if not await self._take(wait=not store.conditional_put):
                    return False
            if time.monotonic() < self._not_before:
                return False
            await self._note_holder()
            self._was_held = True
            return True

    async def check(self) -> None:
        """Ask the session for a sign of life, within 5 s."""
        async with self._turn:
            await self._ask("SELECT 1")

    async def release(self) -> None:
        """Say that no wait is needed, and end the session."""
        self._was_held = False
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        try:
            async with asyncio.timeout(1.0):
                await connection.execute(f"UPDATE {self._table} SET released = true")
        except Exception as exc:
            _log.debug("the writer's lock was not released in good order", reason=repr(exc))
        finally:
            connection.terminate()

    async def _take(self, *, wait: bool) -> bool:
        connection = await self._database.connect()
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._key):
                    connection.terminate()
                    return False
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {self._table} (id smallint PRIMARY KEY,"
                    " host text NOT NULL, pid integer NOT NULL, started_at text NOT NULL,"
                    " released boolean NOT NULL)"
                )
                last = await connection.fetchrow(f"SELECT * FROM {self._table}")
        except Exception as exc:
            connection.terminate()
            if is_gone(exc):
                raise Unavailable("the writer's lock: PostgreSQL does not answer") from exc
            raise
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        self._not_before = 0.0
        if wait and self._may_be_alive(last):
            self._not_before = time.monotonic() + WAIT_SECONDS
            _log.info("waiting for the last writer to notice", seconds=WAIT_SECONDS)
        return True

    def _may_be_alive(self, last: asyncpg.Record | None) -> bool:
        if last is None or last["released"]:
            return False
        host, pid, started_at = last["host"], last["pid"], last["started_at"]
        if (host, pid, started_at) == self._me:
            return False
        # A pid on this host is alive only if it is still the same process.
        return host != self._me[0] or (bool(started_at) and _started_at(pid) == started_at)

    async def _note_holder(self) -> None:
        await self._ask(
            f"INSERT INTO {self._table} (id, host, pid, started_at, released)"
            " VALUES (1, $1, $2, $3, false) ON CONFLICT (id) DO UPDATE SET"
            " host = excluded.host, pid = excluded.pid, started_at = excluded.started_at,"
            " released = false",
            *self._me,
        )

    async def _ask(self, query: str, *arguments: object) -> None:
        connection = self._connection
        if connection is None or connection.is_closed():
            raise Unavailable("this process is not the writer any more", reason="NOT_WRITER")
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await connection.execute(query, *arguments)
        except Exception as exc:
            if not is_gone(exc):
                raise
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise Unavailable(
                "the writer's lock: PostgreSQL does not answer", reason="NOT_WRITER"
            ) from exc


def _started_at(pid: int) -> str:
    """When a process of this host started, in ticks since boot, with the boot; empty if dead."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{boot}:{fields[19]}"
