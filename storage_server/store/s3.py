"""The store in a bucket. See `storage_server.store.port` for what it promises."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from mesh.errors import (
    Aborted,
    ArtStoreError,
    DataLoss,
    InvalidArgument,
)
from storage_server.domain.naming import is_sidecar_name
from storage_server.store import s3_aside, s3_erasing, s3_listing, s3_uploads
from storage_server.store.name_index import FolderNames, NameIndex, names_by_id
from storage_server.store.paths import ELEMENT_FILE, QUARANTINE, check, check_key, split
from storage_server.store.port import (
    MAX_SIDECAR_BYTES,
    ChunkSize,
    Identity,
    ListedFolder,
    Stage,
    StagedState,
)
from storage_server.store.s3_client import Refused, S3Client
from storage_server.store.s3_config import S3Config
from storage_server.store.s3_object import S3Object, content_md5
from storage_server.store.s3_probe import honours_conditions, make_bucket, try_write
from storage_server.store.s3_read import read_blob
from storage_server.store.s3_stage import S3Stage
from storage_server.store.s3_tails import Tails
from storage_server.store.s3_uploads import Part, abort_upload
from storage_server.store.side_by_side import side_by_side
from storage_server.store.threads import Threads

_THREADS = 4
_READS_IN_FLIGHT = 16
_CONFLICT_STATUSES = frozenset({409, 412})


class S3Store:
    """One element's prefix of a bucket. Opened by `open`."""

    backend = "s3"
    lands_late, folder = True, None

    def __init__(
        self, client: S3Client, prefix: str, *, conditional_put: bool, folder: Path | None = None
    ) -> None:
        self._client = client
        self._prefix = prefix + "/"
        self._conditional_put = conditional_put
        self._threads = Threads("s3", count=_THREADS, deadline_seconds=client.deadline_seconds)
        self._index = NameIndex(self._list_names)
        self._blob_index = NameIndex(partial(self._names_in, sidecars=False), patient=True)
        self._tails = Tails(self._threads, folder)
        self._stages: dict[str, S3Stage] = {}

    @classmethod
    async def open(cls, config: S3Config) -> S3Store:
        """Make the bucket if it is missing, and find out whether PUT can be conditional.

        Raises:
            Unavailable: the server is down, silent, or refuses the credentials.
        """
        client = await S3Client.open(config)
        try:
            await make_bucket(client, config.region)
            conditional = await honours_conditions(client, config.prefix)
        except BaseException:
            await client.close()
            raise
        return cls(client, config.prefix, conditional_put=conditional, folder=config.folder)

    @property
    def conditional_put(self) -> bool:
        """Whether the server refused a PUT with a wrong condition when it was tried."""
        return self._conditional_put

    async def close(self) -> None:
        """Close stages (their parts stay), connections and threads."""
        await self._index.close()
        await self._blob_index.close()
        for stage in list(self._stages.values()):
            with contextlib.suppress(ArtStoreError):
                await stage.close()
        await self._client.close()
        self._threads.close()

    # --- the element ---------------------------------------------------------------

    async def read_element(self) -> bytes | None:
        """`element.json`, or None."""
        found = await self._get(ELEMENT_FILE, 1 << 20)
        if found is None and (name := await self._in_other_case(ELEMENT_FILE)) is not None:
            found = await self._get(name, 1 << 20)
        return found[0] if found is not None else None

    async def write_element(self, content: bytes) -> None:
        """Write `element.json`."""
        await self._expect(
            "put_object", ELEMENT_FILE, Body=content, ContentMD5=content_md5(content)
        )

    async def is_empty(self) -> bool:
        """Whether nothing of an element is here."""
        async with contextlib.aclosing(
            s3_listing.pages(self._client, self._threads, self._prefix)
        ) as found:
            async for page in found:
                if any(_belongs_to_element(entry.path) for entry in page):
                    return False
        return True

    async def acquire_writer(self) -> bool:
        """True: the catalog's advisory lock decides."""
        return True

    async def free_bytes(self) -> int | None:
        """None: a bucket knows no limit."""
        return None

    @property
    def write_trouble(self) -> asyncio.Event:
        """Set whenever a call that changes the bucket failed."""
        return self._client.write_trouble

    async def try_write(self) -> None:
        """PUT a small object and DELETE it; see the port."""
        await try_write(self._client, self._prefix.rstrip("/"))

    # --- blobs ---------------------------------------------------------------------

    async def open_stage(
        self, path: str, *, key: str = "", resume: StagedState | None = None
    ) -> Stage:
        """A multipart upload, begun when the first part is full; see the port."""
        check(path)
        if (older := self._stages.get(path)) is not None:
            await older.close()
        upload_id = ""
        parts: Sequence[Part] = ()
        placed: int | None = None
        if resume is not None and resume.key:
            upload_id = resume.key
            parts, placed = await self._resumed(path, resume)
        stage = S3Stage(
            self._client,
            self._tails,
            made=S3Object(
                self._client,
                self._threads,
                self._prefix + path,
                conditional=self._conditional_put,
            ),
            upload_id=upload_id,
            parts=parts,
            placed_bytes=placed,
            forget=self._forget_stage,
        )
        self._stages[path] = stage
        return stage

    async def list_stages(self) -> Sequence[tuple[str, str, float]]:
        """The multipart uploads below the prefix; none where the server cannot list them."""
        return await s3_uploads.under_way(self._client, self._prefix)

    async def discard_stage(self, key: str, path: str) -> None:
        """Abort a multipart upload."""
        check(path)
        if key:
            await abort_upload(self._client, self._prefix + path, key)

    def read_blob(
        self, path: str, *, offset: int, length: int, chunk_size: ChunkSize
    ) -> AsyncIterator[bytes]:
        """The bytes of a blob; see the port."""
        check(path)
        return read_blob(
            self._client, self._prefix + path, offset=offset, length=length, chunk_size=chunk_size
        )

    async def stat_blob(self, path: str) -> int | None:
        """Its size, or None."""
        found = await self._head(path)
        return found.size if found is not None else None

    async def blob_age_seconds(self, path: str) -> float | None:
        """By LastModified."""
        check(path)
        return await s3_aside.age_seconds(self._client, self._prefix + path)

    async def delete_blob(self, path: str) -> None:
        """Remove it."""
        try:
            await self._delete(path)
        finally:
            self._blob_index.changed(split(path)[0])

    # --- names ---------------------------------------------------------------------

    async def rename(self, path: str, to: str) -> bool:
        """Copy and remove; see the port."""
        found = await self._head(path)
        if found is None or await self._head(to) is not None:
            return False
        await self._copy_and_remove(path, to, found)
        return True

    async def _copy_and_remove(self, path: str, to: str, found: Identity) -> None:
        try:
            await s3_aside.move(self._client, self._prefix, path, to, found.size)
        finally:
            for index in (self._index, self._blob_index):
                index.changed(split(path)[0])

    # --- quarantine ----------------------------------------------------------------

    async def set_aside(self, name: str, content: bytes) -> None:
        """PUT it below `.quarantine/`."""
        await s3_aside.keep(self._client, self._prefix, name, content)

    async def list_aside(self) -> Sequence[str]:
        """The names below `.quarantine/`."""
        return await s3_aside.names(self._client, self._threads, self._prefix)

    async def discard_aside(self, name: str) -> None:
        """DELETE it."""
        await s3_aside.remove(self._client, self._prefix, name)

    async def aside_age_seconds(self, name: str) -> float | None:
        """By LastModified."""
        check_key(name)
        key = f"{self._prefix}{QUARANTINE}/{name}"
        return await s3_aside.age_seconds(self._client, key)

    async def quarantine(self, path: str, name: str) -> bool:
        """Copy it to `.quarantine/{name}` and remove it."""
        check_key(name)
        found = await self._head(path)
        if found is None:
            return False
        await self._copy_and_remove(path, f"{QUARANTINE}/{name}", found)
        return True

    # --- sidecars ------------------------------------------------------------------

    async def read_sidecar(self, path: str) -> tuple[bytes, Identity] | None:
        """Bytes and identity, or None."""
        return await self._get(path, MAX_SIDECAR_BYTES + 1)

    async def read_sidecars(self, paths: Sequence[str]) -> Sequence[tuple[bytes, Identity] | None]:
        """Many, some at a time."""
        found: list[tuple[bytes, Identity] | None] = [None] * len(paths)
        numbered = iter(enumerate(paths))

        async def read_some() -> None:
            for index, path in numbered:
                found[index] = await self.read_sidecar(path)

        await side_by_side([read_some() for _ in range(min(_READS_IN_FLIGHT, len(paths)))])
        return found

    async def stat_sidecar(self, path: str) -> Identity | None:
        """Its identity now, or None."""
        return await self._head(path)

    async def write_sidecar(
        self, path: str, content: bytes, *, expected: Identity | None
    ) -> Identity:
        """PUT, conditional where the server honours that."""
        folder, _ = split(path)
        if len(content) > MAX_SIDECAR_BYTES:
            raise InvalidArgument(f"the sidecar has more than {MAX_SIDECAR_BYTES} bytes")
        condition: dict[str, Any] = {}
        if self._conditional_put:
            condition = {"IfMatch": f'"{expected.etag}"'} if expected else {"IfNoneMatch": "*"}
        try:
            answer = await self._client.call(
                "put_object",
                self._prefix + path,
                Body=content,
                ContentMD5=content_md5(content),
                **condition,
            )
        except Refused as exc:
            if exc.status in _CONFLICT_STATUSES or (condition and exc.missing):
                return await self._same_or_conflict(path, content, exc)
            raise self._client.unexpected(exc, f"writing {path}") from exc
        finally:
            self._index.changed(folder)
        if etag := str(answer.get("ETag", "")).strip('"'):
            return Identity(size=len(content), etag=etag)
        return await self._same_or_conflict(path, content, None)

    async def delete_sidecar(self, path: str) -> None:
        """Remove it."""
        try:
            await self._delete(path)
        finally:
            self._index.changed(split(path)[0])

    async def find_sidecars(self, file_id: str, folder: str) -> Sequence[str]:
        """Paths of the sidecars of `file_id` in `folder`."""
        check(folder)
        return await self._index.find(file_id, folder)

    async def find_blobs(self, file_id: str, folder: str) -> Sequence[str]:
        """Paths of the blobs of `file_id` in `folder`."""
        check(folder)
        return await self._blob_index.find(file_id, folder)

    async def sidecars_in(self, folder: str) -> Mapping[str, Sequence[str]]:
        """Names of the sidecars in `folder` by file id."""
        check(folder)
        return await self._index.names_in(folder)

    async def absent(self, file_ids: Collection[str], folder: str) -> Set[str]:
        """Those that have no sidecar in `folder`."""
        check(folder)
        return await self._index.absent(file_ids, folder)

    # --- erasing -------------------------------------------------------------------

    async def erase(
        self, file_id: str, folders: Collection[str], *, others: Collection[str] = (), keep: str
    ) -> None:
        """Remove all that is of the file, in all versions; see the port."""
        try:
            at = self._client, self._threads, self._prefix
            await s3_erasing.erase(*at, file_id, folders, others=others, keep=keep)
        finally:
            for folder in folders:
                self._index.changed(folder)
                self._blob_index.changed(folder)

    # --- listing -------------------------------------------------------------------

    async def scan(
        self, *, known_stamps: Mapping[str, str] | None = None, blob_sizes: bool = False
    ) -> AsyncIterator[ListedFolder]:
        """Every folder. There are no stamps on S3, and sizes come with the listing anyway."""
        del known_stamps, blob_sizes
        grouping = s3_listing.Grouping()
        async with contextlib.aclosing(
            s3_listing.pages(self._client, self._threads, self._prefix)
        ) as found:
            async for page in found:
                for folder in await self._threads.run("a listing", grouping.add, page):
                    yield folder
        for folder in await self._threads.run("a listing", grouping.finish):
            yield folder

    # --- inside --------------------------------------------------------------------

    async def _in_other_case(self, name: str) -> str | None:
        return await s3_listing.in_other_case(self._client, self._threads, self._prefix, name)

    async def _list_names(self, folder: str) -> FolderNames:
        return await self._names_in(folder, sidecars=True)

    async def _names_in(self, folder: str, *, sidecars: bool) -> FolderNames:
        start = len(folder) + 1
        names: list[str] = []
        async with contextlib.aclosing(
            s3_listing.pages(self._client, self._threads, self._prefix, folder + "/", patient=False)
        ) as found:
            async for page in found:
                names += [entry.path[start:] for entry in page if "/" not in entry.path[start:]]
        by_id = await self._threads.run(folder, names_by_id, names, sidecars=sidecars)
        return FolderNames("", by_id)

    async def _resumed(self, path: str, state: StagedState) -> tuple[tuple[Part, ...], int | None]:
        """The parts of `state` if the server has them, or the size of the finished object."""
        key = self._prefix + path
        if await s3_uploads.has_parts(self._client, key, state.key, state.parts):
            return tuple(state.parts), None
        found = await self._head(path, self._client.seconds_for(state.committed_size_bytes))
        if found is None or found.size < state.committed_size_bytes:
            raise DataLoss("the bytes sent so far are gone", reason="STAGE_LOST")
        return (), found.size

    async def _same_or_conflict(
        self, path: str, content: bytes, refusal: Refused | None
    ) -> Identity:
        """The identity of a sidecar that an earlier try, whose answer was lost, has written."""
        found = await self.read_sidecar(path)
        if found is None or found[0] != content:
            raise Aborted("the file was changed meanwhile", reason="REVISION_CONFLICT") from refusal
        return found[1]

    async def _get(self, path: str, limit: int) -> tuple[bytes, Identity] | None:
        check(path)
        key = self._prefix + path
        try:
            content, answer = await self._client.get(key, limit)
            return content, _identity(answer)
        except Refused as exc:
            self._require_missing(exc, f"reading {path}")
            return None

    async def _head(self, path: str, seconds: float | None = None) -> Identity | None:
        """With the deadline of a large object, if `seconds` is given."""
        check(path)
        client, key = self._client, self._prefix + path
        try:
            if seconds is None:
                return _identity(await client.call("head_object", key))
            return _identity(await client.call_once("head_object", key, seconds=seconds))
        except Refused as exc:
            self._require_missing(exc, f"looking at {path}")
            return None

    async def _delete(self, path: str) -> None:
        check(path)
        try:
            await self._client.call("delete_object", self._prefix + path)
        except Refused as exc:
            self._require_missing(exc, f"removing {path}")

    async def _expect(self, operation: str, path: str, **parameters: Any) -> None:
        try:
            await self._client.call(operation, self._prefix + path, **parameters)
        except Refused as exc:
            raise self._client.unexpected(exc, f"{operation} of {path}") from exc

    def _require_missing(self, refusal: Refused, what: str) -> None:
        if not refusal.missing:
            raise self._client.unexpected(refusal, what) from refusal

    def _forget_stage(self, stage: S3Stage) -> None:
        path = stage.key.removeprefix(self._prefix)
        if self._stages.get(path) is stage:
            del self._stages[path]


def _identity(answer: dict[str, Any]) -> Identity:
    return Identity(size=int(answer["ContentLength"]), etag=str(answer.get("ETag", "")).strip('"'))


def _belongs_to_element(path: str) -> bool:
    name = path.rpartition("/")[2]
    if not name or name.startswith("."):
        return False
    return path == ELEMENT_FILE or is_sidecar_name(name) or path[:1].isdigit()
