"""HTTP/2 as far as an attacker needs it: frames are written as no library would.

A client library answers what it should, reads what comes, and ends what it began.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Self

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_INITIAL_WINDOW_SIZE = 4
# Of a connection that is not read: as little as the system allows is taken from the server.
_SMALL_BUFFER = 4096


class RawConnection:
    """One connection. Use it as a context.

    Args:
        unread: take as few bytes as the system allows while nobody reads.
    """

    def __init__(self, endpoint: str, *, unread: bool = False) -> None:
        self._host, _, port = endpoint.rpartition(":")
        self._port = int(port)
        self._unread = unread
        self._stream = -1

    async def __aenter__(self) -> Self:
        """Connect."""
        host = self._host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        if self._unread:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        try:
            await asyncio.get_running_loop().sock_connect(connection, (host, self._port))
        except BaseException:
            connection.close()
            raise
        self._reader, self._writer = await asyncio.open_connection(
            sock=connection, limit=_SMALL_BUFFER if self._unread else 2**16
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave without a word."""
        self._writer.transport.abort()

    def greet(self) -> None:
        """Preface, settings and an acknowledgement of the server's, with the largest windows."""
        self._writer.write(_PREFACE)
        self._frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
        self._frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _LARGEST_WINDOW - _DEFAULT_WINDOW))
        self._frame(_SETTINGS, _ACK, 0)

    def preface(self) -> None:
        """The first line of HTTP/2 alone."""
        self._writer.write(_PREFACE)

    def call(
        self, method: str, *, token: str = "", message: bytes | None = None, gzip: bool = False
    ) -> None:
        """Begin a call.

        Args:
            message: the only one; None sends none and leaves the call open for it.
            gzip: the message is compressed so.
        """
        self._stream += 2
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", f"{self._host}:{self._port}"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        if token:
            headers.append(("authorization", f"Bearer {token}"))
        if gzip:
            headers.append(("grpc-encoding", "gzip"))
        self._frame(_HEADERS, _END_HEADERS, self._stream, _packed(headers))
        if message is not None:
            data = struct.pack(">BI", gzip, len(message)) + message
            self._frame(_DATA, _END_STREAM, self._stream, data)

    async def until_ended(self, calls: int) -> None:
        """Read and answer pings until so many calls have ended.

        Raises:
            asyncio.IncompleteReadError: the server closed the connection before.
        """
        while calls:
            head = await self._reader.readexactly(9)
            size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
            body = await self._reader.readexactly(size)
            if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                calls -= 1
            elif kind == _PING and not flags & _ACK:
                self._frame(_PING, _ACK, 0, body)

    async def until_closed(self) -> None:
        """Read until the server closes the connection."""
        while await self._reader.read(_SMALL_BUFFER):
            pass

    def _frame(self, kind: int, flags: int, stream: int, body: bytes = b"") -> None:
        self._writer.write(len(body).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + body)


def _packed(headers: Iterable[tuple[str, str]]) -> bytes:
    """HPACK: literals that no table keeps."""
    packed = bytearray()
    for name, value in headers:
        packed.append(0)
        for text in (name, value):
            packed += _length(len(text)) + text.encode()
    return bytes(packed)


def _length(number: int) -> bytes:
    """An integer of HPACK with a prefix of seven bits."""
    if number < 127:
        return bytes((number,))
    coded, number = bytearray((127,)), number - 127
    while number >= 128:
        coded.append(number % 128 + 128)
        number //= 128
    coded.append(number)
    return bytes(coded)
