"""What is taken away of a file: its bytes, its life, and at last its record.

Nothing goes while this element's clock is in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog

from storage_server.catalog.catalog import Catalog
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.life import expired_to_trash, gone, no_home_any_more
from storage_server.domain.revision import require_not_held, wrong_state
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.sidecars.locate import remove_bytes
from storage_server.sidecars.reading import ReadSidecar
from storage_server.steps.moving import keep_aside
from storage_server.steps.taking import Decided, Taking
from storage_server.store.port import Store
from storage_server.writing.purging import Purging
from storage_server.writing.view import FileView

_PURGED = frozenset({FileState.GONE, FileState.DELETED})

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a step has left, and the bytes that it freed; `view` is None if that is nothing."""

    view: FileView | None
    freed_bytes: int = 0


class Collecting:
    """Each removal is a step, see `Taking`.

    Args:
        purging: removes the last record of a file.
    """

    def __init__(self, taking: Taking, catalog: Catalog, purging: Purging) -> None:
        self._taking = taking
        self._catalog = catalog
        self._purging = purging

    async def to_gone(self, step: Decided, moved_to: str, *, home_sha256: str = "") -> Collected:
        """Take the bytes of what was moved away, dropped or is too many; a stub stays.

        The stub is written first: a crash leaves bytes that nobody reads, and the replay removes
        them.

        Args:
            home_sha256: of the home's bytes as they were read just now; a held copy goes only if
                they are its own.

        Raises: as `Taking.take`; FailedPrecondition: it is the home, or reason LEGAL_HOLD.
            Unavailable: reason CLOCK.
        """
        self._taking.clock.now()
        freed = 0

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            if sidecar.state is FileState.COPY and sidecar.sha256 != home_sha256:
                # Whether the home's bytes are whole nobody has looked at.
                require_not_held(sidecar)
            return gone(sidecar, moved_to, now)

        async def before(store: Store, found: ReadSidecar, _: Sidecar) -> None:
            if found.sidecar.state is FileState.DELETED:
                await keep_aside(store, found)

        async def after(store: Store, stub: Sidecar) -> None:
            nonlocal freed
            freed = await remove_bytes(store, stub)

        view = await self._taking.take(step, change, before=before, after=after)
        return Collected(view, freed)

    async def to_deleted(self, step: Decided) -> Collected:
        """Put a home that has expired by this element's clock into the trash.

        Raises: as `Taking.take`; FailedPrecondition: it is no home, has not expired, or reason
            LEGAL_HOLD. Unavailable: reason CLOCK.
        """
        self._taking.clock.now()
        return Collected(await self._taking.take(step, expired_to_trash, ChangeKind.DELETED))

    async def to_copy(self, step: Decided) -> Collected:
        """Make a copy, as it stands, of a home that is none any more; its text is kept aside too.

        Raises: as `Taking.take`; FailedPrecondition: it is no home.
            Unavailable: reason CLOCK.
        """
        self._taking.clock.now()

        async def before(store: Store, found: ReadSidecar, _: Sidecar) -> None:
            await keep_aside(store, found)

        return Collected(await self._taking.take(step, no_home_any_more, before=before))

    async def purge(self, step: Decided) -> Collected:
        """Take the last record of a file, the sidecar of a stub or a tombstone, and tell the feed.

        Raises: as `Taking.checked`; Aborted: reason REVISION_CONFLICT. FailedPrecondition: it is
            something else, or reason LEGAL_HOLD.
            Unavailable: reason CLOCK; storage or database: it may have been purged.
        """
        self._taking.clock.now()
        return await self._taking.unbroken.run(self._purge(self._taking.checked(step)))

    # --- inside ------------------------------------------------------------------------

    async def _purge(self, step: Decided) -> Collected:
        async with self._taking.writing.hold(step.file_id) as held:
            store = self._taking.element.writing()
            found = await self._taking.look(store, held, step.file_id)
            if found is None:
                return Collected(None)
            sidecar = found.sidecar
            if sidecar.state not in _PURGED:
                raise wrong_state(sidecar, "purged")
            require_not_held(sidecar)
            step.require_digest(found)
            self._taking.writing.require_fresh(step.freshness)
            return Collected(None, await self._purging.purge(store, found, by=step.by))
