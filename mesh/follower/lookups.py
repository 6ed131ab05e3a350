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

from artstore.v1 import storage_pb2 as pb
from artstore.v1.types_pb2 import File
from mesh.errors import Unavailable
from mesh.status import from_rpc_error

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

LOOK_UP_SECONDS = 10.0
# As many unknown ids as an element looks for at a time.
IN_FLIGHT = 2
# An element that is too busy to look is asked again until it has answered nothing for so long.
PATIENCE_SECONDS = 30.0
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 5.0

Metadata = Callable[[], Awaitable[Sequence[tuple[str, str]]]]


@dataclass(slots=True)
class Answers:
    """What an element said.

    Attributes:
        found: files that it has.
        gone: ids that it says are NOT_FOUND.
        unknown: ids whose sidecar is there and damaged: nobody can say what it held.
    """

    found: list[File] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class ElementFiles:
    """Asks one element, a few ids at a time."""

    def __init__(self, stub: StorageServiceAsyncStub, metadata: Metadata) -> None:
        self._stub = stub
        self._metadata = metadata

    async def look_up(self, file_ids: Sequence[str]) -> Answers:
        """Ask about each of them.

        Raises:
            AioRpcError: some other answer to one of them, or none for too long.
        """
        answers = Answers()
        waiting = deque(file_ids)
        answered_at = time.monotonic()

        async def worker() -> None:
            nonlocal answered_at
            while waiting:
                file_id = waiting.popleft()
                try:
                    await self._get(file_id, answers)
                except grpc.aio.AioRpcError as error:
                    silent = time.monotonic() - answered_at
                    if error.code() is not grpc.StatusCode.UNAVAILABLE or silent > PATIENCE_SECONDS:
                        raise
                    waiting.append(file_id)
                    await asyncio.sleep(_pause(error))
                else:
                    answered_at = time.monotonic()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(IN_FLIGHT, len(file_ids))):
                    group.create_task(worker())
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from several
        return answers

    async def _get(self, file_id: str, answers: Answers) -> None:
        try:
            answer = await self._stub.GetFile(
                pb.StorageServiceGetFileRequest(file_id=file_id),
                metadata=tuple(await self._metadata()),
                timeout=LOOK_UP_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                answers.gone.append(file_id)
            elif error.code() is grpc.StatusCode.DATA_LOSS:
                answers.unknown.append(file_id)
            else:
                raise
        else:
            answers.found.append(answer.file)


def _pause(error: grpc.aio.AioRpcError) -> float:
    """As long as the element asks for (RetryInfo), within reason."""
    told = from_rpc_error(error)
    wanted = told.retry_after_seconds if isinstance(told, Unavailable) else 0.0
    return min(max(wanted, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)
