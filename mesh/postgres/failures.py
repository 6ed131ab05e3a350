"""What PostgreSQL's errors mean to whoever asked.

it is gone           down, silent, full of connections: ask again later (`is_gone`)
it takes no writes   a standby, read-only by setting, no space left: DATABASE_READ_ONLY
tables are missing   somebody dropped what its owner makes anew: TablesMissing
anything else        the statement is wrong, and the error stays what it is
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

import asyncpg

from mesh.errors import TablesMissing, Unavailable
from mesh.tls_faults import tls_fault

EVERYTHING = "*"
"""For `droppable`: of any relation, column and function that is missing."""

# What says "the server is not there", as opposed to "the statement is wrong".
_GONE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DatabaseDroppedError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientResourcesError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
)

# What says "it can be read and takes no writes": a standby, read-only by setting, no space left.
_TAKES_NO_WRITES = (asyncpg.ReadOnlySQLTransactionError, asyncpg.DiskFullError)

# A relation, or what was made together with it.
_MISSING = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedObjectError,
)


def is_gone(error: BaseException) -> bool:
    """Whether `error` means that the server is down, silent or full, not that a call is wrong."""
    if isinstance(error, asyncpg.InterfaceError):
        return re.search(r"clos|lost|terminat", str(error)) is not None
    return isinstance(error, _GONE)


def not_answering(database: str, error: BaseException | None) -> Unavailable:
    """For a database that is gone, with what is wrong with TLS if it is that."""
    fault = tls_fault(error) if error is not None else ""
    return Unavailable(f"database {database} is not answering" + (f": {fault}" if fault else ""))


def refusal(
    error: BaseException, database: str, droppable: Collection[str] = ()
) -> Unavailable | None:
    """What a server that answers cannot do for now; None when the statement is wrong.

    Args:
        database: its name, for the message.
        droppable: see `mesh.postgres.database.Database`.
    """
    if isinstance(error, _TAKES_NO_WRITES):
        return Unavailable(
            f"database {database} takes no writes: {type(error).__name__}",
            reason="DATABASE_READ_ONLY",
        )
    if is_missing(error, droppable):
        return TablesMissing(f"tables of database {database} are missing and will be made anew")
    return None


def is_missing(error: BaseException, droppable: Collection[str] = (EVERYTHING,)) -> bool:
    """Whether `error` means that one of `droppable` is not there."""
    if not isinstance(error, _MISSING):
        return False
    # Only the name is sure: the words around it are in the server's language.
    named = re.findall(r"[\w.]+", str(error))
    return EVERYTHING in droppable or not set(droppable).isdisjoint(named)
