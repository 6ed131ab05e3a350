"""The one place that talks to an S3 server: one bucket, deadlines, errors translated.

A refusal that a caller may expect (no such key, precondition failed) is `Refused`, with S3's
own code; everything else leaves as `mesh.errors` naming bucket and key.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import BotoCoreError, ClientError, SSLError
from botocore.httpsession import create_urllib3_context, get_cert_path

from mesh.calls.loopback import on_loopback
from mesh.concurrency.watched import seen
from mesh.errors import ArtStoreError, ResourceExhausted, StoreReadOnly, Unavailable
from storage_server.store.s3_config import S3Config
from storage_server.store.threads import silent

_CONNECT_SECONDS = 2.0
_READ_SECONDS = 5.0
# The deadline of each patient call comes first.
_PATIENT_READ_SECONDS = 24 * 3600.0
# Some servers read an object to its end before they answer: rclone hashes it for its ETag.
_SERVER_BYTES_PER_SECOND = 50 << 20

_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_FULL = frozenset(
    {
        "QuotaExceeded",
        "InsufficientStorage",
        "EntityTooLarge",
        "XMinioStorageFull",
        "XMinioAdminBucketQuotaExceeded",
    }
)
_NOT_ALLOWED = frozenset({"AccessDenied", "AllAccessDisabled", "MethodNotAllowed", "403", "405"})
_CHANGES = frozenset(
    {
        "put_object",
        "copy_object",
        "delete_object",
        "create_multipart_upload",
        "upload_part",
        "complete_multipart_upload",
        "abort_multipart_upload",
    }
)
_EXPECTED_STATUSES = frozenset({404, 409, 412, 416, 501})


class Refused(Exception):
    """The server said no, in a way that the caller may have expected.

    Attributes:
        code: S3's own, or the status where there is none.
        status: of HTTP.
        changing: the call was to change the bucket.
    """

    def __init__(self, code: str, status: int, *, changing: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.changing = changing

    @property
    def missing(self) -> bool:
        """There is no such object (not: no such bucket or upload)."""
        return self.code in _MISSING


class S3Client:
    """Calls on one bucket. Keys are whole keys, with the element's prefix.

    Whoever finds all connections in use waits for one, before the call's own time begins.

    Args:
        quick: for whatever may be repeated: two attempts, short time-outs.
        patient: for what may take the server long, or must not be repeated unseen.
    """

    def __init__(
        self, config: S3Config, quick: _Pool, patient: _Pool, stack: AsyncExitStack
    ) -> None:
        self.bucket = config.bucket
        self.deadline_seconds = config.deadline_seconds
        self.patient_seconds = config.patient_seconds
        self.completion_seconds = config.completion_seconds
        self.write_trouble = asyncio.Event()
        self._quick = quick
        self._patient = patient
        self._stack = stack
        # Slow readers must not keep everybody else from the server.
        self._reader_slots = asyncio.Semaphore(max(1, patient.size * 3 // 4))

    @classmethod
    async def open(cls, config: S3Config) -> S3Client:
        """A client; it connects when it is first used.

        Raises:
            Unavailable: the configuration or the credentials cannot be used.
        """
        stack = AsyncExitStack()
        patient_size = max(1, config.max_connections // 2)
        quick_size = max(1, config.max_connections - patient_size)
        try:
            quick = await stack.enter_async_context(
                _client(config, _READ_SECONDS, attempts=2, connections=quick_size)
            )
            patient = await stack.enter_async_context(
                _client(config, _PATIENT_READ_SECONDS, attempts=1, connections=patient_size)
            )
        except (BotoCoreError, ValueError) as exc:
            await stack.aclose()
            raise Unavailable(f"no S3 client can be made: {exc}", reason="STORAGE_DOWN") from exc
        for client in (quick, patient):
            client.meta.events.register_first("before-parse.s3.ListObjectsV2", _keep_raw_listing)
        return cls(config, _Pool(quick, quick_size), _Pool(patient, patient_size), stack)

    async def close(self) -> None:
        """Close all connections."""
        await self._stack.aclose()

    async def call(
        self, operation: str, key: str = "", *, seconds: float | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """One call on the bucket, and on `key` if given, within `seconds` (default: the deadline).

        Raises:
            Refused: see the class.
            Unavailable: the server is down, silent or refuses for another reason.
            ResourceExhausted: the server is full.
            StoreReadOnly: it does not let this account change anything.
        """
        async with self._connection(self._quick, key):
            return await self._call(self._quick, operation, key, seconds, parameters)

    async def call_once(
        self, operation: str, key: str = "", *, seconds: float | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """`call` without a repetition, by default with the patient deadline."""
        seconds = self.patient_seconds if seconds is None else seconds
        async with self._connection(self._patient, key):
            return await self._call(self._patient, operation, key, seconds, parameters)

    async def list_page(self, prefix: str, token: str, *, patient: bool) -> bytes:
        """One page of ListObjectsV2 as XML, not parsed: that takes long and belongs in a thread.

        Args:
            patient: nobody waits for this page alone. Some servers look through the whole
                bucket for each page, which takes them seconds.
        """
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        try:
            call = self.call_once if patient else self.call
            answer = await call("list_objects_v2", Prefix=prefix, **more)
        except Refused as exc:
            raise self.unexpected(exc, f"listing {prefix}") from exc
        return bytes(answer["RawBody"])

    @asynccontextmanager
    async def streaming(
        self, key: str, byte_range: str = "", *, reader_seconds: float | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """GetObject; its connection is free again when the context ends.

        Args:
            reader_seconds: until the server answers, where a client sets the pace of the rest,
                which may be slow.
        """
        more: dict[str, Any] = {"Range": byte_range} if byte_range else {}
        pool = self._quick if reader_seconds is None else self._patient
        async with AsyncExitStack() as held:
            if reader_seconds is not None:
                await held.enter_async_context(self._slot(self._reader_slots, key))
            await held.enter_async_context(self._connection(pool, key))
            answer = await self._call(pool, "get_object", key, reader_seconds, more)
            held.callback(answer["Body"].close)
            yield answer

    async def get(self, key: str, limit: int) -> tuple[bytes, dict[str, Any]]:
        """The first `limit` bytes of a small object, and the answer they came with.

        A body that is cut off is asked for once more: the client repeats only what fails before.
        """
        for attempts_left in (1, 0):
            try:
                async with self.streaming(key) as answer:
                    return await self.read(key, answer["Body"], limit), answer
            except Unavailable as exc:
                if not attempts_left or not isinstance(exc.__cause__, aiohttp.ClientPayloadError):
                    raise
        raise AssertionError

    async def read(self, key: str, body: Any, size: int) -> bytes:
        """Up to `size` bytes of a body; less only at its end."""
        parts: list[bytes] = []
        while size > 0:
            async with self._translating(f"reading {key}", self.deadline_seconds):
                data = await body.read(size)
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seconds_for(self, size_bytes: int) -> float:
        """Deadline of a call that looks at an object of this size."""
        return self.deadline_seconds + size_bytes / _SERVER_BYTES_PER_SECOND

    def name(self, key: str) -> str:
        """How errors name an object."""
        return f"s3://{self.bucket}/{key}"

    def unexpected(self, refusal: Refused, what: str) -> ArtStoreError:
        """What to raise for a refusal that nobody expected."""
        if refusal.code in _FULL or refusal.status == 507:
            return ResourceExhausted(
                f"the storage is full: {what} in bucket {self.bucket}", reason="STORAGE_FULL"
            )
        if refusal.changing and refusal.code in _NOT_ALLOWED:
            return StoreReadOnly(
                f"the storage reads but does not write: {what} in bucket {self.bucket}:"
                f" {refusal.code}"
            )
        return Unavailable(
            f"S3 refuses {what} in bucket {self.bucket}: {refusal.code}", reason="STORAGE_DOWN"
        )

    # --- inside --------------------------------------------------------------------

    async def _call(
        self, pool: _Pool, operation: str, key: str, seconds: float | None, parameters: Any
    ) -> dict[str, Any]:
        if key:
            parameters["Key"] = key
        what = f"{operation} of {self.name(key)}"
        changing = operation in _CHANGES
        try:
            async with self._translating(what, seconds or self.deadline_seconds):
                answer: dict[str, Any] = await getattr(pool.client, operation)(
                    Bucket=self.bucket, **parameters
                )
                return answer
        except Refused as exc:
            exc.changing = changing
            if exc.status not in _EXPECTED_STATUSES or exc.code == "NoSuchBucket":
                self._note_trouble(changing)
                raise self.unexpected(exc, f"{operation} of {key or 'the bucket'}") from exc
            raise
        except Unavailable:
            self._note_trouble(changing)
            raise

    def _note_trouble(self, changing: bool) -> None:
        if changing:
            self.write_trouble.set()

    def _connection(self, pool: _Pool, key: str) -> AbstractAsyncContextManager[None]:
        return self._slot(pool.slots, key)

    @asynccontextmanager
    async def _slot(self, slots: asyncio.Semaphore, key: str) -> AsyncIterator[None]:
        what = f"waiting for a connection for {self.name(key)}"
        async with self._translating(what, self.patient_seconds):
            await slots.acquire()
        try:
            yield
        finally:
            slots.release()

    @asynccontextmanager
    async def _translating(self, what: str, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds) as deadline:
                yield
        except ClientError as exc:
            status = int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            raise Refused(str(exc.response.get("Error", {}).get("Code", status)), status) from exc
        except (BotoCoreError, aiohttp.ClientError, OSError) as exc:
            if deadline.expired():
                raise silent(what, seconds) from exc
            kind = type(exc).__name__
            if isinstance(exc, SSLError):
                kind += ": no TLS, or a certificate of another name or not of AWS_CA_BUNDLE"
            raise Unavailable(f"S3 does not answer: {what}: {kind}", reason="STORAGE_DOWN") from exc


class _Pool:
    """A client and its connections: at most `size` calls and bodies at a time."""

    def __init__(self, client: Any, size: int) -> None:
        self.client = client
        self.size = size
        self.slots = asyncio.Semaphore(size)


class _Request(aiohttp.ClientRequest):
    """Sends its body in a task of its own, as aiohttp does."""

    async def write_bytes(self, *arguments: Any, **options: Any) -> None:
        """Whoever waits for the answer is told that the connection is lost. If that comes as this
        begins, aiohttp has let go of the task by then, and nobody fetches its error.
        """
        if (task := asyncio.current_task()) is not None:
            task.add_done_callback(seen)
        await super().write_bytes(*arguments, **options)


class _HttpSession(AIOHTTPSession):
    """The client's connections, with requests of our own kind."""

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        # The stubs leave it out.
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)  # type: ignore[misc]
        session._request_class = _Request
        return session

    def _create_connector(self, proxy_url: str | None) -> aiohttp.TCPConnector:
        # As above.
        own: Any = self
        authorities = get_cert_path(own._verify) if own._verify else None
        if proxy_url or own._cert_file or not authorities:
            made: aiohttp.TCPConnector = super()._create_connector(proxy_url)  # type: ignore[misc]
            return made
        found = Path(authorities).stat()
        return aiohttp.TCPConnector(
            limit=own._max_pool_connections,
            ssl=_trusting(authorities, found.st_mtime_ns, found.st_size),
            **own._connector_args,
        )


