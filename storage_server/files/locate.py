"""Finding a file's sidecar: by its row's path, else by the time in its id."""

from __future__ import annotations

import structlog

from mesh.errors import DataLoss
from storage_server.naming import file_id_in_name, home_of
from storage_server.repair.reading import (
    InvalidAttr,
    ReadSidecar,
    can_hold_a_sidecar,
    validated,
)
from storage_server.store.port import Store

_log = structlog.stdlib.get_logger(__name__)


async def locate(store: Store, file_id: str, known_path: str = "") -> ReadSidecar | None:
    """The file's sidecar, read now; None when it is nowhere it could be.

    None proves nothing as long as the store has not been proved to be the element's.

    Args:
        known_path: where the row says it is; ids of other kinds are found only there. A row
            that was damaged in the database may name any place.

    Raises:
        DataLoss: there is one, and it cannot be used; a check reports it as invalid.
        Unavailable: the store is down, or too much is being looked for.
    """
    if can_hold_a_sidecar(known_path):
        read = await _read(store, known_path)
        if isinstance(read, InvalidAttr):
            raise _damaged(file_id, read)
        if read is not None and read.sidecar.file_id == file_id:
            return read
    home = home_of(file_id)
    if home is None:
        return None
    invalid = None
    for path in sorted(await store.find_sidecars(file_id, home)):
        if path == known_path:
            continue
        read = await _read(store, path)
        if isinstance(read, InvalidAttr):
            invalid = invalid or read
        elif read is not None:
            return read
    if invalid is not None:
        raise _damaged(file_id, invalid)
    return None


def is_found_by_id(file_id: str, path: str) -> bool:
    """Whether `locate` finds a sidecar of `file_id` at `path` without being told where it is."""
    folder, _, name = path.rpartition("/")
    return folder == home_of(file_id) and file_id_in_name(name) == file_id


async def _read(store: Store, path: str) -> ReadSidecar | InvalidAttr | None:
    read = await store.read_sidecar(path)
    return None if read is None else validated(path, *read)


def _damaged(file_id: str, found: InvalidAttr) -> DataLoss:
    _log.warning("invalid sidecar", file_id=file_id, reason=str(found))
    return DataLoss(
        f"the sidecar of {file_id} is damaged; its bytes may be whole", reason="INVALID_SIDECAR"
    )
