"""Asking one element about files by id."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from artstore.v1 import storage_pb2
from artstore.v1.types_pb2 import File
from mesh.calls.status import from_rpc_error
from mesh.errors import Unavailable

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

LOOK_UP_SECONDS = 10.0
# So many ids in one call.
BATCH = 250
# After each call the element is left alone for so many times as long as the call took: a follower
# that asks about everything takes a sixth of what the element can do.
RESTS = 5.0
# An element that is too busy to look is asked again until it has answered nothing for so long.
PATIENCE_SECONDS = 30.0
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 5.0

Metadata = Callable[[], Awaitable[Sequence[tuple[str, str]]]]
# Of a call of the element with that id.
ElementMetadata = Callable[[str], Awaitable[Sequence[tuple[str, str]]]]


@dataclass(slots=True)
class LookedUp:
    """What an element said.

    Attributes:
        found: files that it has, in whatever state.
        gone: ids that it says are NOT_FOUND: it has no sidecar of them.
        unknown: ids whose sidecar is there and damaged: nobody can say what it held.
    """

    found: list[File] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class FileLookups:
    """Asks one element, in batches and with rests between them."""

    def __init__(self, stub: StorageServiceAsyncStub, metadata: Metadata) -> None:
        self._stub = stub
        self._metadata = metadata
        self._turn = asyncio.Lock()
        self._rests_until = 0.0

    async def look_up(self, file_ids: Sequence[str]) -> LookedUp:
        """Ask about each of them.

        Raises:
            AioRpcError: some other answer to one of them, or none for too long.
        """
        answers = LookedUp()
        batches = deque(file_ids[at : at + BATCH] for at in range(0, len(file_ids), BATCH))
        answered_at = time.monotonic()
        while batches:
            batch = batches.popleft()
            try:
                await self._ask(batch, answers)
            except grpc.aio.AioRpcError as error:
                silent = time.monotonic() - answered_at
                if error.code() not in _OF_ONE_OR_ALL or silent > PATIENCE_SECONDS:
                    raise
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    batches.append(batch)
                    await asyncio.sleep(_pause(error))
                elif len(batch) > 1:
                    middle = len(batch) // 2
                    batches.extendleft((batch[middle:], batch[:middle]))
                elif error.code() is grpc.StatusCode.DATA_LOSS:
                    answers.unknown.extend(batch)
                    answered_at = time.monotonic()
                else:
                    raise
            else:
                answered_at = time.monotonic()
        return answers

    async def _ask(self, file_ids: Sequence[str], answers: LookedUp) -> None:
        async with self._turn:
            await asyncio.sleep(self._rests_until - time.monotonic())
            began = time.monotonic()
            try:
                answer = await self._stub.BatchGetFiles(
                    storage_pb2.BatchGetFilesRequest(file_ids=file_ids, show_deleted=True),
                    metadata=tuple(await self._metadata()),
                    timeout=LOOK_UP_SECONDS,
                )
            finally:
                took = time.monotonic() - began
                self._rests_until = began + took + min(took * RESTS, MAX_PAUSE_SECONDS)
        answers.found.extend(answer.files)
        answers.gone.extend(answer.missing_file_ids)


# One damaged sidecar, or too many to look for in time: of fewer ids more is known.
_OF_ONE_OR_ALL = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


def _pause(error: grpc.aio.AioRpcError) -> float:
    """As long as the element asks for (RetryInfo), within reason."""
    told = from_rpc_error(error)
    wanted = told.retry_after_seconds if isinstance(told, Unavailable) else 0.0
    return min(max(wanted, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)
