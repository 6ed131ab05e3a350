"""The object that a stage becomes: made once, waited for, never put over that of a file.

Where the server honours conditions, an object is made only where there is none. One that is
there all the same is this one, whose answer was lost, or what an earlier try has left, which is
overwritten as long as it has no sidecar.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from mesh.concurrency.backoff import Backoff
from mesh.concurrency.watched import cancel_and_wait
from mesh.errors import Aborted, ArtStoreError, Unavailable
from storage_server.store.digest import RunningDigest
from storage_server.store.port import SIDECAR_SUFFIX, SealedBlob
from storage_server.store.s3_client import Refused, S3Client
from storage_server.store.s3_read import read_blob
from storage_server.store.threads import Threads

_TRIES = 3
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.2, 0.8
# Some servers copy the parts together when an upload is completed, and are silent meanwhile.
_ASSEMBLY_BYTES_PER_SECOND = 10 << 20
_REREAD_BYTES = 1 << 20
_LAST_LOOK_SECONDS = 1.0
_NOT_IMPLEMENTED, _CONDITION_FAILED = 501, 412

Condition = Mapping[str, str]


def content_md5(body: bytes) -> str:
    """What a server compares the body with: some take one that never came for an empty object."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


class S3Object:
    """One key of the bucket.

    Args:
        key: with the element's prefix.
        conditional: whether the server honours conditions.
    """

    def __init__(self, client: S3Client, threads: Threads, key: str, *, conditional: bool) -> None:
        self.key = key
        self._client = client
        self._threads = threads
        self._conditional = conditional
        self._leftover = ""

    async def put(self, body: bytes, digest: SealedBlob | None) -> None:
        """Make it of what fits into one part.

        Args:
            digest: of the body, if it is known.

        Raises:
            Aborted: another process has made a file of the key.
        """
        for attempts_left in reversed(range(_TRIES)):
            try:
                await self._client.call(
                    "put_object",
                    self.key,
                    seconds=self._client.patient_seconds,
                    Body=io.BytesIO(body),
                    ContentMD5=content_md5(body),
                    **self._condition(),
                )
                return
            except Refused as exc:
                if await self._is_made_already(exc, len(body), digest):
                    return
                if not attempts_left or exc.status not in (_NOT_IMPLEMENTED, _CONDITION_FAILED):
                    raise self._client.unexpected(exc, f"put_object of {self.key}") from exc

    async def complete(
        self,
        upload_id: str,
        parts: Sequence[Mapping[str, Any]],
        *,
        size: int,
        digest: SealedBlob | None,
        seconds_left: float | None,
    ) -> None:
        """Complete a multipart upload, looking before it is tried again: a completion whose
        answer was lost has happened all the same.

        Args:
            digest: of the whole, if it is known.
            seconds_left: until the caller's deadline. All tries end by then; without one they
                have the time of `S3Config.completion_seconds`.

        Raises:
            Aborted: another process has made a file of the key.
            Unavailable: the server is gone, or was not done in time.
        """
        now = asyncio.get_running_loop().time
        seconds = self._client.completion_seconds if seconds_left is None else seconds_left
        limit = now() + seconds
        until = limit - min(_LAST_LOOK_SECONDS, seconds / 4)
        order = {"UploadId": upload_id, "MultipartUpload": {"Parts": list(parts)}}
        # Few tries, and one process that makes them: they are to last, not to be spread.
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS, factor=4.0, spread=lambda: 1.0)
        for attempt in range(_TRIES):
            try:
                await self._complete_once(order, size, until)
                return
            except (Refused, Unavailable) as exc:
                if isinstance(exc, Refused) and await self._is_made_already(exc, size, digest):
                    return
                # What is left is also for taking away what came, and for the answer's way.
                look = min(self._client.seconds_for(size), max(0.1, (limit - now()) / 2))
                if await self._is_there(size, look):
                    return
                if attempt + 1 == _TRIES or now() + _LAST_LOOK_SECONDS >= until:
                    if isinstance(exc, Refused):
                        raise self._client.unexpected(exc, f"completing {self.key}") from exc
                    raise
                await backoff.pause()

    async def size(self, expected: int) -> int | None:
        """Its size, None while there is none. `expected` bytes decide how long that may take."""
        found = await self._head(self._client.seconds_for(expected))
        return None if found is None else int(found["ContentLength"])

    async def read(self, size: int) -> RunningDigest:
        """Its digests, by reading it."""
        digest = RunningDigest()
        chunks = read_blob(self._client, self.key, offset=0, length=size, chunk_size=_REREAD_BYTES)
        async for chunk in chunks:
            await self._threads.run("a digest", digest.update, chunk)
        return digest

    async def has_sidecar(self) -> bool:
        """Whether it belongs to a file."""
        try:
            await self._client.call("head_object", self.key + SIDECAR_SUFFIX)
        except Refused as exc:
            if exc.missing:
                return False
            raise self._client.unexpected(exc, f"looking for the sidecar of {self.key}") from exc
        return True

    # --- inside --------------------------------------------------------------------

    def _condition(self) -> Condition:
        if not self._conditional:
            return {}
        return {"IfMatch": self._leftover} if self._leftover else {"IfNoneMatch": "*"}

    async def _complete_once(self, order: Mapping[str, Any], size: int, until: float) -> None:
        """One try. It ends with the server's answer, with the object's being there, or when
        the server has answered nothing at all for as long as it may be silent.
        """
        client, now = self._client, asyncio.get_running_loop().time
        patience = client.patient_seconds + size / _ASSEMBLY_BYTES_PER_SECOND
        completing = asyncio.ensure_future(
            client.call_once(
                "complete_multipart_upload",
                self.key,
                seconds=until - now(),
                **order,
                **self._condition(),
            )
        )
        heard_at = now()
        try:
            while True:
                await asyncio.wait([completing], timeout=client.deadline_seconds)
                if completing.done():
                    await completing
                    return
                try:
                    # Not by one of the connections that completions hold.
                    if await self._is_there(size, None):
                        return
                    heard_at = now()
                except ArtStoreError:
                    if now() - heard_at >= patience:
                        raise
        finally:
            await cancel_and_wait(completing)

    async def _is_made_already(
        self, refusal: Refused, size: int, digest: SealedBlob | None
    ) -> bool:
        """Whether what made the server refuse is this very object. If not, the next try has
        the condition under which it may be made.
        """
        if refusal.status == _NOT_IMPLEMENTED:
            self._conditional = False
        if refusal.status != _CONDITION_FAILED:
            return False
        found = await self._head(self._client.seconds_for(size))
        if found is None:
            self._leftover = ""
            return False
        if int(found["ContentLength"]) == size and (
            digest is None or (await self.read(size)).result() == digest
        ):
            return True
        if await self.has_sidecar():
            raise Aborted(
                "another process of the element has made a file of this upload",
                reason="TAKEN_OVER",
            ) from refusal
        self._leftover = str(found["ETag"])
        return False

    async def _is_there(self, size: int, seconds: float | None) -> bool:
        found = await self._head(seconds)
        return (
            found is not None
            and int(found["ContentLength"]) == size
            and (not self._leftover or str(found.get("ETag")) != self._leftover)
        )

    async def _head(self, seconds: float | None) -> dict[str, Any] | None:
        """With the deadline of a large object, if `seconds` is given."""
        client = self._client
        try:
            if seconds is None:
                return await client.call("head_object", self.key)
            return await client.call_once("head_object", self.key, seconds=seconds)
        except Refused as exc:
            if exc.missing:
                return None
            raise self._client.unexpected(exc, f"looking at {self.key}") from exc
