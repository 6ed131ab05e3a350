"""Taking away what belongs to no file: uploads that were idle for too long, and orphan blobs.

An orphan blob is one that no sidecar stands for, whose id says that it is old, whose bytes are old,
and that no upload, pull or pending write names. It goes to `.quarantine` first, with a text beside
it that says where it lay, and both stay there for a while.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import ArtStoreError, DataLoss, Unavailable
from storage_server.cache.comparison import compare_blobs
from storage_server.domain.file_id import time_of
from storage_server.domain.freshness import Freshness
from storage_server.domain.naming import blob_beside, file_id_in_name
from storage_server.element.clock import Clock
from storage_server.element.state import Element
from storage_server.sidecars.locate import locate
from storage_server.store.port import ListedFolder, Store
from storage_server.uploads.keeping import UploadKeeping

DEFAULT_MAX_DELETE_RATIO = 0.1
# Without a ratio of the caller's so few may go whatever share of all they are.
DELETE_RATIO_FROM = 100
MAX_EXAMPLES = 100
MAX_ERRORS = 10
# On S3 looking for orphans is listing everything.
LISTED_EACH = 24 * 3600.0

_log = structlog.stdlib.get_logger(__name__)

Named = Callable[[str, str], Awaitable[bool]]


@dataclass(slots=True)
class Kept:
    """What one kind of leftover came to; `examples` are the first 100 ids."""

    count: int = 0
    size_bytes: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str, size_bytes: int) -> None:
        """One more."""
        self.count += 1
        self.size_bytes += size_bytes
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)


@dataclass(slots=True)
class Collected:
    """What was taken away (of a dry run: would be); `errors` are the first 10."""

    idle_uploads: Kept = field(default_factory=Kept)
    orphan_blobs: Kept = field(default_factory=Kept)
    errors: list[str] = field(default_factory=list)

    def fail(self, message: str) -> None:
        """Something could not be removed."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(message)


@dataclass(frozen=True, slots=True)
class _Clean:
    """A folder without an orphan, as it was listed."""

    stamp: str
    blobs: int


