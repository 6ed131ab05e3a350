"""Changes of a file at its home, wherever that is by the time the change gets there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from artstore.v1 import storage_pb2_grpc
from artstore_client import errors
from artstore_client.calls.connection import Connection
from artstore_client.files.finding import Finding, find_file

Answer = TypeVar("Answer")

SWITCHING = "SWITCHING"
# By these an element says that nothing was changed, and which element to ask (metadata).
NOT_HOME = "NOT_HOME"
_ELSEWHERE = {"MOVED": "moved_to", NOT_HOME: "home"}


async def at_home(
    connection: Connection,
    file_id: str,
    change: Callable[[storage_pb2_grpc.StorageServiceAsyncStub, str], Awaitable[Answer]],
    *,
    element_id: str = "",
    show_expired: bool = False,
) -> tuple[str, Answer]:
    """(element id, answer) of a change at the file's home.

    An element that is not its home says so and changes nothing; the one that it names is asked
    next. While the file is changing its home the change is tried again, as long as the client
    tries anything again (`retry_for_seconds`).

    Args:
        change: one call with the element's stub and id.
        element_id: the element to ask first; empty means the one that readers ask.
        show_expired: the change is for a file that has expired, too.

    Raises:
        Unavailable: reason SWITCHING, the file was changing its home all the time.
        ArtStoreError: see `find_file`; or what the home answered.
    """
    patience = connection.calls.patience()
    asked: set[str] = set()
    while True:
        if not element_id:
            element_id, _ = await find_file(connection, file_id, show_expired=show_expired)
        asked.add(element_id)
        try:
            return element_id, await change(await connection.storage(element_id), element_id)
        except errors.ArtStoreError as error:
            leads_to = _leads_to(error)
            if error.reason == NOT_HOME and not leads_to:
                leads_to = await _home(connection, file_id, asked)
            if leads_to and leads_to not in asked:
                element_id = leads_to
                continue
            if not leads_to and error.reason != SWITCHING:
                raise
            delay = patience.next_delay(error)
            if delay is None:
                raise
        # Elements that send to each other are asked anew: it may have moved on meanwhile.
        element_id = ""
        asked.clear()
        await asyncio.sleep(delay)


async def _home(connection: Connection, file_id: str, asked: set[str]) -> str:
    """The element that speaks for a file of which one that was asked has only a copy.

    Raises:
        Unavailable: reason ELEMENT_UNAVAILABLE, it does not answer.
    """
    finding = Finding(connection, file_id, show_expired=True)
    home = await finding.speaking()
    if home and home not in asked:
        return home
    silent = sorted(
        name for name, e in finding.failures.items() if isinstance(e, errors.Unavailable)
    )
    raise errors.Unavailable(
        f"file {file_id} has copies that can be read, and its home, which takes changes, does not"
        f" answer{': ask again when ' + ', '.join(silent) + ' does' if silent else ''}",
        reason="ELEMENT_UNAVAILABLE",
        metadata={"storage_element_ids": ",".join(silent)},
    )


def _leads_to(error: errors.ArtStoreError) -> str:
    """The element that an error sends to; of one that names none, nothing."""
    key = _ELSEWHERE.get(error.reason, "")
    return error.metadata.get(key, "") if key else ""
