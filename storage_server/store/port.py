"""The store: where an element keeps its blobs, its sidecars and its `element.json`.

This module is the port. It does no I/O; `local.py` (a folder) and `s3.py` (a prefix of a
bucket) implement it, and one contract suite holds both to it.

Lifecycle: an adapter is built by its `open()` coroutine and released by `close()`. All
methods are coroutines that never block the event loop. All paths are relative to the
element's root, use `/`, and come from `storage_server.domain.naming` or from a listing, never
from a client; an adapter refuses any path that leaves the root.

Errors: a dependency that is down or silent is `mesh.errors.Unavailable`; a full disk is
`mesh.errors.ResourceExhausted`; one that reads and does not write is
`mesh.errors.StoreReadOnly`, and nothing was written; whatever is missing is `None` (reads,
stats) or a no-op (deletes). Every call ends within the adapter's deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

SIDECAR_SUFFIX = ".attr.json"
MAX_SIDECAR_BYTES = 4096


UNREADABLE_SIZE = -1
"""`Identity.size` of a folder, link or device that has the name of a sidecar."""

UNKNOWN_SIZE = -1
"""Size of a blob whose size the listing did not ask for."""


ChunkSize = int | Callable[[], int]


def sizes_of(chunk_size: ChunkSize) -> Callable[[], int]:
    """What answers the size of the next chunk."""
    return chunk_size if callable(chunk_size) else lambda: chunk_size


class Identity(NamedTuple):
    """What changes whenever a sidecar's bytes change, without reading them.

    Local stores fill mtime_ns, size and inode; S3 fills etag (without quotes) and size.
    """

    size: int
    mtime_ns: int = 0
    inode: int = 0
    etag: str = ""


class ListedSidecar(NamedTuple):
    """A sidecar met in a listing: its path (relative, with suffix) and identity."""

    path: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class ListedFolder:
    """One folder `YYYY/MM/DD/HH` of a listing.

    Attributes:
        path: relative path of the folder.
        stamp: changes when entries were added or removed (mtime_ns as text); empty when the
            store has none (S3) or when it is too young to be trusted.
        sidecars: all sidecars in it, by path. Folders and other things of such a name are
            listed with `identity.size == UNREADABLE_SIZE`.
        blobs: names and sizes of the other regular files in it (no dotfiles), by name; the
            size is UNKNOWN_SIZE unless the listing has it or was asked for it.
        unchanged: the stamp is the known one, so the folder was not listed and `sidecars` and
            `blobs` are empty. (A known folder that is gone is not yielded at all.)
    """

    path: str
    stamp: str
    sidecars: Sequence[ListedSidecar]
    blobs: Sequence[tuple[str, int]]
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class StagedState:
    """What must be remembered (in the catalog) to go on with a stage after a restart.

    Attributes:
        key: names the stage (local: the staging file; S3: the multipart upload id, empty
            while there is none because less than a part has come).
        committed_size_bytes: bytes that survive a restart of server and machine.
        parts: S3 only, (part number, etag, size, crc32c of the part).
    """

    key: str
    committed_size_bytes: int = 0
    parts: Sequence[tuple[int, str, int, int]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class SealedBlob:
    """A whole blob, durable but not yet in place."""

    size_bytes: int
    sha256: str
    crc32c: int


class Stage(Protocol):
    """A blob on its way in. One writer at a time; not safe for concurrent calls.

    Opening a stage again under the same key closes the older one of this process. A write may
    fail for bytes that an earlier write accepted; after an error only `discard` and `close`
    are of use, and the upload goes on from its last checkpoint with a new stage.
    """

    @property
    def offset(self) -> int:
        """Bytes accepted so far; the offset of the next byte."""

    async def write(self, data: bytes | memoryview, crc32c: int | None = None) -> None:
        """Append, hash, and wait for the store when it is behind (back-pressure).

        Args:
            crc32c: of these bytes, if it is known: then it is not computed again.
        """

    async def checkpoint(self) -> StagedState:
        """Make what can be made durable durable, and say what that is.

        On S3 only whole parts are; a tail below a part stays in memory.
        """

    async def truncate(self, offset: int) -> None:
        """Forget everything from `offset` on.

        S3 can only go back to a part's border or within the tail: afterwards `offset` says
        where the stage is, at most the offset asked for.

        Raises:
            OutOfRange: `offset` is beyond the end.
            FailedPrecondition: the blob is sealed and its store cannot open it again (S3).
        """

    async def seal(
        self, check: Callable[[SealedBlob], None] = ..., *, seconds_left: float | None = None
    ) -> SealedBlob:
        """All bytes are here: make them durable and give size and digests.

        Hash state does not survive a restart, so a resumed stage is read again here.
        Idempotent. Locally the stage may still be cut or written to afterwards.

        Args:
            check: raises when the blob is not what was declared, and that is raised on. The
                stage may then still be cut or written to, except on S3 when it was resumed:
                there an object is complete before it can be read again.
            seconds_left: until the caller's deadline, None when it has none. On S3 a server may
                work that long on making one object of the parts.
        """

    async def place(self) -> None:
        """Move the sealed blob to its path, durably (parents created and fsynced too).

        Idempotent. Nobody sees the file yet: its sidecar does not exist.
        """

    async def discard(self) -> None:
        """Drop it: nothing is left in the store. Idempotent; safe after a failure.

        Goes on when the caller is cancelled. A blob that is already in place is removed too,
        but never one that has a sidecar.
        """

    def rest(self) -> None:
        """Let go of the descriptor; the next call opens it again. Nothing while bytes are written.

        Not while another call is under way.
        """

    async def close(self) -> None:
        """Release handles and keep the bytes, so that the upload can be resumed."""


class Store(Protocol):
    """See the module's docstring."""

    @property
    def backend(self) -> str:
        """`local` or `s3`."""

    async def close(self) -> None:
        """Release the client, threads and locks."""

    @property
    def conditional_put(self) -> bool:
        """Whether a sidecar is never written over another process's change unseen.

        Local: always (the flock sees to it). S3: what the server was found to do; False until
        that has been tried. When False, the caller checks the writer's lock before each write.
        """

    @property
    def lands_late(self) -> bool:
        """Whether a write may still happen after the process that sent it has died.

        On S3 the server carries out a PUT that it has whole. Locally a dead process writes
        nothing more.
        """

    @property
    def folder(self) -> Path | None:
        """Where another process of this machine finds it; None when it cannot."""

    # --- the element ---------------------------------------------------------------

    async def read_element(self) -> bytes | None:
        """`element.json`, or None when it is not there."""

    async def write_element(self, content: bytes) -> None:
        """Write `element.json` durably and atomically."""

    async def is_empty(self) -> bool:
        """No sidecar, blob or element.json at all (`.keep` and the lock file do not count)."""

    async def acquire_writer(self) -> bool:
        """Become the one writing process (local: flock on `element.lock`, never replaced).

        Returns False at once when another process is. S3 has no lock of its own and answers
        True: there the catalog's advisory lock decides.
        """

    async def free_bytes(self) -> int | None:
        """Bytes the file system still takes; None when the store knows no limit."""

    @property
    def write_trouble(self) -> asyncio.Event:
        """Set whenever a write failed: `try_write` tells whether others do too."""

    async def try_write(self) -> None:
        """Write a small file where stages are, durably, and remove it.

        Raises, with short messages that name no path:
            StoreReadOnly: the store may read, and takes no writes.
            ResourceExhausted: it is full.
            Unavailable: it does not answer.
        """

    # --- blobs ---------------------------------------------------------------------

    async def open_stage(
        self, path: str, *, key: str = "", resume: StagedState | None = None
    ) -> Stage:
        """A new stage for the blob at `path`, or the one `resume` describes.

        Args:
            path: where the blob will be placed.
            key: local: name of the staging file (the upload id); ignored on S3.
            resume: continue at `resume.committed_size_bytes`; bytes beyond are cut. A blob
                that was placed before the crash is taken as a stage that is placed.

        Raises:
            DataLoss: the bytes that `resume` describes are gone.
        """

    async def list_stages(self) -> Sequence[tuple[str, str, float]]:
        """(key, path or empty, age in seconds) of every stage in the store, for the sweeper."""

    async def discard_stage(self, key: str, path: str) -> None:
        """Remove a stage by its key. Missing is fine."""

    def read_blob(
        self, path: str, *, offset: int, length: int, chunk_size: ChunkSize
    ) -> AsyncIterator[bytes]:
        """The bytes of a blob in chunks of `chunk_size` (the last may be shorter).

        Args:
            offset: first byte; nothing comes when it is the blob's size or beyond.
            length: how many bytes; 0 means to the end.
            chunk_size: bytes, or asked anew for each chunk.

        The first step raises `mesh.errors.DataLoss` when the blob is missing, and a later one
        when it ends before `length`. At most two chunks are read ahead. Closing the iterator
        frees the connection.
        """

    async def stat_blob(self, path: str) -> int | None:
        """Its size, or None."""

    async def blob_age_seconds(self, path: str) -> float | None:
        """How long ago its bytes were written, as far as the store tells; None: it is not there."""

    async def delete_blob(self, path: str) -> None:
        """Remove it. Missing is fine."""

    # --- names ---------------------------------------------------------------------

    async def rename(self, path: str, to: str) -> bool:
        """Give a blob or sidecar another name in its folder, durably.

        False, and nothing done, when `path` is not there or something stands at `to` already.
        Where names cannot be changed (S3) it is copied and then removed: a crash in between
        leaves both. The caller holds the file's lock.

        Raises:
            FailedPrecondition: the store cannot copy a blob of this size (S3: over 5 GiB).
        """

    # --- quarantine ----------------------------------------------------------------

    async def set_aside(self, name: str, content: bytes) -> None:
        """Keep a few bytes, a sidecar say, in `.quarantine`, durably. Idempotent.

        Args:
            name: a plain name; what it had before is replaced.
        """

    async def list_aside(self) -> Sequence[str]:
        """The names of what is in `.quarantine`."""

    async def discard_aside(self, name: str) -> None:
        """Remove it from `.quarantine`. Missing is fine."""

    async def aside_age_seconds(self, name: str) -> float | None:
        """How long it has been in `.quarantine`; None when it is not there."""

    async def quarantine(self, path: str, name: str) -> bool:
        """Move a blob to `.quarantine`, durably. The caller holds the file's lock.

        False, and nothing done, when it is not there. Where names cannot be changed (S3) it is
        copied and then removed: a crash in between leaves both.

        Args:
            name: as for `set_aside`.

        Raises:
            FailedPrecondition: the store cannot copy a blob of this size (S3: over 5 GiB).
        """

    # --- sidecars ------------------------------------------------------------------

    async def read_sidecar(self, path: str) -> tuple[bytes, Identity] | None:
        """Bytes (at most MAX_SIDECAR_BYTES + 1 of them) with the identity they had.

        A folder or device of that name reads as `(b"", Identity(size=-1))`.
        """

    async def read_sidecars(self, paths: Sequence[str]) -> Sequence[tuple[bytes, Identity] | None]:
        """`read_sidecar` for many, with bounded parallelism, in the order of `paths`."""

    async def stat_sidecar(self, path: str) -> Identity | None:
        """Its identity now, or None when it is not there: a direct stat or HEAD."""

    async def write_sidecar(
        self, path: str, content: bytes, *, expected: Identity | None
    ) -> Identity:
        """Write durably and atomically: temp + fsync + rename + fsync of the folder, or PUT.

        Args:
            expected: the identity the caller read; where the server honours conditional PUT,
                a mismatch raises `mesh.errors.Aborted` (reason REVISION_CONFLICT). None for a
                new sidecar (If-None-Match).
        """

    async def delete_sidecar(self, path: str) -> None:
        """Remove it durably. Missing is fine."""

    async def find_sidecars(self, file_id: str, folder: str) -> Sequence[str]:
        """Paths of the sidecars in `folder` whose name ends in `_{file_id}{ext}.attr.json`.

        In whatever case. Single-flight per folder and indexed by name, keyed by the folder's
        mtime (S3: 5 s); at most 2 such listings in flight, then `mesh.errors.Unavailable`.
        """

    async def find_blobs(self, file_id: str, folder: str) -> Sequence[str]:
        """Paths of the blobs in `folder` whose name ends in `_{file_id}{ext}`; as above."""

    async def sidecars_in(self, folder: str) -> Mapping[str, Sequence[str]]:
        """Names of the sidecars in `folder` by the file id in them, for looking up many.

        On S3 it may be 5 s old. Waits for listings under way. Empty without such a folder.
        """

    async def absent(self, file_ids: Collection[str], folder: str) -> Set[str]:
        """Those of `file_ids` of which `find_sidecars` would find nothing in `folder`; one listing
        at most, however many there are.
        """

    # --- erasing -------------------------------------------------------------------

    async def erase(
        self, file_id: str, folders: Collection[str], *, others: Collection[str] = (), keep: str
    ) -> None:
        """Remove whatever has `file_id` in its name, in `folders` and in the quarantine, and the
        stages of that name; blobs first, sidecars last. Missing is fine.

        Where the store keeps earlier versions of its objects, those go too, also of what had been
        removed before.

        Args:
            others: paths of things of the file that lack its id in their name.
            keep: the one path that stays.

        Raises:
            StoreReadOnly, Unavailable: something may be left; a repeat goes on.
        """

    # --- listing -------------------------------------------------------------------

    def scan(
        self, *, known_stamps: Mapping[str, str] | None = None, blob_sizes: bool = False
    ) -> AsyncIterator[ListedFolder]:
        """Every folder `YYYY/MM/DD/HH` of the store in order of its path, parsed in a thread.

        Args:
            known_stamps: folders whose stamp still equals `known_stamps[path]` are yielded as
                `unchanged`, without being listed (QUICK).
            blob_sizes: whether sizes of blobs are wanted; locally that costs a stat of each.

        Raises `mesh.errors.Unavailable` when the listing cannot be completed: a listing that
        ends without an error is complete. Foreign files and dotfiles are ignored.
        """
