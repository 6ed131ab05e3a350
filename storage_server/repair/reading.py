"""Sidecars read from the store, sorted into valid ones and invalid ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage_server.catalog.summaries import RowSummary
from storage_server.naming import file_id_in_name, home_of, is_folder, split_sidecar_path
from storage_server.repair.decisions import Found
from storage_server.sidecar import InvalidSidecar, Sidecar, decode_with_digest
from storage_server.store.port import SIDECAR_SUFFIX, UNREADABLE_SIZE, Identity, Store

MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class ReadSidecar:
    """A valid sidecar, its path, the identity its bytes had, and the digest of its fields."""

    path: str
    sidecar: Sidecar
    identity: Identity
    digest: bytes

    @property
    def blob_path(self) -> str:
        """Where its blob is."""
        return self.path.removesuffix(SIDECAR_SUFFIX)

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
        # A name on disk need not be UTF-8; a message must be.
        path = self.path.encode(errors="backslashreplace").decode()
        return f"{path}: {self.reason}"


Read = ReadSidecar | InvalidAttr


async def read_files(store: Store, paths: Sequence[str]) -> list[Read]:
    """Read and validate sidecars; those that are gone by now are left out.

    Raises:
        Unavailable: the store is down or silent.
    """
    contents = await store.read_sidecars(paths)
    return await asyncio.to_thread(_sorted_out, paths, contents)


async def look_at(store: Store, rows: Sequence[RowSummary]) -> dict[str, Found]:
    """What lies now at the path that each row names, by the row's file id.

    Raises:
        Unavailable: the store is down or silent.
    """
    paths = list(dict.fromkeys(row.path for row in rows if can_hold_a_sidecar(row.path)))
    contents = await store.read_sidecars(paths)
    return await asyncio.to_thread(_found_at, rows, dict(zip(paths, contents, strict=True)))


def _found_at(
    rows: Sequence[RowSummary], contents: Mapping[str, tuple[bytes, Identity] | None]
) -> dict[str, Found]:
    found = {}
    for row in rows:
        content = contents.get(row.path)
        if content is None:
            found[row.file_id] = Found.ABSENT
            continue
        read = validated(row.path, *content)
        if isinstance(read, InvalidAttr):
            found[row.file_id] = Found.INVALID
        else:
            own = read.sidecar.file_id == row.file_id
            found[row.file_id] = Found.OWN if own else Found.OTHERS
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
    """What the bytes read at `path` are; check, rebuild and lazy refresh all judge by this."""
    if identity.size == UNREADABLE_SIZE:
        return InvalidAttr(path, "not a regular file")
    try:
        sidecar, digest = decode_with_digest(content)
    except InvalidSidecar as error:
        return InvalidAttr(path, str(error))
    named = file_id_in_name(path)
    if named is not None and named != sidecar.file_id:
        return InvalidAttr(path, f"its file_id {sidecar.file_id} is not the one in its name")
    if (sidecar.storage_path, sidecar.storage_filename) != split_sidecar_path(path):
        return InvalidAttr(path, "its storage_path and storage_filename name another place")
    return ReadSidecar(path, sidecar, identity, digest)
