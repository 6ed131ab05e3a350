"""Following admin's list of suspended accounts: by asking admin, else from Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import tokens_pb2, tokens_pb2_grpc
from mesh.calls.admins_lists import pages
from mesh.contract import MAX_PAGE_SIZE
from mesh.errors import ArtStoreError, Unavailable
from mesh.identity.credentials import ServiceToken
from mesh.identity.suspensions import SUSPENSIONS_KEY, Suspension, SuspensionList, Suspensions
from mesh.redis import open_redis, translated

if TYPE_CHECKING:
    from artstore.v1.tokens_pb2_grpc import TokenServiceAsyncStub

# A suspension bites everywhere within 30 s, also when admin and Redis are slow to fail.
POLL_SECONDS = 5.0
CALL_SECONDS = 2.0

_log = structlog.stdlib.get_logger(__name__)


class AdminsList:
    """The list as admin answers it.

    Args:
        account: this server's own token.
    """

    def __init__(self, channel: grpc.aio.Channel, account: ServiceToken) -> None:
        self._stub: TokenServiceAsyncStub = tokens_pb2_grpc.TokenServiceStub(channel)
        self._account = account

    async def read(self) -> SuspensionList:
        """The whole list.

        Raises:
            ArtStoreError: admin is down or silent, does not take the token, or gave none.
        """
        request = tokens_pb2.ListSuspensionsRequest(page_size=MAX_PAGE_SIZE)
        found: list[Suspension] = []
        listed_at = 0.0
        async for page in pages(
            self._stub.ListSuspensions, request, self._account, seconds=CALL_SECONDS
        ):
            # What changed between two pages is seen whole by the next reading.
            listed_at = listed_at or _seconds(page.listed_at)
            found += map(_suspension, page.suspensions)
        return SuspensionList(listed_at, tuple(found))


async def follow_suspensions(suspensions: Suspensions, admin: AdminsList, redis_url: str) -> None:
    """Go by admin's list, else by the copy in Redis, else by what is known, until cancelled.

    Args:
        redis_url: of Redis; empty if there is none.
    """
    redis = open_redis(redis_url) if redis_url else None
    told = ""
    try:
        while True:
            reason = await _look(suspensions, admin, redis)
            if reason != told:
                level = "warning" if reason else "info"
                getattr(_log, level)("suspensions followed", reason=reason or "all is well")
                told = reason
            await asyncio.sleep(POLL_SECONDS)
    finally:
        if redis is not None:
            await redis.aclose()


async def _look(suspensions: Suspensions, admin: AdminsList, redis: Any | None) -> str:
    """Look once; why what is known may not be of now, empty if it is."""
    try:
        suspensions.take(await admin.read())
    except ArtStoreError as error:
        try:
            suspensions.take_newer(await read_copy(redis))
        except ArtStoreError:
            return f"neither admin nor Redis tells them: {error.message}"
    try:
        await suspensions.keep()
    except OSError as error:
        return f"they cannot be kept on disk: {error}"
    return ""


async def read_copy(redis: Any | None) -> SuspensionList:
    """The list as admin left it in Redis.

    Raises:
        Unavailable: Redis is down or silent, or has none.
    """
    if redis is None:
        raise Unavailable("there is no Redis")
    with translated("suspensions"):
        text = await redis.get(SUSPENSIONS_KEY)
    try:
        return SuspensionList.from_json(text or "")
    except ValueError as error:
        raise Unavailable("Redis has no list of suspensions") from error


async def put_copy(redis: Any, found: SuspensionList) -> None:
    """Leave the list in Redis, for servers that don't reach admin.

    Raises:
        Unavailable: Redis is down or silent.
    """
    with translated("suspensions"):
        await redis.set(SUSPENSIONS_KEY, found.to_json())


def _suspension(message: tokens_pb2.Suspension) -> Suspension:
    return Suspension(
        message.client_id,
        _seconds(message.suspended_at),
        _seconds(message.ends_at) if message.HasField("ends_at") else None,
    )


def _seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
