"""Table `service_accounts`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from admin_server.accounts.account import Account, Credentials
from admin_server.audit.own import record
from mesh.errors import FailedPrecondition
from mesh.identity.caller import Role
from mesh.postgres.database import Database

_ACCOUNT = (
    "client_id, role, namespaces, read_namespaces, description, suspended, created_at,"
    " created_by, rotated_at"
)
_CREDENTIALS = f"{_ACCOUNT}, secret_hash, previous_secret_hash, previous_valid_until"


class AccountTable:
    """Reads and writes accounts; every call raises `Unavailable` while the database is down.

    What is written is in the audit, by the same transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, client_id: str) -> Credentials | None:
        """The account of that name with its hashes; None if there is none."""
        row = await self._database.fetchrow(
            f"SELECT {_CREDENTIALS} FROM service_accounts WHERE client_id = $1", client_id
        )
        if row is None:
            return None
        return Credentials(
            account=_account(row),
            secret_hash=row["secret_hash"],
            previous_secret_hash=row["previous_secret_hash"],
            previous_valid_until=row["previous_valid_until"],
        )

    async def page(self, after: str, limit: int) -> tuple[list[Account], int]:
        """(at most `limit` accounts by client_id that follow `after`, how many there are)."""
        rows = await self._database.fetch(
            f"SELECT {_ACCOUNT} FROM service_accounts WHERE client_id > $1"
            " ORDER BY client_id LIMIT $2",
            after,
            limit,
        )
        total = await self._database.fetchval("SELECT count(*) FROM service_accounts")
        return [_account(row) for row in rows], int(total)

    async def insert(self, account: Account, secret_hash: str) -> bool:
        """Add an account; False, and nothing changed, if the name is taken."""
        async with self._database.transaction() as connection:
            done = await connection.execute(
                f"INSERT INTO service_accounts ({_ACCOUNT}, secret_hash)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
                account.client_id,
                account.role.value,
                list(account.namespaces),
                list(account.read_namespaces),
                account.description,
                account.suspended,
                account.created_at,
                account.created_by,
                account.rotated_at,
                secret_hash,
            )
            made = bool(done == "INSERT 0 1")
            if made:
                await record(
                    connection,
                    "CreateServiceAccount",
                    account.client_id,
                    role=account.role,
                    namespaces=account.namespaces,
                    read_namespaces=account.read_namespaces or None,
                )
        return made

    async def change_secret(
        self,
        client_id: str,
        secret_hash: str,
        *,
        rotated_at: datetime,
        previous_valid_until: datetime | None,
    ) -> Account | None:
        """Take another secret; the old one stays good until then, or ends now if that is None."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                f"""
                UPDATE service_accounts
                SET secret_hash = $2,
                    rotated_at = $3,
                    previous_valid_until = $4,
                    previous_secret_hash =
                        CASE WHEN $4::timestamptz IS NOT NULL THEN secret_hash END
                WHERE client_id = $1
                RETURNING {_ACCOUNT}
                """,
                client_id,
                secret_hash,
                rotated_at,
                previous_valid_until,
            )
            if row is not None:
                await record(
                    connection,
                    "RotateServiceAccount",
                    client_id,
                    previous_valid_until=previous_valid_until,
                )
        return None if row is None else _account(row)

    async def set_suspended(self, client_id: str, suspended: bool) -> Account | None:
        """Suspend or resume; None if there is no such account.

        The last ADMIN that is not suspended stays so: the answer then says suspended = False.
        """
        async with self._database.transaction() as connection:
            if await _active_admins(connection) == [client_id] and suspended:
                row = await connection.fetchrow(
                    f"SELECT {_ACCOUNT} FROM service_accounts WHERE client_id = $1", client_id
                )
            else:
                row = await connection.fetchrow(
                    "UPDATE service_accounts SET suspended = $2 WHERE client_id = $1"
                    f" RETURNING {_ACCOUNT}",
                    client_id,
                    suspended,
                )
                if row is not None:
                    action = "SuspendServiceAccount" if suspended else "ResumeServiceAccount"
                    await record(connection, action, client_id)
        return None if row is None else _account(row)

    async def update(
        self,
        client_id: str,
        *,
        role: Role | None,
        namespaces: Sequence[str] | None,
        read_namespaces: Sequence[str] | None,
        description: str | None,
    ) -> Account | None:
        """Give some fields new values, None leaves one; None if there is no such account.

        Raises:
            FailedPrecondition: it is the last ADMIN that is not suspended.
        """
        async with self._database.transaction() as connection:
            if role is not None and role is not Role.ADMIN:
                await _require_other_admin(connection, client_id)
            row = await connection.fetchrow(
                f"""
                UPDATE service_accounts
                SET role = coalesce($2, role),
                    namespaces = coalesce($3, namespaces),
                    read_namespaces = coalesce($4, read_namespaces),
                    description = coalesce($5, description)
                WHERE client_id = $1
                RETURNING {_ACCOUNT}
                """,
                client_id,
                None if role is None else role.value,
                None if namespaces is None else list(namespaces),
                None if read_namespaces is None else list(read_namespaces),
                description,
            )
            if row is not None:
                await record(
                    connection,
                    "UpdateServiceAccount",
                    client_id,
                    role=role,
                    namespaces=namespaces,
                    read_namespaces=read_namespaces,
                    description=None if description is None else "changed",
                )
        return None if row is None else _account(row)

    async def delete(self, client_id: str) -> bool:
        """Remove an account; False if there was none.

        Raises:
            FailedPrecondition: it is the last ADMIN that is not suspended.
        """
        async with self._database.transaction() as connection:
            await _require_other_admin(connection, client_id)
            done = await connection.execute(
                "DELETE FROM service_accounts WHERE client_id = $1", client_id
            )
            deleted = bool(done == "DELETE 1")
            if deleted:
                await record(connection, "DeleteServiceAccount", client_id)
        return deleted


async def _active_admins(connection: Any) -> list[str]:
    """ADMINs that are not suspended; locked, so that two who remove each other take turns."""
    rows = await connection.fetch(
        "SELECT client_id FROM service_accounts WHERE role = $1 AND NOT suspended"
        " ORDER BY client_id FOR UPDATE",
        Role.ADMIN.value,
    )
    return [row["client_id"] for row in rows]


async def _require_other_admin(connection: Any, client_id: str) -> None:
    if await _active_admins(connection) == [client_id]:
        raise FailedPrecondition(
            f"{client_id} is the last ADMIN that is not suspended; make another one first",
            reason="LAST_ADMIN",
        )


def _account(row: asyncpg.Record) -> Account:
    return Account(
        client_id=row["client_id"],
        role=Role(row["role"]),
        namespaces=tuple(row["namespaces"]),
        read_namespaces=tuple(row["read_namespaces"]),
        description=row["description"],
        suspended=row["suspended"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        rotated_at=row["rotated_at"],
    )
