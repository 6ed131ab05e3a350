"""Ingest with real storage elements: one full, one stopped, one frozen; the client sees nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from tests.acceptance.outside import Outside
from tests.mesh_process import MeshProcess

CONTENT = os.urandom(3 * 2**20)


def test_uploads_move_to_the_next_element_unseen(own_mesh: Callable[..., MeshProcess]) -> None:
    mesh = own_mesh(ARTSTORE_RESTART="0", ARTSTORE_SE_01_CAPACITY_BYTES=str(8 * 2**20))
    with Outside(mesh.file) as outside:

        def put(request_id: str = "") -> str:
            file = outside.upload(CONTENT, "a.bin", request_id=request_id)
            _, content = outside.download(file.storage_element_id, file.file_id)
            assert hashlib.sha256(content).digest() == hashlib.sha256(CONTENT).digest()
            return file.storage_element_id

        # Two files of 3 MiB fit into 8 MiB, a third does not.
        assert [put() for _ in range(3)] == ["se-01", "se-01", "se-02"]

        first = outside.upload(b"small", "b.bin", request_id="r-1")
        assert first.storage_element_id == "se-01"
        again = outside.upload(b"small", "b.bin", request_id="r-1")
        assert again.file_id == first.file_id

        mesh.freeze("se-01")
        try:
            assert outside.upload(b"small", "c.bin").storage_element_id == "se-02"
        finally:
            mesh.thaw("se-01")
        mesh.kill_one("se-01")
        assert outside.upload(b"small", "d.bin").storage_element_id == "se-02"
