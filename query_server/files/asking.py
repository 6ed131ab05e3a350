"""Asking the elements themselves for a file that the index does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from artstore.v1 import storage_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from artstore.v1.types_pb2 import FILE_STATE_MOVED, File
from mesh.calls.status import from_rpc_error
from mesh.elements.view import ElementView
from mesh.errors import ArtStoreError, NotFound, Unavailable
from mesh.follower.lookups import ElementMetadata

# Callers are more patient, and then want to be told who did not answer.
ASK_SECONDS = 3.0


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
        """(element id, description) of a file; an active one rather than one that has moved.

        Before it is said that a file is nowhere, those that were added a moment ago are asked too.

        Args:
            metadata: of a call of an element.
            but: ids of those that have said already that they have not got it.

        Raises:
            NotFound: all of them say so, or one that it was deleted.
            Unavailable: some do not answer, or none is known.
            ArtStoreError: an element refused to say.
        """
        known = self._view.endpoints()
        try:
            return await self._find(file_id, known, metadata, but)
        except NotFound as error:
            if error.reason == "FILE_DELETED":
                raise
            with suppress(Unavailable):
                await self._view.look()
            added = {
                name: place for name, place in self._view.endpoints().items() if name not in known
            }
            if not added:
                raise
            return await self._find(file_id, added, metadata, but)

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
        for name, file in sorted(found.items(), key=lambda one: one[1].state == FILE_STATE_MOVED):
            return name, file
        failures = {
            name: answer
            for name, answer in zip(asked, answers, strict=True)
            if isinstance(answer, ArtStoreError)
        }
        raise _verdict(file_id, failures)

    async def _ask(
        self, element_id: str, endpoint: str, file_id: str, metadata: ElementMetadata
    ) -> File | ArtStoreError:
        stub: Any = StorageServiceStub(self._channel_to(endpoint))
        request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id)
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


def _verdict(file_id: str, failures: Mapping[str, ArtStoreError]) -> ArtStoreError:
    for error in failures.values():
        if isinstance(error, NotFound) and error.reason == "FILE_DELETED":
            return error
    silent = {n: e for n, e in failures.items() if isinstance(e, Unavailable)}
    for error in failures.values():
        if not isinstance(error, NotFound | Unavailable):
            return error
    return not_answering(file_id, silent) if silent else NotFound(f"no file {file_id[:64]!r}")


def not_answering(file_id: str, silent: Mapping[str, ArtStoreError]) -> Unavailable:
    """Elements that may have the file don't say so; why by id."""
    told = "; ".join(f"{name}: {error.message}" for name, error in sorted(silent.items()))
    return Unavailable(
        f"file {file_id[:64]!r} may be on a storage element that did not answer ({told})",
        reason="ELEMENT_UNAVAILABLE",
        metadata={"storage_element_ids": ",".join(sorted(silent))},
    )
