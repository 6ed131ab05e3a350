"""Every call that reads a store."""

from __future__ import annotations

from datetime import UTC, datetime

from storage_server.domain.file_id import new_file_id
from storage_server.store.port import Store
from tests.support.blobs import BLOB, read
from tests.support.places import FOLDER

SIDECAR = BLOB + ".attr.json"


async def every_read(store: Store) -> list[BaseException | None]:
    """What each reading call raises."""

    async def scan() -> None:
        async for _ in store.scan():
            pass

    calls = (
        lambda: store.read_sidecar(SIDECAR),
        lambda: store.read_sidecars([SIDECAR]),
        lambda: store.stat_sidecar(SIDECAR),
        lambda: store.stat_blob(BLOB),
        lambda: store.delete_blob(BLOB),
        lambda: store.find_sidecars(new_file_id_now(), FOLDER),
        lambda: read(store),
    )
    errors: list[BaseException | None] = []
    for call in calls:
        try:
            await call()
        except Exception as exc:
            errors.append(exc)
        else:
            errors.append(None)
    return errors


def new_file_id_now() -> str:
    return new_file_id(datetime.now(UTC))
