"""Giving a file's copies the text of its home, now; silent ones get it when they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from admin_server.life.looking import Looked
from admin_server.life.seen import Copy, CopyState
from admin_server.life.settling import Settling
from admin_server.life.steps import Step, SyncCopy
from admin_server.registry.registry import TABLE
from mesh.errors import ArtStoreError
from mesh.postgres.database import Database

_COPIES = (CopyState.COPY, CopyState.INCOMING)

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Copies:
    """Syncs the copies of one file; `sweep` does it for those that were silent."""

    database: Database
    settling: Settling

    async def sync(self, file_id: str) -> Sequence[str]:
        """Sync those that answer; ids of the elements whose copies have not got it.

        Raises:
            Unavailable: the database is down.
        """
        try:
            looked = (await self.settling.settle(file_id, wanted=_syncs)).looked
        except ArtStoreError as exc:
            _log.info("copies not synced", file_id=file_id, reason=exc.message)
            looked = await self.settling.look(file_id)
        behind = {one.element_id for one in looked.seen.copies if _is_behind(one, looked)}
        if looked.seen.silent:
            rows = await self.database.fetch(
                f"SELECT storage_element_id FROM {TABLE} WHERE file_id = $1"
                " AND state IN ('copy', 'incoming') AND storage_element_id = ANY($2)",
                file_id,
                sorted(looked.seen.silent),
            )
            behind |= {row["storage_element_id"] for row in rows}
        return sorted(behind)


def _syncs(step: Step) -> bool:
    return isinstance(step, SyncCopy)


def _is_behind(one: Copy, looked: Looked) -> bool:
    home = looked.home
    return one.state in _COPIES and home is not None and not one.says_as(home)
