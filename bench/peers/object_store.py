"""rclone's S3 behind a proxy that counts the requests for sidecars, and a bare listing of it."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import unescape

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from rclone_api import BINARY_PATH

from bench.peers.processes import free_address, wait_for

REGION = "us-east-1"
_READ = re.compile(rb"(?:GET|HEAD) /[^ ?]*\.attr\.json[ ?]")
# A request line that begins in one piece of bytes ends in the next.
_LONGEST_LINE = 4096
_TOKEN = re.compile(r"<NextContinuationToken>([^<]*)</NextContinuationToken>")


@dataclass(slots=True)
class ObjectStore:
    """A bucket, and what was asked of it.

    Attributes:
        endpoint_url: of the proxy.
        root: the folder whose files are the bucket's objects.
        sidecar_reads: GET and HEAD of `*.attr.json` so far.
    """

    endpoint_url: str
    root: Path
    bucket: str
    access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20))
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

    def list_bare(self, prefix: str) -> int:
        """Ask for every page of a listing, parse none, and answer how many there were. Blocks."""
        token, pages = "", 0
        while True:
            more = f"continuation-token={quote(token, safe='')}&" if token else ""
            url = (
                f"{self.endpoint_url}/{self.bucket}?{more}encoding-type=url&list-type=2"
                f"&prefix={quote(prefix, safe='')}"
            )
            request = AWSRequest("GET", url, {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
            account = Credentials(self.access_key, self.secret_key)
            S3SigV4Auth(account, "s3", REGION).add_auth(request)
            signed = urllib.request.Request(url, headers=dict(request.headers.items()))
            with urllib.request.urlopen(signed, timeout=60) as answer:
                page = answer.read().decode()
            pages += 1
            found = _TOKEN.search(page)
            if found is None:
                return pages
            token = unescape(found[1])


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """rclone's S3 on an empty bucket in `folder`, and the proxy, until the context ends."""
    behind, before = free_address(), free_address()
    store = ObjectStore(f"http://{before}", folder / "bench", "bench")
    store.root.mkdir(parents=True)
    command = [
        str(BINARY_PATH), "serve", "s3", str(folder), "--addr", behind,
        "--auth-key", f"{store.access_key},{store.secret_key}",
        "--config", "/dev/null", "--dir-cache-time", "1ms",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(behind)
            with _event_loop() as loop:
                asyncio.run_coroutine_threadsafe(_proxy(store, before, behind), loop).result()
                yield store
        finally:
            process.kill()


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
