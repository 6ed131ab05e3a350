"""How far the index follows the elements, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mesh.contract import MAX_CHANGE_TOKENS
from mesh.elements import change_token
from mesh.errors import InvalidArgument, Unavailable
from mesh.follower import FollowerFleet, SyncStatus
from mesh.postgres.database import Database
from query_server.following.heads import ElementHeads
from query_server.following.totals import count_files
from query_server.following.waiting import Waits

# A search says whether the index is complete as of this long ago at most.
COMPLETE_AGE_SECONDS = 0.5
# Without a deadline of the caller.
SNAPSHOT_SECONDS = 3600.0
# The answer still has to reach the caller.
MARGIN_SECONDS = 0.3
# Of a search for the changes that it names, whatever its deadline.
WAIT_SECONDS = 30.0
# What was stored is indexed sooner; later the element is asked whether it made that change.
DOUBT_SECONDS = 0.25


class IndexSync:
    """The index as a follower of the elements."""

    def __init__(self, database: Database, fleet: FollowerFleet, heads: ElementHeads) -> None:
        self._database = database
        self._fleet = fleet
        self._heads = heads
        self._waits = Waits()

    async def wait_for(self, tokens: Sequence[str], *, account: str, size_bytes: int) -> None:
        """Wait until the index has these changes; the caller's deadline ends it.

        Nothing of the database is held meanwhile.

        Args:
            account: who waits.
            size_bytes: of what is held meanwhile.

        Raises:
            InvalidArgument: not a change token, an empty one too, or too many, or of a change that
                was not made.
            ResourceExhausted: too many wait already.
            Unavailable: the database is down or silent, or half a minute was not enough.
        """
        if len(tokens) > MAX_CHANGE_TOKENS:
            raise InvalidArgument(f"at most {MAX_CHANGE_TOKENS} tokens", field="min_change_tokens")
        wanted: dict[tuple[str, str], int] = {}
        for token in tokens:
            one = change_token.decode(token)
            place = (one.element_id, one.epoch)
            wanted[place] = max(one.sequence, wanted.get(place, 0))
        if not wanted:
            return
        with self._waits.one(account, size_bytes):
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    for (element_id, epoch), sequence in wanted.items():
                        await self._wait_for(element_id, epoch, sequence)
            except TimeoutError as exc:
                raise Unavailable("the index does not have these changes yet") from exc

    async def _wait_for(self, element_id: str, epoch: str, sequence: int) -> None:
        progress = self._fleet.progress
        try:
            async with asyncio.timeout(DOUBT_SECONDS):
                await progress.wait_for(element_id, epoch, sequence)
        except TimeoutError:
            await self._heads.require_made(element_id, epoch, sequence)
            await progress.wait_for(element_id, epoch, sequence)

    async def snapshot(self, element_id: str, seconds: float | None) -> dict[str, int]:
        """Read whole snapshots of one element or of (empty) all; the files read from each.

        Args:
            seconds: until the caller's deadline; None without one.

        Raises:
            NotFound: no such element is known.
            Unavailable: an element cannot be read, or not in time.
        """
        limit = SNAPSHOT_SECONDS if seconds is None else max(0.0, seconds - MARGIN_SECONDS)
        return await self._fleet.resync(element_id, seconds=limit)

    async def statuses(
        self, element_id: str = "", *, namespaces: Sequence[str] | None = None
    ) -> list[tuple[SyncStatus, int]]:
        """(status, files in the index) of one element or of all; none that has expired.

        Args:
            namespaces: only files of these are counted; None means all.

        Raises:
            NotFound: no such element is known.
            Unavailable: the database is down or silent.
        """
        self._fleet.require_known(element_id, await self._fleet.progress.statuses())
        statuses, counts = await asyncio.gather(
            self._fleet.table.statuses(), count_files(self._database, namespaces)
        )
        return [
            (status, counts.get(status.element_id, 0))
            for status in statuses
            if element_id in ("", status.element_id)
        ]

    async def complete(self) -> bool:
        """Every element that was ever heard of was read whole once."""
        return await self._fleet.complete(COMPLETE_AGE_SECONDS)
