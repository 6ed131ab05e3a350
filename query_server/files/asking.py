"""Asking the elements themselves for a file that the index does not have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from artstore.v1 import storage_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from artstore.v1.types_pb2 import FILE_STATE_ACTIVE, File
from mesh.calls.status import from_rpc_error
from mesh.elements.home import has_ended, in_reading_order
from mesh.elements.view import ElementView
from mesh.errors import ArtStoreError, NotFound, Unavailable
from mesh.follower.lookups import ElementMetadata
from mesh.follower.rows import replica_told

# Callers are more patient, and then want to be told who did not answer.
ASK_SECONDS = 3.0
# A file that moves may slip by those who ask all elements at once: so often they are asked.
ROUNDS = 3
ROUND_SECONDS = 0.2
# By these the file's home says that there is none any more, whatever copies of it there are.
ENDS = ("FILE_DELETED", "EXPIRED")


class Elements:
    """All elements, asked at once.

    Args:
        channel_to: the channel to host:port.
        view: knows which elements there are.
    """

    def __init__(self, channel_to: Callable[[str], grpc.aio.Channel], view: ElementView) -> None:
        self._channel_to = channel_to
        self._view = view

    async def find(
        self, file_id: str, *, metadata: ElementMetadata, but: Collection[str] = ()
    ) -> tuple[str, File]:
        """(element id, description) of a file: of its home, else of a copy or of where it was.

        Before it is said that a file is nowhere, those that were added a moment ago are asked too,
        and all once more when one says that it went to another one.

        Args:
            metadata: of a call of an element.
            but: ids of those that have said already that they have not got it.

        Raises:
            NotFound: all of them say so, or one that it was deleted and none anything later, or
                its home that it has expired; of a silent home a copy's text says that.
            Unavailable: some do not answer, or none is known.
            ArtStoreError: an element refused to say.
        """
        known = self._view.endpoints()
        for number in range(ROUNDS):
            try:
                return await self._find(file_id, known, metadata, but if number == 0 else ())
            except NotFound as error:
                if error.reason in ENDS:
                    raise
                with suppress(Unavailable):
                    await self._view.look()
                now = self._view.endpoints()
                added = {name: place for name, place in now.items() if name not in known}
                if error.metadata.get("moved_to"):
                    known = now
                    await asyncio.sleep(ROUND_SECONDS * (number > 0))
                    continue
                if not added:
                    raise
                return await self._find(file_id, added, metadata, but)
        raise Unavailable(
            f"file {file_id[:64]!r} is on its way to another storage element", reason="SWITCHING"
        )

    async def _find(
        self,
        file_id: str,
        endpoints: Mapping[str, str],
        metadata: ElementMetadata,
        but: Collection[str],
    ) -> tuple[str, File]:
        if not endpoints:
            raise Unavailable("no storage element is known at the moment")
        asked = [name for name in sorted(endpoints) if name not in but]
        answers = await asyncio.gather(
            *(self._ask(name, endpoints[name], file_id, metadata) for name in asked)
        )
        found = {n: a for n, a in zip(asked, answers, strict=True) if isinstance(a, File)}
        told = [replica_told(file, name) for name, file in found.items()]
        if has_ended(told):
            raise NotFound(f"file {file_id[:64]!r} was deleted", reason="FILE_DELETED")
        failures = {
            name: answer
            for name, answer in zip(asked, answers, strict=True)
            if isinstance(answer, ArtStoreError)
        }
        for one in in_reading_order(told)[:1]:
            file = found[one.element_id]
            if file.state == FILE_STATE_ACTIVE:
                return one.element_id, file
            if is_over(file):
                raise has_expired(file_id)
            if not any(error.reason == "EXPIRED" for error in failures.values()):
                return one.element_id, file
        raise _verdict(file_id, failures)

    async def _ask(
        self, element_id: str, endpoint: str, file_id: str, metadata: ElementMetadata
    ) -> File | ArtStoreError:
        stub: Any = StorageServiceStub(self._channel_to(endpoint))

        async def ask(*, show_deleted: bool) -> File | ArtStoreError:
            request = storage_pb2.StorageServiceGetFileRequest(
                file_id=file_id, show_deleted=show_deleted
            )
            try:
                answer = await stub.GetFile(
                    request, metadata=tuple(await metadata(element_id)), timeout=ASK_SECONDS
                )
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error)
            except Unavailable as error:
                return error
            file: File = answer.file
            return file

        # Asked for tombstones it would show a file that has expired, too.
        answer = await ask(show_deleted=False)
        if isinstance(answer, NotFound) and answer.reason == "FILE_DELETED":
            # How late its tombstone is: a file elsewhere may be later.
            return await ask(show_deleted=True)
        return answer


def is_over(file: File) -> bool:
    """Whether the retention of a file has ended by its text, and by the clock here."""
    ends = file.HasField("expires_at") and not file.legal_hold
    return ends and file.expires_at.ToMicroseconds() <= time.time() * 1_000_000


def has_expired(file_id: str) -> NotFound:
    """What is said of a file whose home is silent, and whose text has expired."""
    return NotFound(f"the retention of file {file_id[:64]!r} has ended", reason="EXPIRED")


def _verdict(file_id: str, failures: Mapping[str, ArtStoreError]) -> ArtStoreError:
    for reason in ENDS:
        for error in failures.values():
            if isinstance(error, NotFound) and error.reason == reason:
                return error
    silent = {n: e for n, e in failures.items() if isinstance(e, Unavailable)}
    for error in failures.values():
        if not isinstance(error, NotFound | Unavailable):
            return error
    if silent:
        return not_answering(file_id, silent)
    went = next((e.metadata for e in failures.values() if e.metadata.get("moved_to")), None)
    return NotFound(f"no file {file_id[:64]!r}", metadata=went)


def not_answering(file_id: str, silent: Mapping[str, ArtStoreError]) -> Unavailable:
    """Elements that may have the file don't say so; why by id."""
    told = "; ".join(f"{name}: {error.message}" for name, error in sorted(silent.items()))
    return Unavailable(
        f"file {file_id[:64]!r} may be on a storage element that did not answer ({told})",
        reason="ELEMENT_UNAVAILABLE",
        metadata={"storage_element_ids": ",".join(sorted(silent))},
    )
