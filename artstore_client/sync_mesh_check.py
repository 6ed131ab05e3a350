"""`MeshCheckCalls` for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from artstore.v1 import registry_pb2
from artstore_client.loop_thread import LoopThread
from artstore_client.mesh_check import MeshCheckCalls


class SyncMeshCheckCalls:
    """`MeshCheckCalls`, each call waiting for its answer."""

    def __init__(self, calls: MeshCheckCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def run(self, operation_id: str = "") -> registry_pb2.CheckMeshResponse:
        """`MeshCheckCalls.run`."""
        return self._loop.run(self._calls.run(operation_id))

    def findings(self, **options: Any) -> Iterator[registry_pb2.Finding]:
        """`MeshCheckCalls.findings`."""
        return self._loop.iterate(self._calls.findings(**options))

    def resolve(self, file_id: str, element_id: str) -> registry_pb2.ResolveHomeResponse:
        """`MeshCheckCalls.resolve`."""
        return self._loop.run(self._calls.resolve(file_id, element_id))
