"""A PostgreSQL pool that outlives PostgreSQL: it starts while the server is down, gives up in
time while the server is silent, and works again as soon as the server does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import asyncpg
import structlog

from mesh.errors import Unavailable
from mesh.postgres import tcp_keepalive
from mesh.postgres.connections import Connection, cut, keep_alive, planned_anew, roll_back
from mesh.postgres.failures import is_gone, not_answering, refusal
from mesh.postgres.opening import Opening
from mesh.postgres.patience import patience
from mesh.postgres.urls import database_name

T = TypeVar("T")

DEFAULT_TIMEOUT_SECONDS = 3.0
PROBE_SECONDS = 1.0
PROBE_INTERVAL_SECONDS = 0.25
FULL_SECONDS = 10.0
# A connection that is not needed for so long is closed: it is a process of PostgreSQL too.
IDLE_SECONDS = 30.0

_log = structlog.stdlib.get_logger(__name__)

# What a connection that the server has closed meanwhile answers; the second, from asyncpg's
# protocol, when the end of it and the next statement meet.
_CUT_OFF = (asyncpg.ConnectionDoesNotExistError, asyncpg.InternalClientError)


class Database:
    """One database. Every call ends within its timeout, with `Unavailable` if need be.

    Args:
        url: libpq URI, TCP or unix socket (`postgresql://u@/db?host=/run/pg`).
        max_size: connections at most; none is opened before the first call.
        timeout_seconds: for getting a connection, and again for each statement.
        name: in log lines and messages; the database's name by default.
        droppable: names of tables and sequences, as statements name them, that an operator may
            drop and their owner makes anew; `EVERYTHING` where all that is used is of that kind.
            Meanwhile a call that needs one raises `TablesMissing`. Whatever else is missing is a
            wrong statement.
        settings: of PostgreSQL, for each pooled connection.
    """

    def __init__(
        self,
        url: str,
        *,
        max_size: int = 8,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        name: str = "",
        application_name: str = "artstore",
        droppable: Collection[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.name = name or database_name(url)
        self.timeout_seconds = timeout_seconds
        self._max_size = max_size
        self._droppable = frozenset(droppable)
        self._server_settings = {
            "application_name": application_name,
            # A query whose client has gone ends by itself, and lets go of its locks.
            "client_connection_check_interval": "1000",
            "idle_in_transaction_session_timeout": "60000",
            **tcp_keepalive.POSTGRES_SETTINGS,
            **(settings or {}),
        }
        self._pool: asyncpg.Pool[Any] | None = None
        self._opening = Opening()
        self._opening_pool = asyncio.Lock()
        self._probe: asyncio.Task[None] | None = None
        self._sign_of_life: asyncpg.Connection[Any] | None = None
        self._down = False
        self._last_failure: BaseException | None = None
        self._closed = False
        self._full_at = float("-inf")

    @property
    def was_full(self) -> bool:
        """Whether a statement found no space on the server's disk in the last 10 s."""
        return time.monotonic() - self._full_at < FULL_SECONDS

    @property
    def available(self) -> bool:
        """False from a failed probe until one succeeds; calls fail at once meanwhile."""
        return not self._down

    async def fetch(
        self,
        query: str,
        *arguments: object,
        timeout: float | None = None,
        replan: bool = False,
        patient: bool = False,
    ) -> list[asyncpg.Record]:
        """All rows. Repeated once if the connection was found dead: use it for reads only.

        Args:
            replan: plan for these very arguments and the table as it is. A plan that a
                connection keeps may be of when the table was empty, and scans it.
            patient: see `connection`.
        """
        if replan:
            return await self._twice(lambda c: planned_anew(c, query, arguments, timeout), patient)
        return await self._twice(lambda c: c.fetch(query, *arguments, timeout=timeout), patient)

    async def fetchrow(
        self, query: str, *arguments: object, timeout: float | None = None
    ) -> asyncpg.Record | None:
        """The first row or None. Repeated once like `fetch`."""
        return await self._twice(lambda c: c.fetchrow(query, *arguments, timeout=timeout))

    async def fetchval(self, query: str, *arguments: object, timeout: float | None = None) -> Any:
        """The first column of the first row or None. Repeated once like `fetch`."""
        return await self._twice(lambda c: c.fetchval(query, *arguments, timeout=timeout))

    async def execute(self, query: str, *arguments: object, timeout: float | None = None) -> str:
        """Run a statement, never twice. Answers its command tag, as `"UPDATE 1"`.

        `Unavailable` leaves open whether it was done.
        """
        async with self.connection() as connection:
            return str(await connection.execute(query, *arguments, timeout=timeout))

    async def executemany(
        self, query: str, rows: Iterable[Sequence[object]], timeout: float | None = None
    ) -> None:
        """Run a statement for each row, all or none, never twice."""
        async with self.connection() as connection:
            await connection.executemany(query, rows, timeout=timeout)

    @asynccontextmanager
    async def connection(self, *, patient: bool = False) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A pooled connection; errors of the server inside the block become `Unavailable`.

        Args:
            patient: statements may take as long as the server gives signs of life; see
                `mesh.postgres.patience`.
        """
        pool, held = await self._acquire()
        connection: Any = held
        try:
            if not patient:
                yield connection
            else:
                ask = partial(self.ping, self.timeout_seconds)
                async with patience(connection, ask, self.timeout_seconds):
                    yield connection
        except BaseException as exc:
            if isinstance(exc, asyncpg.DiskFullError):
                self._full_at = time.monotonic()
            if (refused := refusal(exc, self.name, self._droppable)) is not None:
                raise refused from exc
            if is_gone(exc):
                # Its state is unknown, and closing it politely could wait for ever.
                cut(connection)
                raise self._unavailable(exc) from exc
            raise
        finally:
            await self._release(pool, connection)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: str | None = None, readonly: bool = False, patient: bool = False
    ) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A transaction: committed at the end of the block, rolled back if it raises.

        `Unavailable` raised by the commit itself leaves open whether it was done.

        Args:
            patient: see `connection`.
        """
        async with self.connection(patient=patient) as connection:
            transaction = connection.transaction(
                isolation=isolation,  # type: ignore[arg-type]
                readonly=readonly,
            )
            try:
                await transaction.start()
                yield connection
            except BaseException as exc:
                await roll_back(connection, transaction, gone=is_gone(exc))
                raise
            await transaction.commit()

    async def connect(self, *, timeout: float | None = None) -> asyncpg.Connection[Any]:
        """A connection outside the pool, for LISTEN and session locks; the caller closes it."""
        try:
            connection: asyncpg.Connection[Any] = await self._opening.connect(
                self.url,
                timeout=timeout or self.timeout_seconds,
                command_timeout=self.timeout_seconds,
                server_settings=self._server_settings,
            )
            await keep_alive(connection)
            return connection
        except Exception as exc:
            if is_gone(exc):
                raise self._unavailable(exc) from exc
            raise

    async def ping(self, timeout: float = PROBE_SECONDS) -> None:
        """Ask the server for a sign of life, on a connection that is kept for that.

        A new one for each sign would cost both sides ten milliseconds of hashing a password.

        Raises:
            Unavailable: none came in time.
        """
        kept, self._sign_of_life = self._sign_of_life, None
        if kept is not None and not kept.is_closed():
            try:
                await self._ask(kept, timeout)
                return
            except Exception as exc:
                if isinstance(exc, TimeoutError):
                    raise self._unavailable(exc) from exc
        connection = await self.connect(timeout=timeout)
        try:
            await self._ask(connection, timeout)
        except Exception as exc:
            raise self._unavailable(exc) from exc

    async def _ask(self, connection: asyncpg.Connection[Any], timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await connection.execute("SELECT 1")
        except BaseException:
            connection.terminate()
            raise
        if self._closed or self._sign_of_life is not None:
            connection.terminate()
        else:
            self._sign_of_life = connection

    async def close(self) -> None:
        """Close all connections; those that do not answer are cut off after a second."""
        self._closed = True
        if self._sign_of_life is not None:
            self._sign_of_life.terminate()
        if self._probe is not None:
            self._probe.cancel()
            with suppress(asyncio.CancelledError):
                await self._probe
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(1.0):
                    await pool.close()
            except Exception:
                pool.terminate()
        await self._opening.close()

    async def _twice(
        self, call: Callable[[asyncpg.Connection[Any]], Awaitable[T]], patient: bool = False
    ) -> T:
        try:
            async with self.connection(patient=patient) as connection:
                return await call(connection)
        except Unavailable as exc:
            if self._down or not isinstance(exc.__cause__, _CUT_OFF):
                raise
        async with self.connection(patient=patient) as connection:
            return await call(connection)

    async def _acquire(self) -> tuple[asyncpg.Pool[Any], Any]:
        if self._down:
            raise not_answering(self.name, self._last_failure)
        pool = self._pool or await self._open()
        try:
            # Not acquire(timeout=...), which costs a task for each call.
            async with asyncio.timeout(self.timeout_seconds):
                return pool, await pool.acquire()
        except Exception as exc:
            if is_gone(exc):
                raise self._unavailable(exc) from exc
            raise

    async def _open(self) -> asyncpg.Pool[Any]:
        async with self._opening_pool:
            if self._closed:
                raise Unavailable(f"database {self.name} is closed")
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self.url,
                    min_size=0,
                    max_size=self._max_size,
                    max_inactive_connection_lifetime=IDLE_SECONDS,
                    timeout=self.timeout_seconds,
                    command_timeout=self.timeout_seconds,
                    server_settings=self._server_settings,
                    connect=self._opening.connect,
                    connection_class=Connection,
                    init=keep_alive,
                )
            return self._pool

    async def _release(self, pool: asyncpg.Pool[Any], connection: Any) -> None:
        try:
            await pool.release(connection, timeout=1.0)
        except asyncio.CancelledError:
            raise
        except Exception:
            cut(connection)

    def _unavailable(self, error: BaseException) -> Unavailable:
        if self._probe is None and not self._closed:
            self._probe = asyncio.get_running_loop().create_task(self._watch(repr(error)))
        return not_answering(self.name, error)

    async def _watch(self, reason: str) -> None:
        """After a failure: find out whether the server is gone, and until when."""
        try:
            while not self._closed:
                try:
                    connection = await self._opening.connect(
                        self.url, timeout=PROBE_SECONDS, command_timeout=PROBE_SECONDS
                    )
                except Exception as exc:
                    self._last_failure = exc
                    if not self._down:
                        self._down = True
                        _log.warning("database is down", database=self.name, reason=reason)
                    reason = repr(exc)
                    await asyncio.sleep(PROBE_INTERVAL_SECONDS)
                    continue
                connection.terminate()
                if self._down:
                    _log.info("database is back", database=self.name)
                return
        finally:
            self._down = False
            self._probe = None