class Leftovers:
    """Of one element.

    Args:
        named: answers of a file id and a path whether somebody may still need the blob there.
        orphan_age: younger blobs are left alone.
        quarantine: how long what was set aside stays.
    """

    def __init__(
        self,
        element: Element,
        clock: Clock,
        file_locks: KeyedLocks,
        keeping: UploadKeeping,
        *,
        named: Named,
        orphan_age: timedelta,
        quarantine: timedelta,
    ) -> None:
        self._element = element
        self._clock = clock
        self._file_locks = file_locks
        self._keeping = keeping
        self._named = named
        self._orphan_age = orphan_age
        self._quarantine = quarantine
        self._clean: dict[str, _Clean] = {}
        self._listed_at = float("-inf")

    async def collect(
        self,
        *,
        freshness: Freshness,
        dry_run: bool,
        max_delete_ratio: float | None,
        if_due: bool,
    ) -> Collected:
        """Take away what may go.

        Args:
            freshness: when admin decided it.

        Raises:
            Aborted: reason STALE.
            Unavailable: the storage, the database, or (reason CLOCK) the clock is in doubt.
        """
        freshness.require(self._clock.agreed_time())
        store = self._element.writing()
        doubt = self._clock.doubt()
        if doubt:
            raise Unavailable(f"nothing is thrown away by this clock: {doubt}", reason="CLOCK")
        found = Collected()
        await self._idle_uploads(found, dry_run=dry_run)
        due = time.monotonic() - self._listed_at >= LISTED_EACH
        if store.backend == "local" or due or not if_due:
            await self._orphan_blobs(store, found, max_delete_ratio, dry_run=dry_run)
            if not dry_run:
                self._listed_at = time.monotonic()
        return found

    async def empty_quarantine(self) -> None:
        """Remove what was set aside long enough ago."""
        store = self._element.writing()
        for name in await store.list_aside():
            age = await store.aside_age_seconds(name)
            if age is not None and age > self._quarantine.total_seconds():
                await store.discard_aside(name)
                _log.info("removed from quarantine", file_id=name[:36])

    async def _idle_uploads(self, found: Collected, *, dry_run: bool) -> None:
        for row in await self._keeping.idle():
            size = row.stage.committed_size_bytes
            try:
                if dry_run or await self._keeping.drop(row):
                    found.idle_uploads.add(row.upload_id, size)
            except ArtStoreError as exc:
                found.fail(f"upload {row.upload_id}: {exc.message}")

    async def _orphan_blobs(
        self, store: Store, found: Collected, max_delete_ratio: float | None, *, dry_run: bool
    ) -> None:
        await self._element.prove()
        orphans, blobs = await self._list_orphans(store)
        await self._element.prove()
        due = [path for path in orphans if await self._may_go(store, path)]
        ratio = DEFAULT_MAX_DELETE_RATIO if max_delete_ratio is None else max_delete_ratio
        few = max_delete_ratio is None and len(due) <= DELETE_RATIO_FROM
        if due and not few and len(due) > ratio * blobs:
            found.fail(
                f"{len(due)} of {blobs} blobs have no sidecar, which is more than "
                f"max_delete_ratio {ratio:g}, so none was touched: were sidecars lost? If they "
                "may really go, repeat with a higher ratio"
            )
            return
        for path in due:
            size = await store.stat_blob(path)
            try:
                if size is None or not (dry_run or await self._set_aside(store, path)):
                    continue
            except ArtStoreError as exc:
                found.fail(f"blob of {file_id_in_name(path)}: {exc.message}")
                continue
            found.orphan_blobs.add(file_id_in_name(path) or "", size)

    async def _list_orphans(self, store: Store) -> tuple[Sequence[str], int]:
        """(paths of blobs that no sidecar stands for, how many blobs there are)."""
        orphans: list[str] = []
        blobs, clean = 0, {}
        known = {path: one.stamp for path, one in self._clean.items()}
        async with aclosing(_folders(store, known)) as folders:
            async for folder in folders:
                if folder.unchanged:
                    clean[folder.path] = self._clean[folder.path]
                    blobs += self._clean[folder.path].blobs
                    continue
                blobs += len(folder.blobs)
                without = _without_sidecar(folder)
                orphans += without
                if folder.stamp and not without:
                    clean[folder.path] = _Clean(folder.stamp, len(folder.blobs))
        self._clean = clean
        return sorted(orphans), blobs

    async def _may_go(self, store: Store, path: str) -> bool:
        """Whether it is one of ours, is old, and nothing names it."""
        file_id = file_id_in_name(path)
        # Without an id of ours it is somebody else's: not this service has put it here.
        if file_id is None or not self._is_old(file_id):
            return False
        age = await store.blob_age_seconds(path)
        if age is None or age < self._orphan_age.total_seconds():
            return False
        if await self._named(file_id, path):
            return False
        try:
            return await locate(store, file_id) is None
        except DataLoss:
            # A sidecar that cannot be read may be mended.
            return False

    def _is_old(self, file_id: str) -> bool:
        try:
            return datetime.now(UTC) - time_of(file_id) >= self._orphan_age
        except ValueError:
            return False

    async def _set_aside(self, store: Store, path: str) -> bool:
        """Move it to the quarantine, if under the file's lock it still may go."""
        file_id = file_id_in_name(path) or ""
        async with self._file_locks.hold(file_id):
            if not await self._may_go(store, path):
                return False
            name = f"{file_id}_{datetime.now(UTC):%Y%m%dT%H%M%S}"
            await store.set_aside(f"{name}.path", path.encode("utf-8", "surrogateescape"))
            moved = await store.quarantine(path, f"{name}.blob")
        if moved:
            _log.info("orphan blob set aside", file_id=file_id)
        return moved


async def _folders(store: Store, known: Mapping[str, str]) -> AsyncGenerator[ListedFolder, None]:
    async for folder in store.scan(known_stamps=known):
        yield folder


def _without_sidecar(folder: ListedFolder) -> Collection[str]:
    named = {blob_beside(sidecar.path) for sidecar in folder.sidecars}
    listed = {f"{folder.path}/{name}" for name, _ in folder.blobs}
    return compare_blobs(named, listed).orphans
