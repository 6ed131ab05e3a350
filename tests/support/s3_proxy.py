"""Stands between a store and an S3 server: notes requests, and holds some of them back."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PIECE = 1 << 16
_LINE = re.compile(r"([A-Z]+) (\S+) HTTP/1\.1")


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request. Names of headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def completes(self) -> bool:
        """It is a CompleteMultipartUpload."""
        return self.method == "POST" and "uploadId=" in self.target


@dataclass
class S3Proxy:
    """A client sends a request only when the last one was answered, so a head begins a piece.

    Attributes:
        requests: so far.
        cut_off: of a PUT whose target ends so the server gets the head alone, and then the end.
        hold_completions: while it is not set, completions do not reach the server.
        answer_completions: while it is not set, their answers do not come back.
    """

    endpoint_url: str = ""
    requests: list[Request] = field(default_factory=list)
    cut_off: str = ""
    hold_completions: asyncio.Event = field(default_factory=asyncio.Event)
    answer_completions: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.hold_completions.set()
        self.answer_completions.set()

    def completions(self) -> list[Request]:
        """Those that came."""
        return [request for request in self.requests if request.completes]

    async def serve(
        self, behind: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection, until either side ends it."""
        onward, forward = await asyncio.open_connection(*behind)
        ways = [
            asyncio.create_task(self._forth(reader, forward)),
            asyncio.create_task(self._back(onward, writer)),
        ]
        with suppress(asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, forward):
            end.close()

    async def _forth(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE):
            if (request := _head(piece)) is not None:
                self.requests.append(request)
                if request.completes:
                    await self.hold_completions.wait()
                if request.method == "PUT" and request.target.endswith(self.cut_off or "\n"):
                    head = piece.partition(b"\r\n\r\n")[0]
                    # The server would wait before it reads the body.
                    sink.write(head.replace(b"Expect: 100-continue\r\n", b"") + b"\r\n\r\n")
                    await sink.drain()
                    return
            sink.write(piece)
            await sink.drain()

    async def _back(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE):
            if b"<CompleteMultipartUploadResult" in piece:
                await self.answer_completions.wait()
            sink.write(piece)
            await sink.drain()


def _head(piece: bytes) -> Request | None:
    head = piece.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    found = _LINE.fullmatch(head[0])
    if found is None:
        return None
    headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    return Request(found[1], found[2], {name.lower(): value for name, value in headers.items()})


@asynccontextmanager
async def s3_proxy(endpoint_url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[S3Proxy]:
    """A proxy before the server at `endpoint_url`, which is reached in plain text."""
    url = urlsplit(endpoint_url)
    behind = (str(url.hostname), int(url.port or 80))
    proxy = S3Proxy()
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(behind, reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    async with await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls) as server:
        scheme = "http" if tls is None else "https"
        proxy.endpoint_url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            for task in list(connections):
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
