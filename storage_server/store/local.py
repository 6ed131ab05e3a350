"""The store in a local folder. See `storage_server.store.port` for what it promises."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mesh.errors import StoreReadOnly, Unavailable
from storage_server.store import local_aside, local_erasing
from storage_server.store.folders import Handle
from storage_server.store.listing import Walk, names_in, stamp_of
from storage_server.store.local_files import LocalFiles
from storage_server.store.local_read import read_blob
from storage_server.store.local_stage import LocalStage
from storage_server.store.name_index import FolderNames, NameIndex
from storage_server.store.open_stages import OpenStages
from storage_server.store.os_errors import unwritable
from storage_server.store.paths import (
    ELEMENT_FILE,
    LOCK_FILE,
    QUARANTINE,
    STAGING,
    check,
    check_key,
)
from storage_server.store.port import ChunkSize, Identity, ListedFolder, Stage, StagedState
from storage_server.store.side_by_side import side_by_side
from storage_server.store.threads import Threads, silent

P = ParamSpec("P")
T = TypeVar("T")

_FILE_THREADS = 16
_LISTING_THREADS = 3
_FINDING_THREADS = 2
_READ_TOGETHER = 256
_READS_IN_FLIGHT = 2


class LocalStore:
    """One element's folder.

    Args:
        root: the folder; made if missing.
        deadline_seconds: how long a call waits for the disk.
        patient_seconds: the same for calls that may wait for much to be written or read: fsync,
            listing, hashing again.
    """

    backend = "local"
    conditional_put = True
    lands_late = False

    def __init__(
        self, root: Path, *, deadline_seconds: float = 8.0, patient_seconds: float = 30.0
    ) -> None:
        self.folder = root.absolute()
        self._files = LocalFiles(root)
        self._patient_seconds = patient_seconds
        self.write_trouble = asyncio.Event()
        self._threads = Threads(
            "disk",
            count=_FILE_THREADS,
            deadline_seconds=deadline_seconds,
            on_trouble=self.write_trouble.set,
        )
        # Its own: those of the disk may all be held up by what is to be found out.
        self._prober = Threads("write probe", count=1, deadline_seconds=patient_seconds)
        self._probe: asyncio.Future[None] | None = None
        self._listers = Threads("listing", count=_LISTING_THREADS, deadline_seconds=patient_seconds)
        # Their own: whoever looks for one file does not wait for a whole listing's turns.
        self._finders = Threads("names", count=_FINDING_THREADS, deadline_seconds=patient_seconds)
        self._index = self._names_index(sidecars=True)
        self._blob_index = self._names_index(sidecars=False)
        self._stages = OpenStages[LocalStage]()
        self._changing: dict[str, asyncio.Future[Any]] = {}
        self._lock: Handle | None = None

    @classmethod
    async def open(
        cls, root: Path, *, deadline_seconds: float = 8.0, patient_seconds: float = 30.0
    ) -> LocalStore:
        """A store in `root`. A disk that does not answer is met by the calls, not here."""
        store = cls(root, deadline_seconds=deadline_seconds, patient_seconds=patient_seconds)
        with contextlib.suppress(Unavailable):
            await store._threads.run("the root", store._files.folders.make_root)
            await store.read_element()
        return store

    async def close(self) -> None:
        """Close stages (their bytes stay), let go of the lock, end the threads."""
        await self._index.close()
        await self._blob_index.close()
        for stage in self._stages.all():
            with contextlib.suppress(Unavailable):
                await stage.close()
        await self._release_lock()
        self._threads.close()
        self._listers.close()
        self._finders.close()
        self._prober.close()

    # --- the element ---------------------------------------------------------------

    async def read_element(self) -> bytes | None:
        """`element.json`, or None."""
        return await self._threads.run(ELEMENT_FILE, self._files.read_element)

    async def write_element(self, content: bytes) -> None:
        """Write `element.json` durably."""
        await self._threads.run(ELEMENT_FILE, self._files.write_element, content)

    async def is_empty(self) -> bool:
        """Whether nothing of an element is here."""
        return await self._threads.run("the root", self._files.is_empty)

    async def acquire_writer(self) -> bool:
        """Take the flock; True as well when this store has it already."""
        if self._lock is None:
            self._lock = await self._threads.run(LOCK_FILE, self._files.lock)
            if self._lock is not None:
                # A store that does not write now keeps them until the next start.
                with contextlib.suppress(StoreReadOnly):
                    await self._threads.run(STAGING, self._files.remove_temporaries)
        return self._lock is not None

    async def free_bytes(self) -> int | None:
        """What the file system still takes."""
        return await self._threads.run("the root", self._files.free_bytes)

    async def try_write(self) -> None:
        """Write a small file in `.staging`; see the port. One try at a time, however long."""
        if self._probe is None or self._probe.done():
            self._probe = self._prober.start(self._files.try_write)
        seconds = self._prober.deadline_seconds
        done, _ = await asyncio.wait({self._probe}, timeout=seconds)
        if not done:
            raise silent("a write", seconds)
        try:
            self._probe.result()
        except OSError as exc:
            raise unwritable(exc) from exc

    # --- blobs ---------------------------------------------------------------------

    async def open_stage(
        self, path: str, *, key: str = "", resume: StagedState | None = None
    ) -> Stage:
        """A stage in `.staging/{key}`; see the port."""
        check(path)
        key = resume.key if resume is not None else key
        check_key(key)
        if (older := self._stages.find(key)) is not None:
            await older.close()
        what = f"stage {key}"
        if resume is None:
            file = await self._threads.run(what, self._files.new_stage, key)
        else:
            file = await self._threads.run(
                what, self._files.resumed_stage, key, path, resume.committed_size_bytes
            )
        stage = LocalStage(
            self._files,
            self._threads,
            key=key,
            path=path,
            file=file,
            patient_seconds=self._patient_seconds,
            among=self._stages,
        )
        self._stages.add(stage)
        return stage

    async def list_stages(self) -> Sequence[tuple[str, str, float]]:
        """The files in `.staging`; their paths are not known to the store."""
        found = await self._threads.run(STAGING, self._files.list_stages)
        now = time.time()
        return [(key, "", max(0.0, now - modified)) for key, modified in found]

    async def discard_stage(self, key: str, path: str) -> None:
        """Remove a staging file. What is at `path` stays: it may be a file by now."""
        check_key(key)
        await self._threads.run(f"stage {key}", self._files.discard_stage, key, "")

    def read_blob(
        self, path: str, *, offset: int, length: int, chunk_size: ChunkSize
    ) -> AsyncIterator[bytes]:
        """The bytes of a blob; see the port."""
        return read_blob(
            self._files, self._threads, path, offset=offset, length=length, chunk_size=chunk_size
        )

    async def stat_blob(self, path: str) -> int | None:
        """Its size, or None."""
        await self._settled(path)
        return await self._threads.run(path, self._files.stat_blob, path)

    async def blob_age_seconds(self, path: str) -> float | None:
        """By its time of modification."""
        await self._settled(path)
        found = await self._threads.run(path, self._files.stat, path)
        return None if found is None else max(0.0, time.time() - found.st_mtime)

    async def delete_blob(self, path: str) -> None:
        """Remove it."""
        await self._change(path, self._files.delete, path)

    # --- names ---------------------------------------------------------------------

    async def rename(self, path: str, to: str) -> bool:
        """Rename in the folder; see the port."""
        return await self._change(path, self._files.rename, path, to)

    # --- quarantine ----------------------------------------------------------------

    async def set_aside(self, name: str, content: bytes) -> None:
        """Write it to `.quarantine/{name}` durably."""
        check_key(name)
        path, folders = f"{QUARANTINE}/{name}", self._files.folders
        await self._change(path, local_aside.keep, folders, name, content)

    async def list_aside(self) -> Sequence[str]:
        """The names in `.quarantine`."""
        return await self._threads.run(QUARANTINE, local_aside.names, self._files.folders)

    async def discard_aside(self, name: str) -> None:
        """Remove it durably."""
        check_key(name)
        path = f"{QUARANTINE}/{name}"
        await self._change(path, local_aside.remove, self._files.folders, name)

    async def aside_age_seconds(self, name: str) -> float | None:
        """By when its name last changed: moving it there was that."""
        check_key(name)
        path, folders = f"{QUARANTINE}/{name}", self._files.folders
        changed = await self._threads.run(path, local_aside.changed_at, folders, name)
        return None if changed is None else max(0.0, time.time() - changed)

    async def quarantine(self, path: str, name: str) -> bool:
        """Rename it to `.quarantine/{name}`."""
        check(path)
        check_key(name)
        return await self._change(path, local_aside.move, self._files.folders, path, name)

    # --- sidecars ------------------------------------------------------------------

    async def read_sidecar(self, path: str) -> tuple[bytes, Identity] | None:
        """Bytes and identity, or None."""
        await self._settled(path)
        return await self._threads.run(path, self._files.read_sidecar, path)

    async def read_sidecars(self, paths: Sequence[str]) -> Sequence[tuple[bytes, Identity] | None]:
        """Many, read some hundred at a time by a few threads."""
        slots = asyncio.Semaphore(_READS_IN_FLIGHT)

        async def read(part: Sequence[str]) -> Sequence[tuple[bytes, Identity] | None]:
            async with slots:
                return await self._listers.run("sidecars", self._files.read_sidecars, part)

        starts = range(0, len(paths), _READ_TOGETHER)
        parts = await side_by_side([read(paths[at : at + _READ_TOGETHER]) for at in starts])
        return [found for part in parts for found in part]

    async def stat_sidecar(self, path: str) -> Identity | None:
        """Its identity now, or None."""
        await self._settled(path)
        return await self._threads.run(path, self._files.stat_sidecar, path)

    async def write_sidecar(
        self, path: str, content: bytes, *, expected: Identity | None
    ) -> Identity:
        """Write durably and atomically; see the port."""
        return await self._change(path, self._files.write_sidecar, path, content, expected)

    async def delete_sidecar(self, path: str) -> None:
        """Remove it durably."""
        await self._change(path, self._files.delete, path)

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
        """Remove all that is of the file; see the port."""
        for folder in folders:
            check(folder)
        await self._change(
            f"all of {file_id}",
            local_erasing.erase,
            self._files.folders,
            file_id,
            folders,
            others,
            keep,
        )

    # --- listing -------------------------------------------------------------------

    async def scan(
        self, *, known_stamps: Mapping[str, str] | None = None, blob_sizes: bool = False
    ) -> AsyncIterator[ListedFolder]:
        """Every folder; the next ones are listed while the caller works on these."""
        walk = Walk(self._files.folders, known_stamps or {}, blob_sizes=blob_sizes)
        ahead = self._listers.start(walk.next_batch)
        while batch := await self._listers.outcome(ahead, "listing"):
            ahead = self._listers.start(walk.next_batch)
            for folder in batch:
                yield folder

    # --- inside --------------------------------------------------------------------

    async def _release_lock(self) -> None:
        """Let go of the flock, but not before the last change that a thread is still at."""
        lock, self._lock = self._lock, None
        under_way = list(self._changing.values())
        if under_way:
            await asyncio.wait(under_way, timeout=self._threads.deadline_seconds)
        if lock is not None and not self._changing:
            lock.close()
        for job in self._changing.values():
            job.add_done_callback(lambda _: lock.close() if lock and not self._changing else None)

    async def _change(
        self, path: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a change of `path` to its end, even when the caller is cancelled or gives up.

        Whoever looks at the path afterwards waits for that end: else a write that was held up
        by the disk could land after somebody had concluded that it did not happen.
        """
        await self._settled(path)
        job = self._threads.start(call, *args, **kwargs)
        self._changing[path] = job
        job.add_done_callback(lambda _: self._changing.pop(path, None))
        return await self._threads.outcome(asyncio.shield(job), path)

    async def _settled(self, path: str) -> None:
        """Wait until no change of `path` is under way."""
        while (job := self._changing.get(path)) is not None:
            done, _ = await asyncio.wait({job}, timeout=self._threads.deadline_seconds)
            if not done:
                raise silent(path, self._threads.deadline_seconds)

    def _names_index(self, *, sidecars: bool) -> NameIndex:
        async def names(folder: str) -> FolderNames | None:
            folders = self._files.folders
            return await self._finders.run(folder, names_in, folders, folder, sidecars=sidecars)

        return NameIndex(names, current_stamp=self._current_stamp, patient=not sidecars)

    async def _current_stamp(self, folder: str) -> str:
        return await self._threads.run(folder, stamp_of, self._files.folders, folder)
