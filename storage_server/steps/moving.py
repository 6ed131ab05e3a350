"""A file's home changes its element: the source is marked, the target becomes the home; and copies
follow their home.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from storage_server.domain.life import HOMES, activated, marked_moved, same_text, synced
from storage_server.domain.sidecar import FileState, Sidecar, encode
from storage_server.sidecars.reading import ReadSidecar
from storage_server.steps.taking import Decided, Taking, require_bytes
from storage_server.store.port import Store
from storage_server.writing.view import FileView

_log = structlog.stdlib.get_logger(__name__)


def name_aside(found: ReadSidecar) -> str:
    """What a sidecar is called in `.quarantine`: the same whenever it is kept."""
    return f"{found.sidecar.file_id}_{found.digest.hex()}.json"


async def keep_aside(store: Store, found: ReadSidecar) -> None:
    """Keep a sidecar in `.quarantine`: what its text says is about to be gone.

    Raises:
        Unavailable: the store does not answer; nothing of the step may be done.
    """
    await store.set_aside(name_aside(found), encode(found.sidecar))
    _log.warning(
        "what a sidecar says is set aside", file_id=found.sidecar.file_id, name=name_aside(found)
    )


@dataclass(frozen=True, slots=True)
class Moving:
    """See the module."""

    taking: Taking

    async def mark_moved(self, step: Decided, moved_to: str) -> FileView:
        """Make an active file the source of a move.

        Raises: as `Taking.take`; FailedPrecondition: it is not active.
        """

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            return marked_moved(sidecar, moved_to, now)

        return await self.taking.take(step, change)

    async def activate(
        self,
        step: Decided,
        *,
        home_since: int,
        revision: int | None,
        state: FileState,
        finalized_at: datetime | None,
    ) -> FileView:
        """Make a copy, an incoming or a moved file the home.

        Raises: as `Taking.take`; FailedPrecondition: it is none of these, or later.
            DataLoss: its bytes are missing, or not as many as it says.
        """

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            return activated(
                sidecar,
                home_since=home_since,
                revision=revision,
                state=state,
                finalized_at=finalized_at,
                finalized_to=self.taking.element.element_id if finalized_at is not None else "",
                now=now,
            )

        async def before(store: Store, found: ReadSidecar, _: Sidecar) -> None:
            await require_bytes(store, found.sidecar)

        return await self.taking.take(step, change, before=before)

    async def sync(self, step: Decided, home: Sidecar) -> FileView:
        """Give a copy its home's text; an earlier home becomes a copy of the later one, and what
        its own text said is kept in `.quarantine`.

        Args:
            home: without what only tools wrote into its sidecar, which is not told.

        Raises: as `Taking.take`; FailedPrecondition: `home` is older than what is here.
            DataLoss: it is of other bytes.
        """

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            return synced(sidecar, replace(home, unknown=sidecar.unknown), now)

        async def before(store: Store, found: ReadSidecar, changed: Sidecar) -> None:
            if found.sidecar.state in HOMES and not same_text(found.sidecar, changed):
                await keep_aside(store, found)

        return await self.taking.take(step, change, before=before)
