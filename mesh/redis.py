"""Valkey (or Redis) clients that fail fast and never send a command twice."""

from __future__ import annotations

from types import TracebackType

import redis.asyncio as aioredis
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from mesh.errors import Unavailable
from mesh.tls_faults import tls_fault

TIMEOUT_SECONDS = 1.0

_GONE = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    OSError,
    TimeoutError,
)


class _RereadingConnection(aioredis.SSLConnection):
    """Takes new certificates to trust, and to show, with each connecting, not the first alone."""

    async def _connect(self) -> None:
        self.ssl_context.context = None
        await super()._connect()  # type: ignore[no-untyped-call]


def open_redis(
    url: str, *, timeout_seconds: float = TIMEOUT_SECONDS, max_connections: int = 32
) -> aioredis.Redis:
    """A client; nothing is connected before the first command.

    Args:
        url: `redis://host:port/0`, `rediss://` or `unix:///path`.
        timeout_seconds: to connect, to get a connection, and for each answer. For blocking
            reads use a client of its own with a longer one.
        max_connections: callers beyond it wait, at most `timeout_seconds`.

    A command whose answer was lost is not sent again: the caller knows if it may be.
    """
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
    )
    if pool.connection_class is aioredis.SSLConnection:
        pool.connection_class = _RereadingConnection
    return aioredis.Redis.from_pool(pool)


class translated:  # noqa: N801 - reads as a verb: `with translated("locks"):`
    """Context manager: what says that the server is down or silent becomes `Unavailable`.

    Errors that the server answers (a wrong script, a wrong type) pass: they are bugs.
    """

    def __init__(self, what: str = "redis") -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, redis.exceptions.AuthenticationError):
            raise Unavailable(f"{self._what}: the Redis server refuses the password") from error
        if isinstance(error, _GONE):
            fault = tls_fault(error)
            raise Unavailable(
                f"{self._what}: the Redis server is not answering" + (f": {fault}" if fault else "")
            ) from error


async def ping(client: aioredis.Redis) -> None:
    """Ask for a sign of life.

    Raises:
        Unavailable: none came in time.
    """
    with translated("ping"):
        await client.ping()
