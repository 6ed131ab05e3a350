"""Each element keeps in its store which others there are, and tells that to admin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from artstore.v1 import storage_pb2, types_pb2
from mesh.postgres.database import Database
from tests.integration.feed.small_mesh import SmallMesh, small_mesh
from tests.support.waiting import until


def element_file(mesh: SmallMesh, element_id: str) -> Any:
    return orjson.loads((mesh.rigs[element_id].root / "element.json").read_bytes())


async def test_elements_know_each_other_from_admin_and_tell_it(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    elements = ("se-01", "se-02")
    async with small_mesh(
        tmp_path, database_url, redis_url, elements=elements, query=False, mode="rw"
    ) as mesh:
        await until(lambda: element_file(mesh, "se-01").get("peers") == ["se-02"], 15)
        await until(lambda: element_file(mesh, "se-02").get("peers") == ["se-01"], 15)
        # It stays with the rest of the file, and the rest with it.
        store_id = element_file(mesh, "se-01")["store_id"]
        mode = storage_pb2.SetModeRequest(mode=types_pb2.ELEMENT_MODE_RO, confirm=True)
        await mesh.elements["se-01"].call("SetMode", mode)
        assert element_file(mesh, "se-01") == {
            "element_id": "se-01",
            "store_id": store_id,
            "mode": "ro",
            "peers": ["se-02"],
        }
        await mesh.stop("se-01")
        await mesh.start_element("se-01")
        database = Database(mesh.admin_url)
        try:
            await until(
                lambda: database.fetchval(
                    "SELECT peers = '{se-02}' FROM storage_elements"
                    " WHERE storage_element_id = 'se-01'"
                ),
                15,
            )
        finally:
            await database.close()
        assert element_file(mesh, "se-01")["peers"] == ["se-02"]
