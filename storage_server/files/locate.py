"""Finding a file's sidecar: by its row's path, else by the time in its id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from mesh.errors import DataLoss
from storage_server.file_id import plausible, time_of
from storage_server.naming import folder_of
from storage_server.sidecar import InvalidSidecar, Sidecar, decode
from storage_server.store.port import Identity, Store

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Located:
    """A sidecar as it was just read."""

    path: str
    sidecar: Sidecar
    identity: Identity


async def locate(store: Store, file_id: str, known_path: str = "") -> Located | None:
    """The file's sidecar, read now; None when it is nowhere it could be.

    None proves nothing as long as the store has not been proved to be the element's.

    Args:
        known_path: where the row says it is; ids of other kinds are found only there.

    Raises:
        DataLoss: there is one, and it cannot be read as a sidecar.
        Unavailable: the store is down, or too much is being looked for.
    """
    if known_path:
        found = await _read(store, file_id, known_path)
        if found is not None:
            return found
    if not plausible(file_id, datetime.now(UTC)):
        return None
    for path in sorted(await store.find_sidecars(file_id, folder_of(time_of(file_id)))):
        if path != known_path:
            found = await _read(store, file_id, path)
            if found is not None:
                return found
    return None


async def _read(store: Store, file_id: str, path: str) -> Located | None:
    read = await store.read_sidecar(path)
    if read is None:
        return None
    content, identity = read
    try:
        sidecar = decode(content)
    except InvalidSidecar as exc:
        _log.warning("invalid sidecar", path=path, reason=str(exc))
        raise DataLoss(
            f"the sidecar of {file_id} is damaged; its bytes may be whole", reason="INVALID_SIDECAR"
        ) from exc
    return Located(path, sidecar, identity) if sidecar.file_id == file_id else None
