"""Connections of the pool: made, asked, rolled back and dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import asyncpg

from mesh.postgres import tcp_keepalive


class Connection(asyncpg.Connection):
    """A pooled connection; giving it back costs no round trip to the server.

    So nothing may be left on it: no session lock, no LISTEN, no SET outside a transaction.
    Those need a connection of their own (`Database.connect`).
    """

    def get_reset_query(self) -> str:
        """Nothing to reset, see the class."""
        return ""

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Another one, for the statements of a block that are given none."""
        # asyncpg has no public way to it.
        own: Any = self._config  # type: ignore[has-type]
        self._config = own._replace(command_timeout=seconds)
        try:
            yield
        finally:
            self._config = own


async def keep_alive(connection: Any) -> None:
    """Notice within seconds that PostgreSQL's host, or the network to it, has gone."""
    # asyncpg has no public way to its socket.
    connected = connection._transport.get_extra_info("socket")
    if connected is not None:
        tcp_keepalive.keep_alive(connected)


async def planned_anew(
    connection: asyncpg.Connection[Any],
    query: str,
    arguments: Sequence[object],
    timeout: float | None,
) -> list[asyncpg.Record]:
    statement = await connection.prepare(query, timeout=timeout)
    return await statement.fetch(*arguments, timeout=timeout)


async def roll_back(connection: Any, transaction: Any, *, gone: bool) -> None:
    """End a transaction that was begun, or whose beginning was cut off."""
    if gone or connection.is_closed():
        cut(connection)
        return
    try:
        async with asyncio.timeout(1.0):
            await asyncio.shield(transaction.rollback())
    except BaseException as exc:
        # Not in time, or asyncpg does not know whether it began: the server does it when the
        # connection drops.
        cut(connection)
        # Whoever waits for the end of a task that was cancelled here would wait for ever.
        if isinstance(exc, asyncio.CancelledError):
            raise


def cut(connection: Any) -> None:
    """Drop a pooled connection without a word; one that was dropped before stays so."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()
