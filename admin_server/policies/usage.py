"""How many bytes the files of a namespace take, as the registry knows them.

Homes and copies count, those that have expired and were not collected yet, too. What is in the
trash does not, nor what a move has left behind: so deleting makes room at once, and moving takes
none. The registry follows the elements within a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from admin_server.registry.registry import TABLE
from mesh.concurrency.single_flight import SingleFlight
from mesh.errors import Unavailable
from mesh.postgres.database import Database

# Of ten million files.
COUNT_SECONDS = 60.0
# Servers ask every other second, each of them.
FRESH_SECONDS = 1.0
# What is counted again takes at most a tenth of the time.
RESTS = 9.0
# Sidecars that were written by hand may claim any size.
MOST = 2**63 - 1


class Usage:
    """Counts. Many who ask at the same time wait for one count.

    Args:
        database: that of the registry.
        clock: seconds that only grow.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._flights = SingleFlight[frozenset[str], Mapping[str, int]]()
        self._counted: tuple[frozenset[str], Mapping[str, int]] = (frozenset(), {})
        self._fresh_until = float("-inf")

    async def of(self, namespace: str) -> int:
        """Of one, now.

        Raises:
            Unavailable: the database does not answer.
        """
        return (await self._count([namespace])).get(namespace, 0)

    async def lately(self, namespaces: Collection[str]) -> Mapping[str, int]:
        """Of these, by the name; as it was a second ago, or ten times as long ago as counting
        takes. While the registry does not answer, as it was counted last.
        """
        wanted = frozenset(namespaces)
        known, counted = self._counted
        if not wanted:
            return {}
        if wanted <= known and self._clock() < self._fresh_until:
            return counted
        try:
            return await self._flights.join(wanted, lambda: self._count_again(wanted))
        except Unavailable:
            return counted

    async def _count_again(self, namespaces: frozenset[str]) -> Mapping[str, int]:
        began = self._clock()
        counted = await self._count(list(namespaces))
        took = self._clock() - began
        self._counted = (namespaces, counted)
        self._fresh_until = self._clock() + max(FRESH_SECONDS, RESTS * took)
        return counted

    async def _count(self, namespaces: list[str]) -> Mapping[str, int]:
        rows = await self._database.fetch(
            f"SELECT namespace, least(sum(size_bytes), {MOST})::bigint AS used FROM {TABLE}"
            " WHERE state IN ('active', 'copy') AND namespace = ANY($1::text[]) GROUP BY 1",
            namespaces,
            timeout=COUNT_SECONDS,
        )
        return {row["namespace"]: row["used"] for row in rows}
