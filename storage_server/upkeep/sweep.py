"""Sweeping: stages that belong to nothing (correctness 6)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import ArtStoreError
from storage_server.catalog.catalog import Catalog
from storage_server.domain.naming import file_id_in_name
from storage_server.element.state import Element
from storage_server.steps.arriving import key_of
from storage_server.steps.keeping import StepsKeeping
from storage_server.store.port import SIDECAR_SUFFIX

GRACE_SECONDS = 3600.0

_log = structlog.stdlib.get_logger(__name__)


class Sweeper:
    """Removes stages that no running upload, open upload, open pull or intent names.

    Args:
        steps: drops pulls that are over, before their stages are looked at.
        running: file ids of the streamed uploads that have a stage, or will.
    """

    def __init__(
        self,
        element: Element,
        catalog: Catalog,
        file_locks: KeyedLocks,
        steps: StepsKeeping,
        *,
        running: Callable[[], Collection[str]],
    ) -> None:
        self._element = element
        self._catalog = catalog
        self._file_locks = file_locks
        self._steps = steps
        self._running = running

    async def sweep(self, *, grace_seconds: float = GRACE_SECONDS) -> int:
        """Remove dead stages and answer how many.

        Args:
            grace_seconds: younger ones stay; 0 just after this process became the writer, when
                all stages but the named ones are of dead processes.
        """
        store = self._element.writing()
        await self._steps.tidy()
        stages = await store.list_stages()
        old = [(key, path) for key, path, age_seconds in stages if age_seconds >= grace_seconds]
        if not old:
            return 0
        names = await self._names()
        removed = 0
        for key, path in old:
            if names.has(key, path):
                continue
            try:
                async with self._file_locks.hold(file_id_in_name(path or key) or key):
                    if (await self._names()).has(key, path):
                        continue
                    await store.discard_stage(key, path)
                removed += 1
            except ArtStoreError as exc:
                _log.warning("stage not swept", stage=key, reason=exc.message)
        if removed:
            _log.info("dead stages swept", count=removed)
        return removed

    async def named(self, file_id: str, path: str) -> bool:
        """Whether somebody may still need the blob at `path`, whatever its sidecar."""
        return (await self._names()).has(file_id, path)

    async def _names(self) -> _Names:
        uploads = await self._catalog.uploads.list_open()
        pulls = await self._catalog.pulls.list_open()
        writes = await self._catalog.pending.list_pending()
        running = frozenset(self._running())
        return _Names(
            keys=running
            | {upload.upload_id for upload in uploads}
            | {upload.stage.key for upload in uploads}
            | {key_of(pull.file_id) for pull in pulls}
            | {pull.stage.key for pull in pulls}
            | {write.file_id for write in writes},
            paths={upload.path for upload in uploads}
            | {pull.path for pull in pulls}
            | {write.path.removesuffix(SIDECAR_SUFFIX) for write in writes},
            running=running,
        )


@dataclass(frozen=True, slots=True)
class _Names:
    """What stages are named by now."""

    keys: Collection[str]
    paths: Collection[str]
    running: Collection[str]

    def has(self, key: str, path: str) -> bool:
        if key in self.keys or (path and path in self.paths):
            return True
        return bool(path) and file_id_in_name(path) in self.running
