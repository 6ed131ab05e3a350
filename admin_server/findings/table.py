"""Table `findings`: what was found and still waits for somebody."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from admin_server.findings.judging import Found, erased_and_held
from mesh.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Finding:
    """A row.

    Attributes:
        found_at: when it was first seen.
    """

    finding_id: str
    kind: str
    file_id: str
    element_ids: Sequence[str]
    detail: str
    found_at: datetime


class FindingTable:
    """Reads and writes them; every call raises `Unavailable` while the database is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, file_id: str, found: Sequence[Found], *, run: str) -> None:
        """Have exactly these of a file on record; what was there before keeps its id and time.

        Args:
            run: of which check, see `forget_before`.
        """
        async with self._database.transaction() as connection:
            await connection.execute(
                "DELETE FROM findings WHERE file_id = $1 AND NOT kind = ANY ($2::text[])",
                file_id,
                [one.kind.value for one in found],
            )
            for one in found:
                await connection.execute(
                    "INSERT INTO findings (finding_id, kind, file_id, element_ids, detail, run)"
                    " VALUES ($1, $2, $3, $4, $5, $6)"
                    " ON CONFLICT (file_id, kind) DO UPDATE SET element_ids = excluded.element_ids,"
                    " detail = excluded.detail, run = excluded.run",
                    str(uuid.uuid4()),
                    one.kind.value,
                    file_id,
                    list(one.element_ids),
                    one.detail,
                    run,
                )

    async def put_erased(
        self, file_id: str, erased_on: Collection[str], held_on: Collection[str]
    ) -> None:
        """A file was erased: that it is held somewhere is all that waits of it."""
        found = (erased_and_held(erased_on, held_on),) if held_on else ()
        await self.put(file_id, found, run="")

    async def forget_others(self, run: str, *, before: datetime) -> None:
        """Remove what a whole check did not find again.

        Args:
            before: of what was put later nothing is said.
        """
        await self._database.execute(
            "DELETE FROM findings WHERE run <> $1 AND found_at < $2", run, before
        )

    async def list(
        self,
        *,
        kinds: Sequence[str],
        element_id: str,
        after: tuple[datetime, str] | None,
        limit: int,
    ) -> tuple[Sequence[Finding], int]:
        """(findings, oldest first; how many there are in all).

        Args:
            kinds, element_id: only these; empty means all.
            after: found_at and finding_id of the last one told.
        """
        where = (
            "(cardinality($1::text[]) = 0 OR kind = ANY ($1))"
            " AND ($2 = '' OR $2 = ANY (element_ids))"
        )
        moment, finding_id = after or (datetime.fromisoformat("0001-01-01T00:00:00+00:00"), "")
        rows = await self._database.fetch(
            "SELECT finding_id, kind, file_id, element_ids, detail, found_at FROM findings"
            f" WHERE {where} AND (found_at, finding_id) > ($3, $4)"
            " ORDER BY found_at, finding_id LIMIT $5",
            list(kinds),
            element_id,
            moment,
            finding_id,
            limit,
        )
        total: int = await self._database.fetchval(
            f"SELECT count(*) FROM findings WHERE {where}", list(kinds), element_id
        )
        return [Finding(*row) for row in rows], total
