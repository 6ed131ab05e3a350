"""Tables `audit_events` and `audit_head`: the chain is made longer, listed, and read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson
import structlog

from admin_server.audit.event import FIELDS, GENESIS, Event, Kept, Outcome, link
from mesh.errors import Unavailable
from mesh.postgres.database import Database

READ_BATCH = 500

_log = structlog.stdlib.get_logger(__name__)

_COLUMNS = f"sequence, {', '.join(FIELDS)}, hash"
# PostgreSQL has more years than Python: a row that was altered to one of them can be read, and
# does not have its hash.
_READ = _COLUMNS.replace(
    "occurred_at",
    "greatest(least(occurred_at, '9999-12-31 23:59:59.999999+00'), '0001-01-01 00:00:00+00')"
    " AS occurred_at",
)
# One lock for all who make the chain longer. It is the last one that a transaction takes, so
# nobody waits for another in a circle.
_LOCK = "SELECT sequence, hash FROM audit_head FOR UPDATE"
# Somebody emptied it: the chain goes on all the same, and a kept head tells what is missing.
_HEAD_AGAIN = """
    INSERT INTO audit_head (sequence, hash)
    SELECT coalesce(max(sequence), 0),
           coalesce((SELECT hash FROM audit_events ORDER BY sequence DESC LIMIT 1), $1)
    FROM audit_events ON CONFLICT DO NOTHING
"""
_KNOWN = """
    SELECT storage_element_id, source_id FROM audit_events
    JOIN unnest($1::text[], $2::text[]) AS told (element, source)
      ON storage_element_id = element AND source_id = source AND source_id <> ''
"""
_APPEND = f"""
    WITH head AS (UPDATE audit_head SET sequence = $13, hash = $14)
    INSERT INTO audit_events ({_COLUMNS})
    SELECT n, at, actor, action, resource, outcome, details::json, element, request, reason,
           source, hash
    FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[],
                $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[])
        AS e (n, at, actor, action, resource, outcome, details, element, request, reason, source,
              hash)
"""


async def append(connection: asyncpg.Connection[Any], events: Sequence[Event]) -> int:
    """Add events to the chain, in the transaction that `connection` is in; how many were new.

    Those whose source_id is on record are left out. Take all other locks of the transaction
    before.

    Raises:
        Unavailable: somebody put an event where the next one belongs; see `artstore audit verify`.
    """
    if not events:
        return 0
    head = await connection.fetchrow(_LOCK)
    if head is None:
        await connection.execute(_HEAD_AGAIN, GENESIS)
        head = await connection.fetchrow(_LOCK)
        assert head is not None
    sequence, last = int(head["sequence"]), bytes(head["hash"])
    rows: list[tuple[Any, ...]] = []
    for event in await _unknown(connection, events):
        fields = event.fields()
        sequence += 1
        last = link(last, sequence, fields)
        rows.append((sequence, *fields, last))
    if rows:
        try:
            await connection.execute(_APPEND, *map(list, zip(*rows, strict=True)), sequence, last)
        except asyncpg.UniqueViolationError as exc:
            broken = f"the audit is broken at {int(head['sequence']) + 1} or soon after it"
            _log.error(broken, reason=str(exc))
            raise Unavailable(f"{broken}: there is a row that admin did not write") from exc
    return len(rows)


async def _unknown(connection: asyncpg.Connection[Any], events: Sequence[Event]) -> list[Event]:
    """Those that are not on record yet, each once."""
    known: set[tuple[str, str]] = set()
    named = [event for event in events if event.source_id]
    if named:
        found = await connection.fetch(
            _KNOWN,
            [event.storage_element_id for event in named],
            [event.source_id for event in named],
        )
        known = {(row["storage_element_id"], row["source_id"]) for row in found}
    fresh: list[Event] = []
    for event in events:
        name = (event.storage_element_id, event.source_id)
        if event.source_id and name in known:
            continue
        known.add(name)
        fresh.append(event)
    return fresh


@dataclass(frozen=True, slots=True)
class Filter:
    """What events must match; empty or None means all.

    Attributes:
        after, before: occurred at or after the one, and before the other.
    """

    actor: str = ""
    action: str = ""
    resource: str = ""
    after: datetime | None = None
    before: datetime | None = None

    def where(self) -> tuple[str, list[object]]:
        """(conditions joined by AND, their arguments from $1 on)."""
        asked = (
            ("actor =", self.actor),
            ("action =", self.action),
            ("resource =", self.resource),
            ("occurred_at >=", self.after),
            ("occurred_at <", self.before),
        )
        given = [(condition, value) for condition, value in asked if value]
        parts = [f"{condition} ${n}" for n, (condition, _) in enumerate(given, start=1)]
        return " AND ".join(["true", *parts]), [value for _, value in given]


@dataclass(frozen=True, slots=True)
class Head:
    """Number and hash of the last event; 0 and `GENESIS` before the first."""

    sequence: int
    hash: bytes


class Chain:
    """Reads it; every call raises `Unavailable` while the database is down."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def head(self) -> Head:
        """What the head says, whatever the events say."""
        row = await self.database.fetchrow("SELECT sequence, hash FROM audit_head")
        return Head(0, GENESIS) if row is None else Head(row["sequence"], bytes(row["hash"]))

    async def hash_at(self, sequence: int) -> bytes | None:
        """The hash of an event as it is on record; None when there is none."""
        found = await self.database.fetchval(
            "SELECT hash FROM audit_events WHERE sequence = $1", sequence
        )
        return None if found is None else bytes(found)

    async def newest(
        self, matching: Filter, *, before: int | None, limit: int
    ) -> tuple[list[Kept], int]:
        """(at most `limit` events below `before`, newest first; how many match in all)."""
        where, arguments = matching.where()
        below = f"AND sequence < ${len(arguments) + 1}" if before is not None else ""
        rows = await self.database.fetch(
            f"SELECT {_READ} FROM audit_events WHERE {where} {below}"
            f" ORDER BY sequence DESC LIMIT {int(limit)}",
            *arguments,
            *([] if before is None else [before]),
        )
        total = await self.database.fetchval(
            f"SELECT count(*) FROM audit_events WHERE {where}", *arguments
        )
        return [kept(row) for row in rows], int(total)

    async def rows(
        self, first: int, last: int, matching: Filter | None = None
    ) -> AsyncIterator[list[asyncpg.Record]]:
        """Rows from `first` to `last`, oldest first, at most `READ_BATCH` at a time."""
        where, arguments = (matching or Filter()).where()
        n = len(arguments)
        query = (
            f"SELECT {_READ} FROM audit_events WHERE {where}"
            f" AND sequence >= ${n + 1} AND sequence <= ${n + 2}"
            f" ORDER BY sequence LIMIT {READ_BATCH}"
        )
        while first <= last:
            found = await self.database.fetch(query, *arguments, first, last)
            if found:
                yield found
            if len(found) < READ_BATCH:
                return
            first = found[-1]["sequence"] + 1


def kept(row: asyncpg.Record) -> Kept:
    """The event of a row, as far as that makes sense: somebody may have altered it."""
    values = {name: row[name] for name in FIELDS}
    outcome, details = row["outcome"], _details(row["details"])
    values["outcome"] = Outcome(outcome) if outcome in set(Outcome) else Outcome.UNSPECIFIED
    values["details"] = details
    return Kept(row["sequence"], Event(**values), bytes(row["hash"]))


def _details(text: str) -> dict[str, str]:
    try:
        found = orjson.loads(text)
        pairs = found.items() if isinstance(found, dict) else ()
        return {name: str(value) for name, value in pairs}
    except (ValueError, RecursionError):
        return {}
