"""`CollectionCalls` and `TrashCalls` for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from artstore.v1 import lifecycle_pb2, types_pb2
from artstore_client.collections import CollectionCalls
from artstore_client.loop_thread import LoopThread
from artstore_client.trash import TrashCalls, TrashedFile


class SyncCollectionCalls:
    """`CollectionCalls`, each call waiting for its answer."""

    def __init__(self, calls: CollectionCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def run(self, **options: Any) -> lifecycle_pb2.Collection:
        """`CollectionCalls.run`."""
        return self._loop.run(self._calls.run(**options))

    def list(self, **options: Any) -> Iterator[lifecycle_pb2.Collection]:
        """`CollectionCalls.list`."""
        return self._loop.iterate(self._calls.list(**options))


class SyncTrashCalls:
    """`TrashCalls`, each call waiting for its answer."""

    def __init__(self, calls: TrashCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def list(self, element_id: str = "", **options: Any) -> Iterator[TrashedFile]:
        """`TrashCalls.list`."""
        return self._loop.iterate(self._calls.list(element_id, **options))

    def restore(self, file_id: str, *, retention_days: int | None = None) -> types_pb2.File:
        """`TrashCalls.restore`."""
        return self._loop.run(self._calls.restore(file_id, retention_days=retention_days))