@functools.lru_cache(maxsize=4)
def _trusting(authorities: str, _changed_ns: int, _size: int) -> ssl.SSLContext:
    """Kept, since reading all authorities of the web holds up the event loop for 50 ms."""
    context: ssl.SSLContext = create_urllib3_context()
    context.load_verify_locations(authorities)
    return context


@functools.cache
def _session() -> aioboto3.Session:
    """Kept, since it reads the description of S3 from disk, which takes a while."""
    return aioboto3.Session()


def _client(config: S3Config, read_seconds: float, *, attempts: int, connections: int) -> Any:
    return _session().client(
        "s3",
        endpoint_url=config.endpoint_url or None,
        region_name=config.region or _session().region_name or "us-east-1",
        aws_access_key_id=config.access_key or None,
        aws_secret_access_key=config.secret_key or None,
        config=AioConfig(
            signature_version="s3v4",
            s3={
                "addressing_style": "path" if config.endpoint_url else "auto",
                "payload_signing_enabled": False,
            },
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=read_seconds,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            max_pool_connections=connections,
            http_session_cls=_HttpSession,
            # HTTP_PROXY of the surrounding shell is for the web; None lets botocore heed it.
            proxies={} if on_loopback(config.endpoint_url) else None,
            # Other servers than Amazon's refuse the checksum headers that are the default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _keep_raw_listing(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Hand a listing on as it came; the client's own parser would stop the event loop."""
    if response_dict["status_code"] == 200:
        customized_response_dict["RawBody"] = response_dict["body"]
        response_dict["body"] = b"<ListBucketResult/>"
