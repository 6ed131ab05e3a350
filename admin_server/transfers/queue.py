"""Who works on which transfer: claims with a lease, and what the worker writes down.

Each claim has an owner of its own, so nothing is written by a worker that lost its lease: another
admin may have the transfer by then. An admin that was killed loses its leases by time.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from admin_server.transfers.table import COLUMNS
from admin_server.transfers.transfer import State, Transfer
from mesh.errors import Aborted
from mesh.postgres.database import Database

LEASE_SECONDS = 15.0
# Claims look at how many others run: one at a time.
_CLAIM_LOCK = 0x6172_7473_7472_616E

# One of each account comes to the front, and of these the one of whom least is under way: what one
# account queues up delays no other. Which elements are busy is counted once, from the few that are
# leased; each account's first is found by index, past those whose elements are busy.
_IS_OPEN = "(ended_at IS NULL OR NOT tidied)"
_CLAIM = f"""
    WITH RECURSIVE leased AS MATERIALIZED (
        SELECT source, target, requested_by FROM transfers
        WHERE leased_until IS NOT NULL AND leased_until > now() AND {_IS_OPEN}
    ), busy AS MATERIALIZED (
        SELECT element_id FROM (
            SELECT source AS element_id FROM leased UNION ALL SELECT target FROM leased
        ) AS taking_part GROUP BY element_id HAVING count(*) >= $3
    ), account AS (
        (SELECT requested_by FROM transfers WHERE {_IS_OPEN} ORDER BY requested_by LIMIT 1)
        UNION ALL
        SELECT (
            SELECT transfers.requested_by FROM transfers
            WHERE {_IS_OPEN} AND transfers.requested_by > account.requested_by
            ORDER BY transfers.requested_by LIMIT 1
        ) FROM account WHERE account.requested_by IS NOT NULL
    ), due AS (
        SELECT first.*, account.requested_by
        FROM account CROSS JOIN LATERAL (
            SELECT transfer_id, state = 'switching' AS switches, next_attempt_at, created_at
            FROM transfers
            WHERE {_IS_OPEN} AND transfers.requested_by = account.requested_by
                AND coalesce(leased_until, '-infinity') <= now()
                AND coalesce(next_attempt_at, '-infinity') <= now()
                AND (ended_at IS NOT NULL OR (source NOT IN (SELECT element_id FROM busy)
                    AND target NOT IN (SELECT element_id FROM busy)))
            ORDER BY state = 'switching' DESC, next_attempt_at NULLS FIRST, created_at
            LIMIT 1
        ) AS first
    )
    UPDATE transfers SET owner = $1, leased_until = now() + make_interval(secs => $2),
        attempts = attempts + CASE WHEN ended_at IS NULL THEN 1 ELSE 0 END, next_attempt_at = NULL
    WHERE transfer_id = (
        SELECT transfer_id FROM due
        ORDER BY switches DESC,
            (SELECT count(*) FROM leased WHERE leased.requested_by = due.requested_by),
            next_attempt_at NULLS FIRST, created_at
        LIMIT 1
    )
    AND {_IS_OPEN} AND coalesce(leased_until, '-infinity') <= now()
    RETURNING {COLUMNS}
"""
# Nearly always nothing is: one statement then, and no lock.
_IS_ANY_DUE = f"""
    SELECT EXISTS (
        SELECT FROM transfers WHERE {_IS_OPEN} AND coalesce(leased_until, '-infinity') <= now()
            AND coalesce(next_attempt_at, '-infinity') <= now()
    )
"""


class LeaseLost(Aborted):
    """The transfer is somebody else's by now, or was cancelled: leave it."""


@dataclass(slots=True)
class Claim:
    """A transfer that this worker owns.

    Attributes:
        transfer: as it was claimed.
        owner: stands for this claim alone.
        until: monotonic time at which it is lost unless it was renewed.
    """

    transfer: Transfer
    owner: str
    until: float


