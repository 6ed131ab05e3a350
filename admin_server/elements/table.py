"""Table `storage_elements`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, fields
from datetime import datetime

import asyncpg

from admin_server.audit.own import record
from admin_server.elements.element import RegisteredElement, Report
from mesh.postgres.database import Database

_REPORT = [field.name for field in fields(Report)]
_COLUMNS = [*_REPORT, "reported_at", "registered_at"]
_SELECT = f"SELECT {', '.join(_COLUMNS)}, decided_priority FROM storage_elements"
_INSERT = (
    f"INSERT INTO storage_elements ({', '.join(_COLUMNS)})"
    f" VALUES ({', '.join(f'${n}' for n in range(1, len(_COLUMNS) + 1))})"
    " ON CONFLICT DO NOTHING"
)
# The newest report of the same store stays, whichever admin took it.
_UPDATE = (
    "UPDATE storage_elements SET "
    + ", ".join(f"{name} = ${n}" for n, name in enumerate(_REPORT[2:], start=3))
    + f", reported_at = ${len(_REPORT) + 1}"
    + f" WHERE storage_element_id = $1 AND store_id = $2 AND reported_at < ${len(_REPORT) + 1}"
)


class ElementTable:
    """Reads and writes elements; every call raises `Unavailable` while the database is down.

    Registrations and decisions are in the audit, by the same transaction; reports are not.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> list[RegisteredElement]:
        """All elements."""
        return [_element(row) for row in await self._database.fetch(_SELECT)]

    async def register(self, report: Report, now: datetime) -> RegisteredElement:
        """Add the element if its id is new; answers what is there under that id."""
        async with self._database.transaction() as connection:
            done = await connection.execute(_INSERT, *astuple(report), now, now)
            row = await connection.fetchrow(
                f"{_SELECT} WHERE storage_element_id = $1", report.storage_element_id
            )
            if done == "INSERT 0 1":
                await record(
                    connection,
                    "ReportStorageElement",
                    report.storage_element_id,
                    did="registered",
                    store_id=report.store_id,
                )
        return _element(row) if row is not None else RegisteredElement(report, now, now)

    async def write(self, elements: Iterable[RegisteredElement]) -> None:
        """Note the reports of elements that are there already."""
        await self._database.executemany(
            _UPDATE, [(*astuple(element.report), element.reported_at) for element in elements]
        )

    async def decide_priority(self, storage_element_id: str, priority: int) -> bool:
        """Note admin's decision; False if there is no such element."""
        async with self._database.transaction() as connection:
            done = await connection.execute(
                "UPDATE storage_elements SET decided_priority = $2 WHERE storage_element_id = $1",
                storage_element_id,
                priority,
            )
            decided = bool(done == "UPDATE 1")
            if decided:
                await record(
                    connection, "UpdateStorageElement", storage_element_id, priority=priority
                )
        return decided


def _element(row: asyncpg.Record) -> RegisteredElement:
    return RegisteredElement(
        report=Report(**{name: row[name] for name in _REPORT}),
        reported_at=row["reported_at"],
        registered_at=row["registered_at"],
        decided_priority=row["decided_priority"],
    )
