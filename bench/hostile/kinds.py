"""What hostile callers do, one function for each kind; each does it once, or until it is ended."""

from __future__ import annotations

import asyncio
import gzip
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import grpc.aio

from artstore.v1 import (
    downloads_pb2,
    ingest_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    types_pb2,
    uploads_pb2,
)
from bench.hostile.raw import RawConnection
from bench.hostile.target import SERVERS, Target

MIB = 1024 * 1024
LARGE_BYTES = 4 * MIB - 64 * 1024
RESERVED_BYTES = 4 * 1024 * MIB
FILTER_VALUES = 500_000
SILENT_CALLS = 10
STREAMS = 100
WATCHES = 10
FAR_AHEAD = 10**15
# A connection that is not read does not tell that it was closed.
UNREAD_SECONDS = 20.0

_OPTIONS = (
    ("grpc.max_receive_message_length", 8 * MIB),
    ("grpc.max_send_message_length", 8 * MIB),
    # Each caller has connections of its own, and takes all that the server gives.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.lookahead_bytes", 8 * MIB),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_UPLOAD = "/artstore.v1.IngestService/Upload"
_LOGIN = "/artstore.v1.TokenService/IssueToken"
_DOWNLOAD = "/artstore.v1.StorageService/Download"
_SEARCH = "/artstore.v1.QueryService/SearchFiles"
_ELEMENT_WATCH = "/artstore.v1.StorageElementService/WatchStorageElements"
_HEALTH_WATCH = "/grpc.health.v1.Health/Watch"


@dataclass(slots=True)
class Attacker:
    """One hostile caller with connections of its own."""

    number: int
    target: Target
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    def channel(self, server: str) -> grpc.aio.Channel:
        """To one of `SERVERS`."""
        if server not in self._channels:
            self._channels[server] = grpc.aio.insecure_channel(
                self.target.endpoints[server], options=_OPTIONS
            )
        return self._channels[server]

    @property
    def ingest(self) -> Any:
        """Calls of ingest."""
        return ingest_pb2_grpc.IngestServiceStub(self.channel("ingest"))

    @property
    def query(self) -> Any:
        """Calls of query."""
        return query_pb2_grpc.QueryServiceStub(self.channel("query"))

    @property
    def user(self) -> Any:
        """Metadata of a USER."""
        return (("authorization", f"Bearer {self.target.user_token}"),)

    @property
    def reader(self) -> Any:
        """Metadata of a READONLY account."""
        return (("authorization", f"Bearer {self.target.reader_token}"),)


Act = Callable[[Attacker], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of attack.

    Attributes:
        act: what each caller does, again a second after it has ended.
        server: whose GetFile others call meanwhile.
    """

    act: Act
    server: str


async def _reservations(me: Attacker) -> None:
    header = uploads_pb2.UploadHeader(
        original_filename="reserved.bin",
        size_bytes=RESERVED_BYTES,
        retention_policy=types_pb2.RETENTION_POLICY_PERMANENT,
    )
    if me.number % 2:
        await me.ingest.StartUpload(uploads_pb2.StartUploadRequest(header=header), metadata=me.user)
        return
    call = me.ingest.Upload(metadata=me.user)
    await call.write(uploads_pb2.UploadRequest(header=header))
    await call


async def _held_uploads(me: Attacker) -> None:
    call = me.ingest.Upload(metadata=me.user)
    header = uploads_pb2.UploadHeader(original_filename="held.bin")
    await call.write(uploads_pb2.UploadRequest(header=header))
    await call.write(uploads_pb2.UploadRequest(chunk=types_pb2.Chunk(data=b"x")))
    await call


def _waiting(me: Attacker) -> query_pb2.SearchFilesRequest:
    """A search that waits for what is not there: much later, never, or of nobody."""
    place = me.target.change_token.rpartition(".")[0]
    tokens = (f"{place}.{FAR_AHEAD}", f"{place}x.1", "se-99.none.1")
    return query_pb2.SearchFilesRequest(
        query="x", min_change_tokens=[tokens[me.number % len(tokens)]]
    )


async def _waiting_searches(me: Attacker) -> None:
    await me.query.SearchFiles(_waiting(me), metadata=me.reader)


async def _gzip_searches(me: Attacker) -> None:
    message = _compressed(_waiting(me).SerializeToString())
    async with RawConnection(me.target.endpoints["query"]) as connection:
        connection.greet()
        connection.call(_SEARCH, token=me.target.reader_token, message=message, gzip=True)
        await connection.until_ended(1)


async def _many_filters(me: Attacker) -> None:
    search: Any = me.channel("query").unary_unary(_SEARCH)
    await search(_filtered(), metadata=me.reader)


@cache
def _compressed(request: bytes) -> bytes:
    """A request with a field that no message has, of zeros: as gzip it is a thousandth of that."""
    return gzip.compress(request + _padding(LARGE_BYTES))


@cache
def _filtered() -> bytes:
    filters = query_pb2.SearchFilters(tags=[f"{number:05x}" for number in range(FILTER_VALUES)])
    return query_pb2.SearchFilesRequest(filters=filters).SerializeToString()


async def _anonymous_logins(me: Attacker) -> None:
    await _login(me, f"nobody-{secrets.token_hex(4)}", secrets.token_hex(16))


async def _large_logins(me: Attacker) -> None:
    await _login(me, f"nobody-{secrets.token_hex(4)}", "x" * LARGE_BYTES)


async def _wrong_logins(me: Attacker) -> None:
    await _login(me, me.target.victim, secrets.token_hex(16))


async def _login(me: Attacker, client_id: str, client_secret: str) -> None:
    tokens: Any = tokens_pb2_grpc.TokenServiceStub(me.channel("admin"))
    await tokens.IssueToken(
        tokens_pb2.IssueTokenRequest(client_id=client_id, client_secret=client_secret)
    )


async def _unread_downloads(me: Attacker) -> None:
    request = downloads_pb2.DownloadRequest(file_id=me.target.file_id)
    async with RawConnection(me.target.endpoints["storage"], unread=True) as connection:
        connection.greet()
        connection.call(
            _DOWNLOAD, token=me.target.reader_token, message=request.SerializeToString()
        )
        await asyncio.sleep(UNREAD_SECONDS)


async def _stalled_downloads(me: Attacker) -> None:
    request = downloads_pb2.DownloadRequest(file_id=me.target.file_id)
    call = me.query.DownloadFile(request, metadata=me.reader)
    try:
        await call.read()
        with suppress(TimeoutError):
            async with asyncio.timeout(UNREAD_SECONDS):
                await call.code()
    finally:
        call.cancel()


async def _silent_calls(me: Attacker) -> None:
    server, method = (("ingest", _UPLOAD), ("admin", _LOGIN))[me.number % 2]
    async with RawConnection(me.target.endpoints[server]) as connection:
        connection.greet()
        for _ in range(SILENT_CALLS):
            connection.call(method, token=me.target.user_token if server == "ingest" else "")
        await connection.until_ended(SILENT_CALLS)


async def _many_streams(me: Attacker) -> None:
    endpoint = me.target.endpoints[SERVERS[me.number % len(SERVERS)]]
    await _watches(endpoint, _HEALTH_WATCH, "", STREAMS)


async def _element_watches(me: Attacker) -> None:
    endpoint, token = me.target.endpoints["admin"], me.target.reader_token
    await _watches(endpoint, _ELEMENT_WATCH, token, WATCHES)


async def _watches(endpoint: str, method: str, token: str, count: int) -> None:
    async with RawConnection(endpoint) as connection:
        connection.greet()
        for _ in range(count):
            connection.call(method, token=token, message=b"")
        await connection.until_ended(count)


async def _no_handshake(me: Attacker) -> None:
    endpoint = me.target.endpoints[SERVERS[me.number % len(SERVERS)]]
    async with RawConnection(endpoint) as connection:
        if me.number // len(SERVERS) % 2:
            connection.preface()
        await connection.until_closed()


def _padding(size: int) -> bytes:
    """Field 1000 with so many zeros."""
    coded, number = bytearray(b"\xc2\x3e"), size
    while number >= 128:
        coded.append(number % 128 + 128)
        number //= 128
    return bytes(coded) + bytes((number,)) + bytes(size)


KINDS: Mapping[str, Kind] = {
    "reservations": Kind(_reservations, "storage"),
    "held-uploads": Kind(_held_uploads, "storage"),
    "waiting-searches": Kind(_waiting_searches, "query"),
    "gzip-searches": Kind(_gzip_searches, "query"),
    "many-filters": Kind(_many_filters, "query"),
    "anonymous-logins": Kind(_anonymous_logins, "admin"),
    "large-logins": Kind(_large_logins, "admin"),
    "wrong-logins": Kind(_wrong_logins, "admin"),
    "unread-downloads": Kind(_unread_downloads, "storage"),
    "stalled-downloads": Kind(_stalled_downloads, "query"),
    "silent-calls": Kind(_silent_calls, "admin"),
    "many-streams": Kind(_many_streams, "storage"),
    "element-watches": Kind(_element_watches, "admin"),
    "no-handshake": Kind(_no_handshake, "storage"),
}