class TransferQueue:
    """Claims transfers that are due.

    Args:
        per_element: transfers at most that one element takes part in at a time, of all admins.
        lease_seconds: how long a worker that is silent keeps one.
    """

    def __init__(
        self, database: Database, *, per_element: int, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._database = database
        self._per_element = per_element
        self.lease_seconds = lease_seconds

    async def claim(self) -> Claim | None:
        """One that is due, oldest first, those that switch before all others; None if none is."""
        if not await self._database.fetchval(_IS_ANY_DUE):
            return None
        owner, asked_at = secrets.token_hex(8), time.monotonic()
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _CLAIM_LOCK)
            row = await connection.fetchrow(_CLAIM, owner, self.lease_seconds, self._per_element)
        if row is None:
            return None
        return Claim(Transfer.of_row(row), owner, asked_at + self.lease_seconds)

    async def renew(self, claim: Claim) -> None:
        """Keep it for another while.

        Raises:
            LeaseLost: it is lost, or the transfer was cancelled.
        """
        asked_at = time.monotonic()
        await self._write(
            claim, "leased_until = now() + make_interval(secs => $3)", self.lease_seconds
        )
        claim.until = asked_at + self.lease_seconds

    async def copied(self, claim: Claim, size_bytes: int) -> None:
        """So many bytes are at the target. Raises: as `renew`."""
        await self._write(claim, "copied_size_bytes = $3", size_bytes)

    async def copies(self, claim: Claim) -> None:
        """The target pulls bytes. Raises: as `renew`."""
        await self._write(
            claim,
            "updated_at = CASE WHEN state = 'queued' THEN now() ELSE updated_at END,"
            " state = CASE WHEN source_told THEN state ELSE 'copying' END",
        )

    async def switches(self, claim: Claim) -> None:
        """The source is told next: from here on it can't be cancelled. Raises: as `renew`."""
        await self._write(
            claim,
            "updated_at = CASE WHEN state = 'switching' THEN updated_at ELSE now() END,"
            " state = 'switching', source_told = true",
        )

    async def completed(self, claim: Claim, change_token: str) -> None:
        """The target is the home. Raises: as `renew`."""
        await self._write(
            claim,
            "state = 'completed', ended_at = now(), updated_at = now(), error = '',"
            " change_token = $3, copied_size_bytes = size_bytes, leased_until = NULL",
            change_token,
        )

    async def failed(self, claim: Claim, error: str, *, over: bool = False) -> None:
        """It is given up. Raises: as `renew`.

        Args:
            over: trying it again can't help, so nothing of it is to be left at its target.
        """
        await self._write(
            claim,
            "state = 'failed', ended_at = now(), updated_at = now(), next_attempt_at = NULL,"
            " error = $3, leased_until = NULL, tidied = NOT $4",
            error,
            over,
        )

    async def put_off(self, claim: Claim, error: str, seconds: float) -> None:
        """It is tried again after so many seconds. Raises: as `renew`."""
        await self._write(
            claim,
            "error = $3, next_attempt_at = now() + make_interval(secs => $4), leased_until = NULL",
            error,
            seconds,
        )

    async def retarget(self, claim: Claim, target: str, error: str, seconds: float) -> None:
        """It goes to another element, after so many seconds. Raises: as `renew`."""
        await self._write(
            claim,
            "target = CASE WHEN source_told OR target_named THEN target ELSE $3 END, error = $4,"
            " next_attempt_at = now() + make_interval(secs => $5), leased_until = NULL",
            target,
            error,
            seconds,
        )

    async def wait(self, claim: Claim, why: str, seconds: float) -> None:
        """It is looked at again after so many seconds; it was no attempt. Raises: as `renew`."""
        await self._write(
            claim,
            "error = $3, next_attempt_at = now() + make_interval(secs => $4),"
            " attempts = greatest(attempts - 1, 0), leased_until = NULL",
            why,
            seconds,
        )

    async def give_back(self, claim: Claim) -> None:
        """Let another worker have it at once: this one stops. It was no attempt."""
        await self._database.execute(
            "UPDATE transfers SET leased_until = NULL,"
            " attempts = greatest(attempts - 1, 0), next_attempt_at = now()"
            " WHERE transfer_id = $1 AND owner = $2 AND ended_at IS NULL",
            claim.transfer.transfer_id,
            claim.owner,
        )

    async def tidied(self, claim: Claim) -> None:
        """Nothing of one that was given up is left at its target."""
        await self._database.execute(
            "UPDATE transfers SET tidied = true, leased_until = NULL"
            " WHERE transfer_id = $1 AND owner = $2",
            claim.transfer.transfer_id,
            claim.owner,
        )

    async def tidy_later(self, claim: Claim, seconds: float) -> None:
        """Its target is silent: look again after so many seconds."""
        await self._database.execute(
            "UPDATE transfers SET leased_until = NULL,"
            " next_attempt_at = now() + make_interval(secs => $3)"
            " WHERE transfer_id = $1 AND owner = $2",
            claim.transfer.transfer_id,
            claim.owner,
            seconds,
        )

    async def open_by_state(self) -> Sequence[tuple[State, int, float]]:
        """(state, how many are in it, age of the oldest in seconds), of those under way."""
        rows = await self._database.fetch(
            "SELECT state, count(*) AS count,"
            " extract(epoch FROM now() - min(created_at))::float8 AS age"
            " FROM transfers WHERE ended_at IS NULL GROUP BY state"
        )
        return [(State(row["state"]), row["count"], row["age"]) for row in rows]

    async def _write(self, claim: Claim, changes: str, *arguments: object) -> None:
        done = await self._database.execute(
            f"UPDATE transfers SET {changes} WHERE transfer_id = $1 AND owner = $2"
            " AND ended_at IS NULL AND leased_until > now()",
            claim.transfer.transfer_id,
            claim.owner,
            *arguments,
        )
        if done != "UPDATE 1":
            raise LeaseLost("the transfer was cancelled, or is another admin's by now")
