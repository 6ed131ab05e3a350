"""Which files are worth a look, by the registry: a guess that the elements are asked about.

Rows are walked by state and time in slices, each by an index of its own
(`registry/indexes.py`), so that the cost follows what is due and not what there is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from admin_server.life.next_steps import Terms
from admin_server.registry.registry import TABLE
from mesh.postgres.database import Database

SLICE = 500
SLICE_SECONDS = 10.0

_BEGINNING = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
_DUE = "coalesce(deleted_at, updated_at)"
_WALKS = (
    # (the time it goes by, what is due, how long it is kept)
    (
        "expires_at",
        "state = 'active' AND expires_at IS NOT NULL",
        "expired_keep",
    ),
    ("updated_at", "state = 'moved'", "moved_keep"),
    ("updated_at", "state = 'incoming'", "incoming_keep"),
    (_DUE, "state = 'deleted'", "tombstone_keep"),
)
# Whatever their age: beside a tombstone copies wait for its bytes to go, beside an active home a
# copy may be one too many, and a second home, or a copy without one, waits for nothing.
_BESIDE = (
    f"SELECT DISTINCT t.file_id, t.size_bytes FROM {TABLE} t"
    " WHERE t.state IN ('copy', 'moved', 'incoming') AND t.file_id > $1"
    f" AND (t.state = 'copy' OR EXISTS (SELECT FROM {TABLE} h"
    " WHERE h.file_id = t.file_id AND h.state = 'deleted'))"
    " ORDER BY t.file_id LIMIT $2"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may have something to be taken away."""

    file_id: str
    size_bytes: int


class Candidates:
    """Walks the registry; every call raises `Unavailable` while the database is down.

    Args:
        database: that of the registry.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def slices(self, terms: Terms, now: datetime) -> AsyncIterator[Sequence[Candidate]]:
        """What is due at `now`, no file twice."""
        met: set[str] = set()
        for time, state, keep in _WALKS:
            kept: timedelta = getattr(terms, keep)
            async for rows in self._by_time(time, state, now - kept):
                yield _new(rows, met)
        async for rows in self._beside():
            yield _new(rows, met)

    async def _by_time(
        self, time: str, state: str, before: datetime
    ) -> AsyncIterator[Sequence[Any]]:
        after: tuple[datetime, str] = _BEGINNING, ""
        while True:
            rows = await self._database.fetch(
                f"SELECT file_id, size_bytes, {time} AS at FROM {TABLE} WHERE {state}"
                f" AND {time} < $1 AND ({time}, file_id) > ($2, $3)"
                f" ORDER BY {time}, file_id LIMIT $4",
                before,
                *after,
                SLICE,
                timeout=SLICE_SECONDS,
            )
            if not rows:
                return
            yield rows
            after = rows[-1]["at"], rows[-1]["file_id"]

    async def _beside(self) -> AsyncIterator[Sequence[Any]]:
        after = ""
        while rows := await self._database.fetch(_BESIDE, after, SLICE, timeout=SLICE_SECONDS):
            yield rows
            after = rows[-1]["file_id"]


def _new(rows: Sequence[Any], met: set[str]) -> Sequence[Candidate]:
    found = []
    for row in rows:
        if row["file_id"] not in met:
            met.add(row["file_id"])
            found.append(Candidate(row["file_id"], row["size_bytes"]))
    return found
