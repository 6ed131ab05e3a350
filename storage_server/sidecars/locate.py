"""Finding a file's sidecar and blob: by the recorded path, else by the id in their names.

Of two sidecars with one id the one that says that the file was erased always wins: it lies at a
path of its own, which is looked at as well wherever the id tells it.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from mesh.errors import DataLoss, Unavailable
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.naming import (
    blob_path,
    erased_sidecar_path,
    file_id_in_name,
    home_of,
)
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.sidecars.reading import InvalidAttr, ReadSidecar, can_hold_a_sidecar, validated
from storage_server.store.port import Store

_log = structlog.stdlib.get_logger(__name__)


async def locate(store: Store, file_id: str, known_path: str = "") -> ReadSidecar | None:
    """The file's sidecar, read now; None when it is nowhere it could be.

    None proves nothing as long as the store has not been proved to be the element's.

    Args:
        known_path: where the row says it is; ids of other kinds are found only in that folder.
            A row that was damaged in the database may name any place.

    Raises:
        DataLoss: there is one, and it cannot be used; a check reports it as invalid.
        Unavailable: the store is down, or too much is being looked for.
    """
    folders: dict[str, None] = {}
    if can_hold_a_sidecar(known_path):
        read = await _read_or_erased(store, file_id, known_path)
        if isinstance(read, InvalidAttr):
            raise _damaged(file_id)
        if read is not None and read.sidecar.file_id == file_id:
            return read
        folders[known_path.rpartition("/")[0]] = None
    home = home_of(file_id)
    if home is not None:
        folders[home] = None
    for folder in folders:
        found = await _in_folder(store, file_id, folder, known_path)
        if found is not None:
            return found
    return None


class Rows(Protocol):
    """See `storage_server.catalog.reads.Reads`."""

    async def is_complete(self) -> bool: ...


async def require_row_tells(rows: Rows, file_id: str) -> None:
    """Ask before a file that has neither row nor sidecar is said not to be here: one whose id names
    no folder is found by its row alone.

    Raises:
        Unavailable: files may lack their rows, or the database does not answer.
    """
    if home_of(file_id) is None and not await rows.is_complete():
        raise Unavailable(
            f"whether file {file_id} is here is not known until the rows are complete again: a"
            " repair of the cache finds it"
        )


async def locate_blob(store: Store, sidecar: Sidecar) -> str | None:
    """Path of the file's bytes: as recorded, or under another form of that name; None if gone."""
    path = blob_path(sidecar.storage_path, sidecar.storage_filename)
    if await store.stat_blob(path) is not None:
        return path
    return await other_form_of_blob(store, sidecar)


async def holds_bytes(store: Store, sidecar: Sidecar) -> bool:
    """Whether bytes count as the file's: a tombstone's are looked for in the trash."""
    if sidecar.state is FileState.DELETED:
        return await locate_blob(store, sidecar) is not None
    return sidecar.state in HAVE_BYTES


async def size_of_blob(store: Store, sidecar: Sidecar) -> int | None:
    """How many of the file's bytes are there; None if it has no blob."""
    size = await store.stat_blob(blob_path(sidecar.storage_path, sidecar.storage_filename))
    if size is not None:
        return size
    other = await other_form_of_blob(store, sidecar)
    return None if other is None else await store.stat_blob(other)


async def other_form_of_blob(store: Store, sidecar: Sidecar) -> str | None:
    """Path of the file's bytes if they lie under another form of the recorded name.

    Of several forms it is the first that has the recorded size.
    """
    other = None
    for path in sorted(await store.find_blobs(sidecar.file_id, sidecar.storage_path)):
        size = await store.stat_blob(path)
        if size == sidecar.size_bytes:
            return path
        if size is not None:
            other = other or path
    return other


async def remove_bytes(store: Store, sidecar: Sidecar) -> int:
    """Remove the file's bytes, and answer how many they were. The caller holds its lock."""
    path = await locate_blob(store, sidecar)
    if path is None:
        return 0
    size = await store.stat_blob(path)
    await store.delete_blob(path)
    return size or 0


def is_found_by_id(file_id: str, path: str) -> bool:
    """Whether `locate` finds a sidecar of `file_id` at `path` without being told where it is."""
    folder, _, name = path.rpartition("/")
    return folder == home_of(file_id) and file_id_in_name(name) == file_id


async def _read_or_erased(
    store: Store, file_id: str, known_path: str
) -> ReadSidecar | InvalidAttr | None:
    """What lies at a path, unless the file was erased."""
    read, erased_path = await _read(store, known_path), erased_sidecar_path(file_id)
    if read is None or erased_path in (None, known_path):
        return read
    if await store.stat_sidecar(erased_path) is None:
        return read
    erased = await _read(store, erased_path)
    return erased if isinstance(erased, ReadSidecar) and erased.is_erased else read


async def _in_folder(
    store: Store, file_id: str, folder: str, known_path: str
) -> ReadSidecar | None:
    """The sidecar with `file_id` in its name; one that is erased comes first, then one that is
    called as it says.
    """
    named, renamed, invalid = None, None, False
    for path in sorted(await store.find_sidecars(file_id, folder)):
        if path == known_path:
            continue
        read = await _read(store, path)
        if isinstance(read, InvalidAttr):
            invalid = True
        elif read is not None:
            if read.is_erased:
                return read
            if read.is_renamed:
                renamed = renamed or read
            else:
                named = named or read
    found = named or renamed
    if found is None and invalid:
        raise _damaged(file_id)
    return found


async def _read(store: Store, path: str) -> ReadSidecar | InvalidAttr | None:
    read = await store.read_sidecar(path)
    return None if read is None else validated(path, *read)


def _damaged(file_id: str) -> DataLoss:
    # What is wrong with it may hold what its user wrote; a check tells an ADMIN.
    _log.warning("invalid sidecar", file_id=file_id)
    return DataLoss(
        f"the sidecar of {file_id} is damaged and its bytes may be whole: an administrator finds "
        "it and the reason by a check, and mends it or puts it back from a backup",
        reason="INVALID_SIDECAR",
    )
