"""S3 as quickly as one process in Python asks it: aiohttp, and a signature that is made here."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote, unquote_plus, urlsplit
from xml.sax.saxutils import unescape

import aiohttp
from yarl import URL

REGION = "us-east-1"
AT_ONCE = 64
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 3
_READ_BYTES = 1 << 20
_KEY = re.compile(r"<Key>([^<]*)</Key>")
_TOKEN = re.compile(r"<NextContinuationToken>([^<]*)</NextContinuationToken>")
_UPLOAD_ID = re.compile(r"<UploadId>([^<]*)</UploadId>")
_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class BareS3:
    """One bucket."""

    session: aiohttp.ClientSession
    endpoint_url: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    @asynccontextmanager
    async def of(
        cls, endpoint_url: str, bucket: str, access_key: str, secret_key: str
    ) -> AsyncIterator[BareS3]:
        """A client, until the context ends."""
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield cls(session, endpoint_url, bucket, access_key, secret_key)

    async def make_bucket(self) -> None:
        """Make it."""
        async with self._ask("PUT", ""):
            pass

    async def get(self, key: str) -> bytes:
        """One small object."""
        async with self._ask("GET", key) as answer:
            return await answer.read()

    async def get_all(self, keys: Iterable[str]) -> int:
        """So many small objects, 64 at a time; how many bytes they have."""
        waiting = iter(keys)
        total = 0

        async def some() -> None:
            nonlocal total
            for key in waiting:
                total += len(await self.get(key))

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        return total

    async def put_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Write so many small objects, a dozen at a time."""
        waiting = iter(objects)

        async def some() -> None:
            for key, body in waiting:
                async with self._ask("PUT", key, body=body):
                    pass

        await asyncio.gather(*(some() for _ in range(12)))

    async def read(self, key: str) -> int:
        """Read a large object and throw it away; its size."""
        size = 0
        async with self._ask("GET", key) as answer:
            async for piece in answer.content.iter_chunked(_READ_BYTES):
                size += len(piece)
        return size

    async def list_keys(self, prefix: str) -> Sequence[str]:
        """All keys, a page of a thousand after the other."""
        keys: list[str] = []
        token = ""
        while True:
            query = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            async with self._ask("GET", "", query) as answer:
                page = (await answer.read()).decode()
            keys += [unquote_plus(unescape(key)) for key in _KEY.findall(page)]
            found = _TOKEN.search(page)
            if found is None:
                return keys
            token = unescape(found[1])

    async def upload(self, key: str, data: bytes) -> None:
        """A multipart upload, three parts of 8 MiB at a time."""
        async with self._ask("POST", key, {"uploads": ""}) as answer:
            found = _UPLOAD_ID.search((await answer.read()).decode())
        assert found is not None
        upload_id = found[1]
        slots = asyncio.Semaphore(PARTS_AT_ONCE)

        async def part(number: int) -> str:
            body = data[(number - 1) * PART_BYTES : number * PART_BYTES]
            query = {"partNumber": str(number), "uploadId": upload_id}
            async with slots, self._ask("PUT", key, query, body) as answer:
                etag = answer.headers["ETag"]
            return f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"

        parts = await asyncio.gather(
            *(part(number) for number in range(1, -(-len(data) // PART_BYTES) + 1))
        )
        body = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()
        async with self._ask("POST", key, {"uploadId": upload_id}, body) as answer:
            await answer.read()

    @asynccontextmanager
    async def _ask(
        self, method: str, key: str, query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        path = quote(f"/{self.bucket}/{key}" if key else f"/{self.bucket}", safe="/-_.~")
        asked = "&".join(
            f"{quote(name, safe='')}={quote(value, safe='')}"
            for name, value in sorted((query or {}).items())
        )
        url = URL(f"{self.endpoint_url}{path}{f'?{asked}' if asked else ''}", encoded=True)
        headers = self._signed(method, path, asked)
        async with self.session.request(method, url, headers=headers, data=body) as answer:
            answer.raise_for_status()
            yield answer

    def _signed(self, method: str, path: str, query: str) -> dict[str, str]:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        host = urlsplit(self.endpoint_url).netloc
        names = "host;x-amz-content-sha256;x-amz-date"
        canonical = (
            f"{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{_UNSIGNED}\n"
            f"x-amz-date:{now}\n\n{names}\n{_UNSIGNED}"
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        told = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
        signature = hmac.new(_key(self.secret_key, now[:8]), told.encode(), "sha256").hexdigest()
        return {
            "x-amz-content-sha256": _UNSIGNED,
            "x-amz-date": now,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope},"
            f" SignedHeaders={names}, Signature={signature}",
        }


@lru_cache(4)
def _key(secret_key: str, day: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (day, REGION, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
