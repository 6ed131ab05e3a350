"""Sidecars read from the store, sorted into valid ones and invalid ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from storage_server.catalog.summaries import RowSummary
from storage_server.domain.decisions import Found
from storage_server.domain.naming import (
    blob_beside,
    file_id_in_name,
    home_of,
    is_folder,
    sidecar_path,
    split_sidecar_path,
)
from storage_server.domain.sidecar import (
    FileState,
    InvalidSidecar,
    Sidecar,
    decode_with_digest,
    digest,
)
from storage_server.store.port import UNREADABLE_SIZE, Identity, Store

MAX_NAME_BYTES = 255
NOT_A_FILE = "not a regular file: remove it, and put the sidecar back from a backup"


@dataclass(frozen=True, slots=True)
class ReadSidecar:
    """A valid sidecar, its path, the identity its bytes had, and the digest of its fields.

    The path is where it lies. It may lie there under another form of the name that it records.
    """

    path: str
    sidecar: Sidecar
    identity: Identity
    digest: bytes

    @property
    def blob_path(self) -> str:
        """Where its blob should be: beside it."""
        return blob_beside(self.path)

    @property
    def recorded_path(self) -> str:
        """Where it says that it is, and its row too."""
        return sidecar_path(self.sidecar.storage_path, self.sidecar.storage_filename)

    @property
    def is_renamed(self) -> bool:
        """It lies under another form of its name."""
        return self.path != self.recorded_path

    @property
    def is_erased(self) -> bool:
        """It says that the file was erased, whatever another one with its id says."""
        return self.sidecar.state is FileState.ERASED

    @property
    def at_home(self) -> bool:
        """It lies in the folder that its id's time names, or its id names none."""
        return home_of(self.sidecar.file_id) in (None, self.sidecar.storage_path)


@dataclass(frozen=True, slots=True)
class InvalidAttr:
    """A sidecar that can't be used, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


Read = ReadSidecar | InvalidAttr


@dataclass(frozen=True, slots=True)
class Look:
    """What a direct look found of a row's file, and at which path; empty where it is absent."""

    found: Found
    path: str = ""


def taken(path: str, winner: str) -> InvalidAttr:
    """The loser of two sidecars with one id."""
    return InvalidAttr(
        path,
        f"its file_id is taken by {printable(winner)}, which counts: remove this copy, or that "
        "one if this is the right one",
    )


def printable(path: str) -> str:
    """`path` as a message may hold it: a name on disk need not be UTF-8."""
    return path.encode(errors="backslashreplace").decode()


async def read_files(store: Store, paths: Sequence[str]) -> list[Read]:
    """Read and validate sidecars; those that are gone by now are left out.

    Raises:
        Unavailable: the store is down or silent.
    """
    contents = await store.read_sidecars(paths)
    return await asyncio.to_thread(_sorted_out, paths, contents)


async def read_rows(store: Store, rows: Sequence[RowSummary]) -> dict[str, Read]:
    """What lies now at the path that each row names, by the row's file id.

    Where that is nothing of the file, its folder is looked through for another form of the name;
    what is not found is left out.

    Raises:
        Unavailable: the store is down or silent.
    """
    paths = list(dict.fromkeys(row.path for row in rows if can_hold_a_sidecar(row.path)))
    contents = await store.read_sidecars(paths)
    at_path = {one.path: one for one in await asyncio.to_thread(_sorted_out, paths, contents)}
    found = {row.file_id: at_path[row.path] for row in rows if row.path in at_path}
    lost = [row for row in rows if _look(found.get(row.file_id), row.file_id).found.disproves_row]
    return found | (await _other_forms(store, lost) if lost else {})


async def look_at(store: Store, rows: Sequence[RowSummary]) -> dict[str, Look]:
    """Whether each row's file has a sidecar, by its id; see `read_rows`.

    Raises:
        Unavailable: the store is down or silent.
    """
    read = await read_rows(store, rows)
    return {row.file_id: _look(read.get(row.file_id), row.file_id) for row in rows}


def _look(read: Read | None, file_id: str) -> Look:
    if read is None:
        return Look(Found.ABSENT)
    if isinstance(read, InvalidAttr):
        return Look(Found.INVALID, read.path)
    return Look(Found.OWN if read.sidecar.file_id == file_id else Found.OTHERS, read.path)


async def _other_forms(store: Store, lost: Sequence[RowSummary]) -> dict[str, Read]:
    """Sidecars of the rows' files under another form of their names; valid ones come first."""
    ids: dict[str, list[str]] = {}
    for row in lost:
        folder = row.path.rpartition("/")[0]
        if is_folder(folder):
            ids.setdefault(folder, []).append(row.file_id)
    owners: dict[str, str] = {}
    for folder, file_ids in ids.items():
        names = await store.sidecars_in(folder)
        for file_id in file_ids:
            for name in sorted(names.get(file_id, ())):
                owners[f"{folder}/{name}"] = file_id
    found: dict[str, Read] = {}
    for one in await read_files(store, list(owners)):
        if not isinstance(found.get(owners[one.path]), ReadSidecar):
            found[owners[one.path]] = one
    return found


def _sorted_out(
    paths: Sequence[str], contents: Sequence[tuple[bytes, Identity] | None]
) -> list[Read]:
    return [
        validated(path, *content)
        for path, content in zip(paths, contents, strict=True)
        if content is not None
    ]


def can_hold_a_sidecar(path: str) -> bool:
    """Whether a listing could show a sidecar there: a damaged row may name any place."""
    folder, _, name = path.rpartition("/")
    return is_folder(folder) and not name.startswith(".") and len(name.encode()) <= MAX_NAME_BYTES


def validated(path: str, content: bytes, identity: Identity) -> Read:
    """What the bytes read at `path` are; check, rebuild and lazy refresh all judge by this.

    The id decides. A sidecar whose name in its folder has another form than it records is
    the file's all the same, and still says what it records; its folder may be looked through.
    One that was moved out of the folder of its id's time, and one without an id in its name, is
    found by its path only: it is read as if it recorded the place where it lies.
    """
    if identity.size == UNREADABLE_SIZE:
        return InvalidAttr(path, NOT_A_FILE)
    try:
        sidecar, known_digest = decode_with_digest(content)
    except InvalidSidecar as error:
        return InvalidAttr(path, str(error))
    named = file_id_in_name(path)
    if named is not None and named != sidecar.file_id:
        return InvalidAttr(
            path,
            f"its file_id {sidecar.file_id} is not the one in its name: "
            "put the right sidecar there, or remove this one",
        )
    return _placed(ReadSidecar(path, sidecar, identity, known_digest), is_named=named is not None)


def _placed(read: ReadSidecar, *, is_named: bool) -> Read:
    """`read` as of the place where it lies, if only that leads to it.

    Args:
        is_named: its id is in its name.
    """
    sidecar, (folder, name) = read.sidecar, split_sidecar_path(read.path)
    if sidecar.storage_path == folder and (is_named or sidecar.storage_filename == name):
        return read
    if sidecar.storage_path not in (folder, home_of(sidecar.file_id)):
        return InvalidAttr(
            read.path,
            f"its storage_path {sidecar.storage_path} is not the folder it lies in: move it there "
            "with its blob, or correct storage_path",
        )
    if printable(read.path) != read.path:
        return InvalidAttr(read.path, "its name is not UTF-8: rename it and its blob")
    here = replace(sidecar, storage_path=folder, storage_filename=name)
    return replace(read, sidecar=here, digest=digest(here))
