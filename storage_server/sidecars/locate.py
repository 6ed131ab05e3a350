"""Finding a file's sidecar and blob: by the recorded path, else by the id in their names."""

from __future__ import annotations

import structlog

from mesh.errors import DataLoss
from storage_server.domain.naming import blob_path, file_id_in_name, home_of
from storage_server.domain.sidecar import Sidecar
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
        read = await _read(store, known_path)
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


async def locate_blob(store: Store, sidecar: Sidecar) -> str | None:
    """Path of the file's bytes: as recorded, or under another form of that name; None if gone."""
    path = blob_path(sidecar.storage_path, sidecar.storage_filename)
    if await store.stat_blob(path) is not None:
        return path
    return await other_form_of_blob(store, sidecar)


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


def is_found_by_id(file_id: str, path: str) -> bool:
    """Whether `locate` finds a sidecar of `file_id` at `path` without being told where it is."""
    folder, _, name = path.rpartition("/")
    return folder == home_of(file_id) and file_id_in_name(name) == file_id


async def _in_folder(
    store: Store, file_id: str, folder: str, known_path: str
) -> ReadSidecar | None:
    """The sidecar with `file_id` in its name; one that is called as it says comes first."""
    renamed, invalid = None, False
    for path in sorted(await store.find_sidecars(file_id, folder)):
        if path == known_path:
            continue
        read = await _read(store, path)
        if isinstance(read, InvalidAttr):
            invalid = True
        elif read is not None:
            if not read.is_renamed:
                return read
            renamed = renamed or read
    if renamed is None and invalid:
        raise _damaged(file_id)
    return renamed


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
