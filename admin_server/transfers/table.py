"""Table `transfers`: what is wanted, as callers see it. Who works on it: `queue.py`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from admin_server.audit.own import record
from admin_server.transfers.transfer import Kind, State, Transfer, Wanted
from mesh.errors import Aborted, FailedPrecondition, NotFound, ResourceExhausted, Unavailable
from mesh.postgres.database import Database

COLUMNS = ", ".join(Transfer.__dataclass_fields__)
# Names in the audit, as those of the RPCs that ask for one.
_ACTIONS = {Kind.FINALIZE: "FinalizeFile", Kind.MOVE: "MoveFile"}
_TRIES = 3
PER_ACCOUNT = 10_000
# When an account that has too many may ask again.
ROOM_SECONDS = 30.0
# Of counting millions.
COUNT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Which transfers a list shows; empty means all."""

    states: Sequence[State] = ()
    file_id: str = ""
    element_id: str = ""


class TransferTable:
    """Reads and changes transfers; every call raises `Unavailable` while the database is down.

    What was asked for by somebody is in the audit, by the same transaction.

    Args:
        per_account: transfers at most that one account has under way.
    """

    def __init__(self, database: Database, *, per_account: int = PER_ACCOUNT) -> None:
        self._database = database
        self._per_account = per_account

    async def get(self, transfer_id: str) -> Transfer:
        """One transfer.

        Raises:
            NotFound: there is none.
        """
        row = None
        if "\0" not in transfer_id:
            row = await self._database.fetchrow(
                f"SELECT {COLUMNS} FROM transfers WHERE transfer_id = $1", transfer_id
            )
        if row is None:
            raise no_such(transfer_id)
        return Transfer.of_row(row)

    async def newest(self, file_id: str, kind: Kind | None = None) -> Transfer | None:
        """The newest transfer of a file, of that kind if one is given."""
        row = await self._database.fetchrow(
            f"SELECT {COLUMNS} FROM transfers WHERE file_id = $1 AND ($2 = '' OR kind = $2)"
            " ORDER BY created_at DESC LIMIT 1",
            file_id,
            "" if kind is None else kind.value,
        )
        return None if row is None else Transfer.of_row(row)

    async def open_of(self, file_id: str) -> Transfer | None:
        """The transfer of a file that is under way."""
        row = await self._database.fetchrow(
            f"SELECT {COLUMNS} FROM transfers WHERE file_id = $1 AND ended_at IS NULL", file_id
        )
        return None if row is None else Transfer.of_row(row)

    async def require_room(self, account: str) -> None:
        """
        Raises:
            ResourceExhausted: reason TOO_MANY_TRANSFERS; so many of that account are under way.
        """
        found = await self._database.fetchval(
            "SELECT count(*) FROM (SELECT FROM transfers"
            " WHERE requested_by = $1 AND ended_at IS NULL LIMIT $2) AS under_way",
            account,
            self._per_account,
        )
        if found >= self._per_account:
            raise ResourceExhausted(
                f"account {account} has {self._per_account} transfers under way, which is its"
                " limit: try again when some have ended",
                reason="TOO_MANY_TRANSFERS",
                metadata={"transfers": str(self._per_account)},
                retry_after_seconds=ROOM_SECONDS,
            )

    async def add(
        self,
        wanted: Wanted,
        *,
        done: bool = False,
        change_token: str = "",
        looked_at: float | None = None,
    ) -> Transfer:
        """Put a transfer on record; the one that is under way already, if there is one.

        Args:
            done: there is nothing to do, and it is COMPLETED at once.
            change_token: of the change that made it so.
            looked_at: monotonic time at which the look began that it was decided on.

        Raises:
            Aborted: reason REVISION_CONFLICT; one of the file has ended since it was looked at.
        """
        for _ in range(_TRIES):
            made = await self._insert(wanted, done, change_token, looked_at)
            found = made or await self.open_of(wanted.file_id)
            if found is not None:
                return found
        raise Unavailable("transfers of this file come and go; try again")

    async def _insert(
        self, wanted: Wanted, done: bool, change_token: str, looked_at: float | None
    ) -> Transfer | None:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "INSERT INTO transfers (transfer_id, kind, file_id, namespace, source, target,"
                " size_bytes, requested_by, request_id, state, target_named, change_token,"
                " next_attempt_at, ended_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
                " CASE WHEN $13 THEN NULL ELSE now() END, CASE WHEN $13 THEN now() END)"
                f" ON CONFLICT (file_id) WHERE ended_at IS NULL DO NOTHING RETURNING {COLUMNS}",
                str(uuid.uuid4()),
                wanted.kind.value,
                wanted.file_id,
                wanted.namespace,
                wanted.source,
                wanted.target,
                wanted.size_bytes,
                wanted.requested_by,
                wanted.request_id,
                (State.COMPLETED if done else State.QUEUED).value,
                wanted.target_named,
                change_token if done else "",
                done,
            )
            if row is None:
                return None
            made = Transfer.of_row(row)
            if looked_at is not None:
                await _require_none_ended_since(connection, made, looked_at)
            await _note(connection, _ACTIONS.get(wanted.kind, wanted.kind.value), made)
        return made

    async def cancel(self, transfer_id: str) -> Transfer:
        """Give one up that the source was not told of; one that is CANCELLED is answered as it is.

        Raises:
            NotFound: there is none.
            FailedPrecondition: the source may know of it, or it has ended otherwise.
        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "UPDATE transfers SET state = 'cancelled', ended_at = now(), updated_at = now(),"
                " next_attempt_at = NULL, tidied = false"
                " WHERE transfer_id = $1 AND ended_at IS NULL AND NOT source_told"
                f" RETURNING {COLUMNS}",
                _known_form(transfer_id),
            )
            if row is not None:
                cancelled = Transfer.of_row(row)
                await _note(connection, "CancelTransfer", cancelled)
                return cancelled
        found = await self.get(transfer_id)
        if found.state is State.CANCELLED:
            return found
        raise FailedPrecondition(
            f"transfer {transfer_id} is {found.state.value.upper()}: it can't be cancelled now",
            metadata={"state": found.state.value},
        )

    async def retry(self, transfer_id: str) -> Transfer:
        """Try one that FAILED again; one that is under way or COMPLETED is answered as it is.

        Raises:
            NotFound: there is none.
            FailedPrecondition: it was cancelled, or another one of its file is under way.
        """
        try:
            async with self._database.transaction() as connection:
                row = await connection.fetchrow(
                    "UPDATE transfers SET ended_at = NULL, updated_at = now(),"
                    " state = CASE WHEN source_told THEN 'switching' ELSE 'queued' END,"
                    " next_attempt_at = now(), attempts = 0, error = '', tidied = true"
                    f" WHERE transfer_id = $1 AND state = 'failed' RETURNING {COLUMNS}",
                    _known_form(transfer_id),
                )
                if row is not None:
                    again = Transfer.of_row(row)
                    await _note(connection, "RetryTransfer", again)
                    return again
        except asyncpg.UniqueViolationError as error:
            raise FailedPrecondition(
                "another transfer of this file is under way: look at it with ListTransfers"
            ) from error
        found = await self.get(transfer_id)
        if found.state is State.CANCELLED:
            raise FailedPrecondition(
                f"transfer {transfer_id} was cancelled: ask for a new one",
                metadata={"state": found.state.value},
            )
        return found

    async def list_transfers(
        self, asked: Asked, *, limit: int, after: tuple[datetime, str] | None
    ) -> list[Transfer]:
        """Transfers, newest first.

        Args:
            limit: at most so many.
            after: created_at and transfer_id; only older ones.
        """
        where, what = _chosen(asked)
        if after is not None:
            what += after
            where += f" AND (created_at, transfer_id) < (${len(what) - 1}, ${len(what)})"
        rows = await self._database.fetch(
            f"SELECT {COLUMNS} FROM transfers WHERE {where}"
            f" ORDER BY created_at DESC, transfer_id DESC LIMIT {limit}",
            *what,
            replan=True,
        )
        return [Transfer.of_row(row) for row in rows]

    async def count(self, asked: Asked) -> int:
        """How many transfers a list shows in all."""
        where, what = _chosen(asked)
        total: int = await self._database.fetchval(
            f"SELECT count(*) FROM transfers WHERE {where}", *what, timeout=COUNT_SECONDS
        )
        return total


def _chosen(asked: Asked) -> tuple[str, tuple[object, ...]]:
    """(condition in SQL, its arguments); only what is asked for, so that an index serves it."""
    states = [state.value for state in asked.states]
    conditions, what = ["true"], list[object]()
    for value, condition in (
        (states, "state = ANY({}::text[])"),
        (asked.file_id, "file_id = {}"),
        (asked.element_id, "(source = {0} OR target = {0})"),
    ):
        if value:
            what.append(value)
            conditions.append(condition.format(f"${len(what)}"))
    return " AND ".join(conditions), tuple(what)


def no_such(transfer_id: str) -> NotFound:
    """There is no such transfer, or none that the caller may see."""
    return NotFound(f"no transfer {transfer_id[:64]!r}")


def _known_form(transfer_id: str) -> str:
    if "\0" in transfer_id:
        raise no_such(transfer_id)
    return transfer_id


async def _require_none_ended_since(
    connection: asyncpg.Connection[Any], made: Transfer, looked_at: float
) -> None:
    """Asked once `made` is there: from then on no other of its file is begun.

    Raises:
        Aborted: as `TransferTable.add`.
    """
    if await connection.fetchval(
        "SELECT EXISTS (SELECT FROM transfers WHERE file_id = $1 AND transfer_id <> $2"
        " AND ended_at >= clock_timestamp() - make_interval(secs => $3))",
        made.file_id,
        made.transfer_id,
        time.monotonic() - looked_at,
    ):
        raise Aborted(
            "a transfer of the file has ended meanwhile; look again", reason="REVISION_CONFLICT"
        )


async def _note(connection: asyncpg.Connection[Any], action: str, transfer: Transfer) -> None:
    await record(
        connection,
        action,
        transfer.file_id,
        transfer_id=transfer.transfer_id,
        source=transfer.source,
        target=transfer.target,
    )
