"""SeaweedFS behind a proxy that counts the requests for sidecars, and a bare listing of it."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import unescape

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.handlers import add_expect_header

from bench.peers.processes import free_address, wait_until
from bench.peers.seaweedfs import SeaweedFS

REGION = "us-east-1"
_PUTS_IN_FLIGHT = 8
_READ = re.compile(rb"(?:GET|HEAD) /[^ ?]*\.attr\.json[ ?]")
# A request line that begins in one piece of bytes ends in the next.
_LONGEST_LINE = 4096
_TOKEN = re.compile(r"<NextContinuationToken>([^<]*)</NextContinuationToken>")


@dataclass(slots=True)
class ObjectStore:
    """A bucket, and what was asked of it.

    Attributes:
        endpoint_url: of the proxy.
        behind_url: of the server itself.
        sidecar_reads: GET and HEAD of `*.attr.json` so far.
    """

    endpoint_url: str
    behind_url: str
    bucket: str
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
        return Bucket(self._client(), self.bucket, prefix)

    def make_bucket(self) -> None:
        """Make it. Blocks."""
        self._client().create_bucket(Bucket=self.bucket)

    def _client(self) -> Any:
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.behind_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                max_pool_connections=_PUTS_IN_FLIGHT,
            ),
        )
        # Without it a PUT is answered in one step instead of two.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return client

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


class Bucket:
    """A `bench.population.Place` in the bucket, by a blocking client."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def read(self, path: str) -> bytes:
        """One object."""
        found = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}/{path}")
        return bytes(found["Body"].read())

    def lay(self, sidecars: Iterable[tuple[str, bytes]], content: bytes) -> None:
        """Write blobs and sidecars, several at a time."""

        def put(file: tuple[str, bytes]) -> None:
            path, sidecar = file
            for name, body in ((path, content), (f"{path}.attr.json", sidecar)):
                key = f"{self._prefix}/{name}"
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body)

        with ThreadPoolExecutor(_PUTS_IN_FLIGHT) as threads:
            for _ in threads.map(put, sidecars):
                pass


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """SeaweedFS in `folder`, an empty bucket, and the proxy, until the context ends."""
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    server = SeaweedFS(folder, access_key, secret_key)
    before = free_address()
    store = ObjectStore(
        f"http://{before}", f"http://{server.address}", "bench", access_key, secret_key
    )
    server.prepare()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(server.command(), stdout=quiet, stderr=quiet) as process:
        try:
            wait_until(server.answers, "SeaweedFS answers")
            store.make_bucket()
            with _event_loop() as loop:
                proxy = _proxy(store, before, server.address)
                asyncio.run_coroutine_threadsafe(proxy, loop).result()
                yield store
        finally:
            process.kill()
            process.wait()
            server.remove()


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
