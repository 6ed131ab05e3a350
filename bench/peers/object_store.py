"""SeaweedFS, if wanted behind a proxy that counts the requests for sidecars."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.bare_s3 import REGION, BareS3
from bench.peers.processes import free_address, wait_until
from bench.peers.seaweedfs import SeaweedFS

_READ = re.compile(rb"(?:GET|HEAD) /[^ ?]*\.attr\.json[ ?]")
# A request line that begins in one piece of bytes ends in the next.
_LONGEST_LINE = 4096


@dataclass(slots=True)
class ObjectStore:
    """A bucket, and what was asked of it.

    Attributes:
        endpoint_url: of the proxy, if there is one.
        behind_url: of the server itself.
        sidecar_reads: GET and HEAD of `*.attr.json` so far.
    """

    endpoint_url: str
    behind_url: str
    bucket: str
    pid: int
    access_key: str
    secret_key: str = field(repr=False)
    sidecar_reads: int = 0

    def environment(self) -> dict[str, str]:
        """Variables that put every element of a mesh on this bucket."""
        return {
            "ARTSTORE_S3_ENDPOINT_URL": self.endpoint_url,
            "ARTSTORE_S3_BUCKET": self.bucket,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
        }

    def place(self, prefix: str) -> Bucket:
        """The element's prefix, past the proxy."""
        return Bucket(self, prefix)

    def bare(self) -> AbstractAsyncContextManager[BareS3]:
        """A client of the server itself."""
        return BareS3.of(self.behind_url, self.bucket, self.access_key, self.secret_key)


class Bucket:
    """A `bench.population.Place` in the bucket."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def read(self, path: str) -> bytes:
        """One object."""

        async def read() -> bytes:
            async with self._store.bare() as bare:
                return await bare.get(f"{self._prefix}/{path}")

        return asyncio.run(read())

    def lay(self, sidecars: Iterable[tuple[str, bytes]], content: bytes) -> None:
        """Write blobs and sidecars, several at a time."""

        def objects() -> Iterator[tuple[str, bytes]]:
            for path, sidecar in sidecars:
                yield f"{self._prefix}/{path}", content
                yield f"{self._prefix}/{path}.attr.json", sidecar

        async def lay() -> None:
            async with self._store.bare() as bare:
                await bare.put_all(objects())

        asyncio.run(lay())


@contextmanager
def object_store(folder: Path, *, counting: bool = False) -> Iterator[ObjectStore]:
    """SeaweedFS in `folder` and an empty bucket, until the context ends.

    Args:
        counting: a proxy of this process stands before it, which takes time.
    """
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    server = SeaweedFS(folder, access_key, secret_key)
    before = free_address() if counting else server.address
    server.prepare()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(server.command(), stdout=quiet, stderr=quiet) as process:
        try:
            wait_until(server.answers, "SeaweedFS answers")
            store = ObjectStore(
                f"http://{before}",
                f"http://{server.address}",
                "bench",
                process.pid,
                access_key,
                secret_key,
            )
            with _event_loop() as loop:
                asyncio.run_coroutine_threadsafe(_make_bucket(store), loop).result()
                if counting:
                    proxy = _proxy(store, before, server.address)
                    asyncio.run_coroutine_threadsafe(proxy, loop).result()
                yield store
        finally:
            process.kill()
            process.wait()
            server.remove()


async def _make_bucket(store: ObjectStore) -> None:
    async with store.bare() as bare:
        await bare.make_bucket()


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One in a thread of its own: it goes on while the caller's waits for a mesh to start."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="counting proxy", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _proxy(store: ObjectStore, before: str, behind: str) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = behind.partition(":")
        onward, forward = await asyncio.open_connection(host, int(port))
        # Whichever side ends first ends the other.
        ways = [
            asyncio.create_task(_pump(reader, forward, store)),
            asyncio.create_task(_pump(onward, writer, None)),
        ]
        # A cancelled handler would be reported as one that failed.
        with suppress(asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, forward):
            end.close()

    host, _, port = before.partition(":")
    return await asyncio.start_server(serve, host, int(port))


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, counted: ObjectStore | None
) -> None:
    tail = b""
    with suppress(OSError):
        while data := await source.read(1 << 16):
            if counted is not None:
                text = tail + data
                ended = [match.end() for match in _READ.finditer(text)]
                counted.sidecar_reads += len(ended)
                rest = text[ended[-1] :] if ended else text
                tail = rest[-_LONGEST_LINE:]
            sink.write(data)
            await sink.drain()
