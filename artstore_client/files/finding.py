"""Which element has a file: the one the registry names, else all are asked at once.

Before it is said that a file is nowhere, admin is asked whether there are elements that were not
asked yet: a mesh grows while its clients are connected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from artstore.v1 import storage_pb2, storage_pb2_grpc, types_pb2
from artstore_client import errors
from artstore_client.calls.connection import Connection

Failures = dict[str, errors.ArtStoreError]
Ask = Callable[[str], Awaitable[types_pb2.File]]


async def find_file(connection: Connection, file_id: str) -> tuple[str, types_pb2.File]:
    """(element id, description) of an active file, or of a moved one if nothing better answers.

    Raises:
        NotFound: every element answered that it has no such file, or one that it was deleted.
        Unavailable: none has it, but some did not answer.
        ArtStoreError: none has it, and an element refused to say.
    """
    request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id)

    async def ask(element_id: str) -> types_pb2.File:
        async def get(stub: storage_pb2_grpc.StorageServiceAsyncStub) -> types_pb2.File:
            answer = await connection.calls.unary(
                stub.GetFile, request, doing=f"GetFile on {element_id}"
            )
            return answer.file

        return await connection.at_element(element_id, get)

    failures: Failures = {}
    for element_id in await connection.registered_homes(file_id):
        try:
            return element_id, await ask(element_id)
        except (errors.NotFound, errors.Unavailable) as error:
            failures[element_id] = error
        except errors.ConfigurationError:
            # The registry follows; an element that admin does not list any more has nothing.
            continue
    return await _first_that_has(connection, file_id, ask, failures)


async def _first_that_has(
    connection: Connection, file_id: str, ask: Ask, failures: Failures
) -> tuple[str, types_pb2.File]:
    """Ask every element that has not failed yet; the first one with an active file is it."""
    moved: dict[str, types_pb2.File] = {}
    looked = False
    while True:
        known = await connection.elements()
        rest = known.keys() - failures.keys() - moved.keys()
        if not rest and looked:
            break
        if not rest:
            looked = True
            await connection.directory.look()
            continue
        found = await _race(rest, ask, failures, moved)
        if found is not None:
            return found
    if moved:
        return next(iter(sorted(moved.items())))
    # The look may have told that one is no part of the mesh any more.
    failures = {name: error for name, error in failures.items() if name in known}
    raise verdict(file_id, failures, doubt=connection.directory.doubt)


async def _race(
    element_ids: Iterable[str], ask: Ask, failures: Failures, moved: dict[str, types_pb2.File]
) -> tuple[str, types_pb2.File] | None:
    """Ask all of them at once; the first active file wins, and the others are cancelled."""
    tasks = {asyncio.ensure_future(ask(name)): name for name in sorted(element_ids)}
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    file = task.result()
                except errors.ArtStoreError as error:
                    failures[tasks[task]] = error
                    continue
                if file.state != types_pb2.FILE_STATE_MOVED:
                    return tasks[task], file
                moved[tasks[task]] = file
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def verdict(file_id: str, failures: Failures, *, doubt: str = "") -> errors.ArtStoreError:
    """What it means that no element gave the file.

    Only when every element says that it has not got it, or one that it was deleted, it is not
    there.

    Args:
        doubt: why there may be elements that were not asked.
    """
    deleted = [e for e, error in failures.items() if error.reason == "FILE_DELETED"]
    if deleted:
        return errors.NotFound(
            f"file {file_id} on {', '.join(sorted(deleted))} was deleted. It may be restored"
            " while it is in the trash.",
            reason="FILE_DELETED",
        )
    unsure = {
        element: error
        for element, error in failures.items()
        if not isinstance(error, errors.NotFound)
    }
    if not unsure:
        asked = ", ".join(sorted(failures))
        but = f" Elements added lately were not asked: {doubt}" if doubt else ""
        return errors.NotFound(
            f"no file {file_id} on {asked}. {errors.NotFound.advice}{but}", reason="FILE_NOT_FOUND"
        )
    silent = {e: error for e, error in unsure.items() if isinstance(error, errors.Unavailable)}
    if len(silent) < len(unsure):
        return next(error for element, error in unsure.items() if element not in silent)
    told = "; ".join(f"{element}: {error.message}" for element, error in sorted(silent.items()))
    return errors.Unavailable(
        f"file {file_id} may be on an element that did not answer ({told})",
        retry_after_seconds=max(error.retry_after_seconds for error in silent.values()),
        reason="ELEMENT_UNAVAILABLE",
        metadata={"storage_element_ids": ",".join(sorted(silent))},
    )
