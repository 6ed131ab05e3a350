"""Speaks TLS before a PostgreSQL or a Valkey that can't, as a proxy on its host would."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_PIECE = 1 << 16
# What a client of PostgreSQL sends first when it wants TLS, and what it sends to cancel.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_CANCEL_REQUEST = struct.pack("!ii", 16, 80877102)
HOST = "localhost"


@dataclass
class TlsProxy:
    """One before one server.

    Attributes:
        url: of the server behind; a client is given `address` instead of its host and port.
        offers: while False, a client that asks for TLS is told that there is none.
        encrypted: connections so far that were by TLS.
        plain: connections so far that were not, and were ended.
        cancelled: requests by TLS to cancel a statement of PostgreSQL.
    """

    url: str
    offers: bool = True
    encrypted: int = 0
    plain: int = 0
    cancelled: int = 0
    port: int = 0
    _context: ssl.SSLContext = field(
        default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    )
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    def present(self, certificate: Path, key: Path) -> None:
        """Show this certificate, from the next connection on."""
        self._context.load_cert_chain(certificate, key)

    def address(self, *, scheme: str = "", host: str = HOST, **query: str) -> str:
        """The URL for clients, its account and database as they are."""
        parts = urlsplit(self.url)
        account = parts.netloc.rpartition("@")[0]
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return urlunsplit(
            parts._replace(
                scheme=scheme or parts.scheme, netloc=f"{account}@{host}:{self.port}", query=asked
            )
        )

    def verified(self, roots: Path) -> str:
        """As an operator sets it who trusts these certificates and no other server's name."""
        if self.url.startswith("redis:"):
            return self.address(scheme="rediss", ssl_ca_certs=str(roots))
        return self.address(sslmode="verify-full", sslrootcert=str(roots))

    async def drop(self) -> None:
        """End all connections."""
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                if await self._by_tls(reader, writer):
                    self.encrypted += 1
                    await self._pass_on(reader, writer)
                else:
                    self.plain += 1
        finally:
            writer.close()

    async def _by_tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self.url.startswith("postgresql:"):
            if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                return False
            writer.write(b"S" if self.offers else b"N")
            if not self.offers:
                await writer.drain()
                return False
        await writer.start_tls(self._context)
        return True

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.url)
        onward, forward = await asyncio.open_connection(parts.hostname, parts.port)

        def forth(piece: bytes) -> None:
            self.cancelled += piece.startswith(_CANCEL_REQUEST)

        ways = [
            asyncio.create_task(_copy(reader, forward, forth)),
            asyncio.create_task(_copy(onward, writer, lambda piece: None)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            forward.close()


async def _copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, look: Callable[[bytes], None]
) -> None:
    while piece := await source.read(_PIECE):
        look(piece)
        sink.write(piece)
        await sink.drain()


@asynccontextmanager
async def tls_proxy(url: str, certificate: Path, key: Path) -> AsyncIterator[TlsProxy]:
    """A proxy before the server at `url`, a `postgresql:` or `redis:` one by TCP."""
    proxy = TlsProxy(url)
    proxy.present(certificate, key)
    async with await asyncio.start_server(proxy.accept, HOST, 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            await proxy.drop()
