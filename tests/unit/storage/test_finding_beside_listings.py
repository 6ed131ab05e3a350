"""Looking for one file does not wait until others have listed the store."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from storage_server.store.local import LocalStore
from tests.support.sidecars import a_sidecar


async def test_a_file_is_looked_for_while_listings_have_all_their_threads(tmp_path: Path) -> None:
    sidecar, go_on = a_sidecar(), threading.Event()
    folder = tmp_path / sidecar.storage_path
    folder.mkdir(parents=True)
    name = f"a_{sidecar.file_id}.attr.json"
    (folder / name).write_bytes(b"{}")
    store = await LocalStore.open(tmp_path)
    listings = [store._listers.start(go_on.wait, 20) for _ in range(9)]
    try:
        async with asyncio.timeout(10):
            found = await store.find_sidecars(sidecar.file_id, sidecar.storage_path)
        assert found == [f"{sidecar.storage_path}/{name}"]
        assert not any(one.done() for one in listings)
    finally:
        go_on.set()
        await asyncio.wait(listings)
        await store.close()
