"""Which element has a file: the one the registry names, else all are asked at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from artstore.v1 import storage_pb2, storage_pb2_grpc, types_pb2
from artstore_client import errors
from artstore_client.connection import Connection

Answer = TypeVar("Answer")


async def find_file(connection: Connection, file_id: str) -> tuple[str, types_pb2.File]:
    """(element id, description) of an active file, or of a moved one if nothing better answers.

    Raises:
        NotFound: every element answered that it has no such file.
        Unavailable: none has it, but some did not answer.
        ArtStoreError: none has it, and an element refused to say.
    """

    async def ask(
        element_id: str, stub: storage_pb2_grpc.StorageServiceAsyncStub
    ) -> types_pb2.File:
        request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id)
        answer = await connection.calls.unary(
            stub.GetFile, request, doing=f"GetFile on {element_id}"
        )
        return answer.file

    known = await connection.elements()
    homes = [home for home in await connection.registered_homes(file_id) if home in known]
    silent: errors.Unavailable | None = None
    for element_id in homes:
        try:
            return element_id, await ask(element_id, connection.storage_at(known[element_id]))
        except errors.NotFound:
            continue
        except errors.Unavailable as error:
            silent = error
    if silent is not None:
        raise silent
    return await first_that_has(
        connection, file_id, ask, good=lambda file: file.state != types_pb2.FILE_STATE_MOVED
    )


async def first_that_has(
    connection: Connection,
    file_id: str,
    ask: Callable[[str, storage_pb2_grpc.StorageServiceAsyncStub], Awaitable[Answer]],
    *,
    good: Callable[[Answer], bool],
) -> tuple[str, Answer]:
    """Ask every element at once; the first `good` answer wins, and cancels the others."""
    tasks: dict[asyncio.Task[Answer], str] = {}
    for element_id, endpoint in (await connection.elements()).items():
        asking = ask(element_id, connection.storage_at(endpoint))
        tasks[asyncio.ensure_future(asking)] = element_id
    second_best: tuple[str, Answer] | None = None
    failures: dict[str, errors.ArtStoreError] = {}
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    answer = task.result()
                except errors.ArtStoreError as error:
                    failures[tasks[task]] = error
                    continue
                if good(answer):
                    return tasks[task], answer
                second_best = (tasks[task], answer)
        if second_best is not None:
            return second_best
        raise verdict(file_id, failures)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def verdict(file_id: str, failures: dict[str, errors.ArtStoreError]) -> errors.ArtStoreError:
    """What it means that no element gave the file.

    Only when every element says that it has not got it, it is not there.
    """
    unsure = {
        element: error
        for element, error in failures.items()
        if not isinstance(error, errors.NotFound)
    }
    if not unsure:
        asked = ", ".join(sorted(failures))
        return errors.NotFound(
            f"no file {file_id} on {asked}. {errors.NotFound.advice}", reason="FILE_NOT_FOUND"
        )
    silent = {e: error for e, error in unsure.items() if isinstance(error, errors.Unavailable)}
    if len(silent) < len(unsure):
        return next(error for element, error in unsure.items() if element not in silent)
    told = "; ".join(f"{element}: {error.message}" for element, error in sorted(silent.items()))
    return errors.Unavailable(
        f"file {file_id} may be on an element that did not answer ({told})",
        retry_after_seconds=max(error.retry_after_seconds for error in silent.values()),
        reason="ELEMENT_UNAVAILABLE",
    )
