"""What happens to pulls without their callers: by the clock, and with the element."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from mesh.errors import ArtStoreError
from storage_server.catalog.pulls import PullRow
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.sidecar import FileState
from storage_server.steps.arriving import Arriving, key_of, locate_pulled
from storage_server.steps.pulling import Pulling
from storage_server.steps.taking import Taking

_OVER = frozenset({*HAVE_BYTES, FileState.ERASED})

_log = structlog.stdlib.get_logger(__name__)


class StepsKeeping:
    """See the module.

    Args:
        idle_for: a pull that nobody asks for so long is dropped.
        lapse_after: so is one of which no bytes are on record, sooner, for it holds room.
    """

    def __init__(
        self,
        taking: Taking,
        arriving: Arriving,
        pulling: Pulling,
        *,
        idle_for: timedelta,
        lapse_after: timedelta,
    ) -> None:
        self._taking = taking
        self._arriving = arriving
        self._pulling = pulling
        self._idle_for = idle_for
        self._lapse_after = lapse_after

    async def take_over(self) -> None:
        """This process has just become the writer: take over the room of pulls on record.

        Raises:
            Unavailable: the database does not answer.
        """
        for row in await self._arriving.catalog.pulls.list_open():
            self._arriving.space.restore(
                key_of(row.file_id),
                row.size_bytes,
                account="",
                sent_bytes=row.stage.committed_size_bytes,
            )

    async def let_go(self) -> None:
        """This process is not the writer any more, or stops; what came stays on record."""
        await self._pulling.stop()

    async def tidy(self) -> None:
        """Drop pulls whose file is here or erased, or that nobody has asked for too long.

        Raises:
            Unavailable: the database does not answer, or this process is not the writer.
        """
        for row in await self._arriving.catalog.pulls.list_open():
            try:
                await self._drop_if_over(row)
            except ArtStoreError as exc:
                _log.info("pull not dropped", file_id=row.file_id, reason=exc.message)

    async def _drop_if_over(self, row: PullRow) -> None:
        kept_for = self._idle_for if row.stage.committed_size_bytes else self._lapse_after
        # By a clock that is wrong anything may look old enough to go.
        idle = not self._taking.clock.doubt() and (row.touched_at < datetime.now(UTC) - kept_for)
        async with self._taking.writing.hold(row.file_id):
            if self._pulling.is_under_way(row.file_id):
                return
            store = self._taking.element.writing()
            found = await locate_pulled(store, row)
            is_over = found is not None and found.sidecar.state in _OVER
            if idle or is_over:
                await self._arriving.drop(store, row)
                _log.info("pull dropped", file_id=row.file_id, is_over=is_over)
