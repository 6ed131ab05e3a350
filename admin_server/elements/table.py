"""Table `storage_elements`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, fields
from datetime import datetime

import asyncpg

from admin_server.accounts.bindings import Bindings
from admin_server.audit.own import record
from admin_server.elements.element import NEVER, Awaiting, RegisteredElement, Report
from mesh.postgres.database import Database

_REPORT = [field.name for field in fields(Report)]
_LISTS = ("followers_behind", "peers")
_COLUMNS = [*_REPORT, "reported_at", "registered_at"]
_AWAITING = ["awaiting_store_id", "awaiting_endpoint", "awaiting_at"]
_SELECT = (
    f"SELECT {', '.join(f'element.{name}' for name in _COLUMNS + _AWAITING)},"
    " element.decided_priority, element.admissions, account.client_id,"
    # Elements of before there were such accounts go on without one.
    " coalesce(account.role = 'SERVICE' AND NOT account.suspended, NOT element.account_deleted)"
    " AS is_admitted"
    " FROM storage_elements AS element"
    " LEFT JOIN service_accounts AS account USING (storage_element_id)"
)
_INSERT = (
    f"INSERT INTO storage_elements ({', '.join(_COLUMNS)}, decided_priority)"
    f" VALUES ({', '.join(f'${n}' for n in range(1, len(_COLUMNS) + 2))})"
    " ON CONFLICT DO NOTHING"
)
# The newest report stays, whichever admin took it, of what is admitted now.
_UPDATE = (
    "UPDATE storage_elements SET "
    + ", ".join(f"{name} = ${n}" for n, name in enumerate(_REPORT[2:], start=3))
    + f", reported_at = ${len(_REPORT) + 1}"
    + f" WHERE storage_element_id = $1 AND store_id = $2 AND reported_at < ${len(_REPORT) + 1}"
    + f" AND admissions = ${len(_REPORT) + 2}"
)
_UPDATE_AWAITING = """
    UPDATE storage_elements
    SET awaiting_store_id = $2, awaiting_endpoint = $3, awaiting_at = $4
    WHERE storage_element_id = $1 AND admissions = $5
        AND coalesce(awaiting_at, '-infinity') < $4
"""
_ADMIT = (
    "UPDATE storage_elements SET "
    + ", ".join(f"{name} = ${n}" for n, name in enumerate(_REPORT[1:] + _AWAITING, start=2))
    + f", reported_at = ${len(_REPORT) + 4}, admissions = admissions + 1"
    + f" WHERE storage_element_id = $1 AND admissions = ${len(_REPORT) + 5}"
)


class ElementTable:
    """Reads and writes elements; every call raises `Unavailable` while the database is down.

    Registrations and decisions are in the audit, by the same transaction; reports are not.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bindings = Bindings(database)

    async def read(self) -> list[RegisteredElement]:
        """All elements."""
        return [_element(row) for row in await self._database.fetch(_SELECT)]

    async def forgotten(self) -> frozenset[str]:
        """Ids of those whose rows were deleted, and who have not come back."""
        rows = await self._database.fetch("SELECT storage_element_id FROM forgotten_elements")
        return frozenset(row["storage_element_id"] for row in rows)

    async def find(self, storage_element_id: str) -> RegisteredElement | None:
        """One element."""
        row = await self._database.fetchrow(
            f"{_SELECT} WHERE storage_element_id = $1", storage_element_id
        )
        return None if row is None else _element(row)

    async def client_of(self, storage_element_id: str) -> str:
        """The account that reports for an element, be it known or not; empty if none does."""
        return await self._bindings.account_of(storage_element_id)

    async def add(
        self, report: Report, *, reported_at: datetime, now: datetime, priority: int | None = None
    ) -> None:
        """Add the element if its id is new.

        Args:
            priority: admin's decision.
        """
        made = "CreateStorageElement" if reported_at == NEVER else "ReportStorageElement"
        async with self._database.transaction() as connection:
            done = await connection.execute(_INSERT, *astuple(report), reported_at, now, priority)
            if done == "INSERT 0 1":
                await record(
                    connection,
                    made,
                    report.storage_element_id,
                    store_id=report.store_id or None,
                    priority=priority,
                )

    async def write(self, elements: Iterable[RegisteredElement]) -> None:
        """Note the reports of elements that are there already, and what of them waits."""
        written = list(elements)
        reports = [(*astuple(one.report), one.reported_at, one.admissions) for one in written]
        awaiting = [
            (one.storage_element_id, *astuple(one.awaiting), one.admissions)
            for one in written
            if one.awaiting.at > NEVER
        ]
        for statement, rows in ((_UPDATE, reports), (_UPDATE_AWAITING, awaiting)):
            if rows:
                await self._database.executemany(statement, rows)

    async def admit(self, element: RegisteredElement) -> bool:
        """Note what store and address an element has; False if another admin did so meanwhile."""
        async with self._database.transaction() as connection:
            done = await connection.execute(
                _ADMIT,
                *astuple(element.report),
                *astuple(element.awaiting),
                element.reported_at,
                element.admissions - 1,
            )
            admitted = bool(done == "UPDATE 1")
            if admitted:
                await record(
                    connection,
                    "AdmitStorageElement",
                    element.storage_element_id,
                    store_id=element.report.store_id,
                    endpoint=element.report.endpoint,
                )
        return admitted

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
        report=Report(
            **{name: row[name] for name in _REPORT if name not in _LISTS},
            followers_behind=tuple(row["followers_behind"]),
            peers=tuple(row["peers"]),
        ),
        reported_at=row["reported_at"],
        registered_at=row["registered_at"],
        decided_priority=row["decided_priority"],
        client_id=row["client_id"] or "",
        is_admitted=row["is_admitted"],
        awaiting=Awaiting(
            row["awaiting_store_id"], row["awaiting_endpoint"], row["awaiting_at"] or NEVER
        ),
        admissions=row["admissions"],
    )
