"""A store in memory, for tests of what stands on a store. The contract suite holds it too."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field

from mesh.errors import Aborted, DataLoss, FailedPrecondition, InvalidArgument, OutOfRange
from storage_server.domain.naming import file_id_in_name, is_folder, is_sidecar_name
from storage_server.store.digest import RunningDigest
from storage_server.store.name_index import names_by_id
from storage_server.store.paths import ELEMENT_FILE, QUARANTINE, check, check_key, split
from storage_server.store.port import (
    MAX_SIDECAR_BYTES,
    SIDECAR_SUFFIX,
    UNREADABLE_SIZE,
    ChunkSize,
    Identity,
    ListedFolder,
    ListedSidecar,
    SealedBlob,
    Stage,
    StagedState,
    sizes_of,
)


@dataclass
class Memory:
    """What outlives a store: files by path with their inode, and stages by key.

    Attributes:
        part_bytes: of a stage only whole parts of so many bytes are kept, as on S3.
    """

    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    stages: dict[str, tuple[bytearray, float]] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    part_bytes: int = 1
    inodes: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    writer: object | None = None

    def put(self, path: str, content: bytes) -> Identity:
        """Write a file."""
        self.files[path] = (content, next(self.inodes))
        self.times[path] = time.time()
        return self.identity(path)

    def identity(self, path: str) -> Identity:
        """Identity of a file."""
        content, inode = self.files[path]
        return Identity(len(content), 1, inode)


class MemoryStage:
    """See `storage_server.store.port.Stage`."""

    def __init__(self, store: MemoryStore, key: str, path: str, *, placed: bool) -> None:
        self._store = store
        self._memory = store.memory
        self._key = key
        self._path = path
        self._placed = placed
        self._sealed: SealedBlob | None = None
        self.closed = False
        self.rested = 0

    @property
    def offset(self) -> int:
        return len(self._bytes)

    async def write(self, data: bytes | memoryview, crc32c: int | None = None) -> None:
        self._require_writable()
        self._sealed = None
        self._memory.stages[self._key][0].extend(data)

    async def checkpoint(self) -> StagedState:
        self._require_open()
        return StagedState(self._key, self.offset - self.offset % self._memory.part_bytes)

    async def truncate(self, offset: int) -> None:
        self._require_writable()
        if not 0 <= offset <= self.offset:
            raise OutOfRange(f"offset {offset} is beyond the end, {self.offset}")
        self._sealed = None
        del self._memory.stages[self._key][0][offset:]

    async def seal(
        self,
        check: Callable[[SealedBlob], None] = lambda _: None,
        *,
        seconds_left: float | None = None,
    ) -> SealedBlob:
        self._require_open()
        digest = RunningDigest()
        digest.update(self._bytes)
        self._sealed = digest.result()
        check(self._sealed)
        return self._sealed

    async def place(self) -> None:
        self._require_open()
        if self._sealed is None:
            raise FailedPrecondition("the stage is not sealed")
        if not self._placed:
            self._memory.put(self._path, self._bytes)
            self._memory.stages.pop(self._key, None)
            self._placed = True

    async def discard(self) -> None:
        self.closed = True
        self._memory.stages.pop(self._key, None)
        if self._placed and self._path + SIDECAR_SUFFIX not in self._memory.files:
            self._memory.files.pop(self._path, None)

    def rest(self) -> None:
        self.rested += 1

    async def close(self) -> None:
        self.closed = True

    @property
    def _bytes(self) -> bytes:
        if self._placed:
            return self._memory.files[self._path][0]
        return bytes(self._memory.stages[self._key][0])

    def _require_open(self) -> None:
        if self.closed:
            raise FailedPrecondition("this stage is closed", reason="TAKEN_OVER")

    def _require_writable(self) -> None:
        self._require_open()
        if self._placed:
            raise FailedPrecondition("the blob is complete and in place", reason="SEALED")


class MemoryStore:
    """See `storage_server.store.port.Store`."""

    backend = "memory"
    conditional_put = True
    lands_late = False
    folder = None

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory if memory is not None else Memory()
        self.write_trouble = asyncio.Event()
        self._stages: dict[str, MemoryStage] = {}

    async def close(self) -> None:
        for stage in self._stages.values():
            stage.closed = True
        if self.memory.writer is self:
            self.memory.writer = None

    async def try_write(self) -> None:
        return

    async def read_element(self) -> bytes | None:
        found = self.memory.files.get(ELEMENT_FILE)
        return found[0] if found else None

    async def write_element(self, content: bytes) -> None:
        self.memory.put(ELEMENT_FILE, content)

    async def is_empty(self) -> bool:
        return not any(_counts(path) for path in self.memory.files)

    async def acquire_writer(self) -> bool:
        self.memory.writer = self.memory.writer or self
        return self.memory.writer is self

    async def free_bytes(self) -> int | None:
        return None

    async def open_stage(
        self, path: str, *, key: str = "", resume: StagedState | None = None
    ) -> Stage:
        check(path)
        key = resume.key if resume is not None else key
        check_key(key)
        if older := self._stages.pop(key, None):
            older.closed = True
        size = resume.committed_size_bytes if resume is not None else 0
        placed = False
        if resume is None or (key not in self.memory.stages and size == 0):
            self.memory.stages[key] = (bytearray(), time.time())
        elif key in self.memory.stages:
            if len(self.memory.stages[key][0]) < size:
                raise DataLoss("the bytes sent so far are gone", reason="STAGE_LOST")
            del self.memory.stages[key][0][size:]
        elif path in self.memory.files and len(self.memory.files[path][0]) >= size:
            placed = True
        else:
            raise DataLoss("the bytes sent so far are gone", reason="STAGE_LOST")
        self._stages[key] = MemoryStage(self, key, path, placed=placed)
        return self._stages[key]

    async def list_stages(self) -> Sequence[tuple[str, str, float]]:
        now = time.time()
        return [(key, "", now - began) for key, (_, began) in self.memory.stages.items()]

    async def discard_stage(self, key: str, path: str) -> None:
        check_key(key)
        self.memory.stages.pop(key, None)

    async def read_blob(
        self, path: str, *, offset: int, length: int, chunk_size: ChunkSize
    ) -> AsyncIterator[bytes]:
        check(path)
        if path not in self.memory.files:
            raise DataLoss("the bytes are gone", reason="BLOB_MISSING")
        content = self.memory.files[path][0]
        end = offset + length if length else len(content)
        next_size, start = sizes_of(chunk_size), offset
        while start < min(end, len(content)):
            size = next_size()
            yield content[start : min(start + size, end)]
            start += size
        if end > len(content):
            raise DataLoss("the bytes end early", reason="BLOB_SHORT")

    async def stat_blob(self, path: str) -> int | None:
        check(path)
        found = self.memory.files.get(path)
        return len(found[0]) if found else None

    async def delete_blob(self, path: str) -> None:
        check(path)
        self.memory.files.pop(path, None)

    async def read_sidecar(self, path: str) -> tuple[bytes, Identity] | None:
        check(path)
        if path in self.memory.folders:
            return b"", Identity(size=UNREADABLE_SIZE)
        if path not in self.memory.files:
            return None
        return self.memory.files[path][0][: MAX_SIDECAR_BYTES + 1], self.memory.identity(path)

    async def read_sidecars(self, paths: Sequence[str]) -> Sequence[tuple[bytes, Identity] | None]:
        return [await self.read_sidecar(path) for path in paths]

    async def stat_sidecar(self, path: str) -> Identity | None:
        found = await self.read_sidecar(path)
        return found[1] if found else None

    async def write_sidecar(
        self, path: str, content: bytes, *, expected: Identity | None
    ) -> Identity:
        if len(content) > MAX_SIDECAR_BYTES:
            raise InvalidArgument(f"the sidecar has more than {MAX_SIDECAR_BYTES} bytes")
        found = await self.read_sidecar(path)
        if self.conditional_put and (found[1] if found else None) != expected:
            if found is not None and found[0] == content:
                return found[1]
            raise Aborted("the file was changed meanwhile", reason="REVISION_CONFLICT")
        return self.memory.put(path, content)

    async def delete_sidecar(self, path: str) -> None:
        await self.delete_blob(path)

    async def rename(self, path: str, to: str) -> bool:
        check(path)
        check(to)
        if path not in self.memory.files or to in self.memory.files:
            return False
        self.memory.files[to] = self.memory.files.pop(path)
        return True

    async def set_aside(self, name: str, content: bytes) -> None:
        check_key(name)
        self.memory.put(f"{QUARANTINE}/{name}", content)

    async def list_aside(self) -> Sequence[str]:
        start = QUARANTINE + "/"
        return sorted(one.removeprefix(start) for one in self.memory.files if one.startswith(start))

    async def discard_aside(self, name: str) -> None:
        check_key(name)
        self.memory.files.pop(f"{QUARANTINE}/{name}", None)

    async def aside_age_seconds(self, name: str) -> float | None:
        check_key(name)
        return self._age(f"{QUARANTINE}/{name}")

    async def blob_age_seconds(self, path: str) -> float | None:
        check(path)
        return self._age(path)

    async def quarantine(self, path: str, name: str) -> bool:
        check(path)
        check_key(name)
        if path not in self.memory.files:
            return False
        self.memory.put(f"{QUARANTINE}/{name}", self.memory.files.pop(path)[0])
        return True

    def _age(self, path: str) -> float | None:
        if path not in self.memory.files:
            return None
        return time.time() - self.memory.times[path]

    async def find_sidecars(self, file_id: str, folder: str) -> Sequence[str]:
        check(folder)
        return self._find(file_id, folder, sidecars=True)

    async def find_blobs(self, file_id: str, folder: str) -> Sequence[str]:
        check(folder)
        return self._find(file_id, folder, sidecars=False)

    async def sidecars_in(self, folder: str) -> Mapping[str, Sequence[str]]:
        check(folder)
        names = [name for at, name in map(split, self.memory.files) if at == folder]
        return names_by_id(names, sidecars=True)

    def _find(self, file_id: str, folder: str, *, sidecars: bool) -> Sequence[str]:
        return [
            path
            for path in self.memory.files
            if path.rpartition("/")[0] == folder
            and is_sidecar_name(path) is sidecars
            and file_id_in_name(path) == file_id
        ]

    async def absent(self, file_ids: Collection[str], folder: str) -> Set[str]:
        return {one for one in file_ids if not await self.find_sidecars(one, folder)}

    async def erase(
        self, file_id: str, folders: Collection[str], *, others: Collection[str] = (), keep: str
    ) -> None:
        wanted = {*folders, QUARANTINE}
        for path in sorted(self.memory.files, key=is_sidecar_name):
            of_file = file_id in path.rpartition("/")[2].lower() and any(
                path.startswith(f"{folder}/") for folder in wanted
            )
            if path != keep and (of_file or path in others):
                del self.memory.files[path]
        self.memory.stages.pop(file_id, None)

    async def scan(
        self, *, known_stamps: Mapping[str, str] | None = None, blob_sizes: bool = False
    ) -> AsyncIterator[ListedFolder]:
        found: dict[str, tuple[list[ListedSidecar], list[tuple[str, int]]]] = {}
        unreadable = ((path, None) for path in self.memory.folders)
        for path, file in sorted([*self.memory.files.items(), *unreadable]):
            folder, _, name = path.rpartition("/")
            if not is_folder(folder) or name.startswith("."):
                continue
            sidecars, blobs = found.setdefault(folder, ([], []))
            if file is None:
                sidecars.append(ListedSidecar(path, Identity(size=UNREADABLE_SIZE)))
            elif is_sidecar_name(name):
                sidecars.append(ListedSidecar(path, self.memory.identity(path)))
            else:
                blobs.append((name, len(file[0])))
        for folder, (sidecars, blobs) in sorted(found.items()):
            yield ListedFolder(folder, "", sidecars, blobs)


def _counts(path: str) -> bool:
    name = path.rpartition("/")[2]
    return not name.startswith(".") and (
        path == ELEMENT_FILE or name.endswith(SIDECAR_SUFFIX) or path[:1].isdigit()
    )
