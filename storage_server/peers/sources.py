"""Reading a file from another element, by admin's ticket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from artstore.v1 import downloads_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from mesh.calls.channels import KeptChannels
from mesh.calls.status import from_rpc_error
from mesh.checksum import crc32c
from mesh.contract import TICKET_KEY
from mesh.elements.damaged import damaged
from mesh.errors import (
    ArtStoreError,
    DataLoss,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from mesh.identity.credentials import ElementTokens
from storage_server.domain.sidecar import InvalidSidecar, Sidecar, decode
from storage_server.peers.peers import Peers

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub

SILENCE_SECONDS = 30.0
"""A source that sends nothing for so long is given up."""


class Reading:
    """A download under way.

    Attributes:
        sidecar: of the file, as it lies at the source.
    """

    def __init__(self, source: str, file_id: str, call: Any, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        self._file_id = file_id
        self._source = source
        self._call = call

    async def next(self) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            DataLoss: they were damaged on their way.
            Unavailable: the source is gone, or silent.
        """
        part = await _part(self._source, self._file_id, self._call)
        if part is None:
            return b""
        data = part.chunk.data
        if part.chunk.HasField("crc32c") and part.chunk.crc32c != crc32c(data):
            raise DataLoss("a chunk was damaged on its way", reason="CHECKSUM_MISMATCH")
        return data


class Sources:
    """Opens files at other elements.

    Args:
        peers: which elements there are, and at which address.
        tokens: this server's own, for the elements.
        channels: to them; closed by whoever made it.
    """

    def __init__(self, peers: Peers, *, tokens: ElementTokens, channels: KeptChannels) -> None:
        self._peers = peers
        self._tokens = tokens
        self._channels = channels

    @asynccontextmanager
    async def reading(
        self, source: str, file_id: str, ticket: str, *, offset: int, length: int | None = None
    ) -> AsyncIterator[Reading]:
        """A file's bytes from `offset` on, while the block lasts.

        Args:
            source: the element, which admin lists: its address is asked of nobody else.
            ticket: as admin signed it.
            length: how many; None means to the end.

        Raises:
            PermissionDenied: the source does not take the ticket.
            DataLoss: its bytes are gone or damaged.
            Unavailable: it is not known, down, or has no such file.
        """
        stub: StorageServiceAsyncStub = StorageServiceStub(
            self._channels.to(await self._peers.endpoint_of(source))
        )
        metadata = (*await self._tokens.metadata(source), (TICKET_KEY, ticket))
        request = downloads_pb2.DownloadRequest(file_id=file_id, offset=offset, length=length)
        call = stub.Download(request, metadata=metadata)
        try:
            try:
                first = await _part(source, file_id, call)
            except Unauthenticated as exc:
                self._tokens.refused(source)
                raise Unavailable(f"storage element {source} does not take our token") from exc
            if first is None or not first.HasField("header"):
                raise Unavailable(f"storage element {source} ended before it began")
            yield Reading(source, file_id, call, _sidecar(source, first.header))
        finally:
            call.cancel()


async def _part(source: str, file_id: str, call: Any) -> downloads_pb2.DownloadResponse | None:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            part = await call.read()
    except TimeoutError as exc:
        raise Unavailable(f"storage element {source} has fallen silent") from exc
    except grpc.aio.AioRpcError as exc:
        raise _translated(source, file_id, from_rpc_error(exc)) from exc
    return None if part is grpc.aio.EOF else part


def _translated(source: str, file_id: str, error: ArtStoreError) -> ArtStoreError:
    """What a failure at the source is to whoever wants the file here.

    Its text may hold the file's name, which goes into no log and no table of admin's.
    """
    if isinstance(error, DataLoss):
        return damaged(file_id, source, error)
    if isinstance(error, PermissionDenied | ResourceExhausted | Unauthenticated):
        return error
    return Unavailable(
        f"storage element {source} does not give file {file_id} now"
        f" ({error.reason or type(error).__name__}); its own log tells more",
        retry_after_seconds=1.0,
        reason="ELEMENT_UNAVAILABLE",
    )


def _sidecar(source: str, header: downloads_pb2.DownloadHeader) -> Sidecar:
    try:
        return decode(header.sidecar)
    except InvalidSidecar as exc:
        raise Unavailable(
            f"storage element {source} does not tell the file's sidecar: is its server of an"
            " earlier version?",
            reason="ELEMENT_UNAVAILABLE",
        ) from exc
