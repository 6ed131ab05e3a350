"""One change of the accounts, with what has to happen in the same transaction."""

from __future__ import annotations

from dataclasses import asdict, astuple
from datetime import datetime
from typing import Any

from admin_server.accounts import suspensions
from admin_server.accounts.account import Account
from admin_server.accounts.limits import GivenLimits
from admin_server.accounts.rows import ACCOUNT, account_of
from admin_server.accounts.suspensions import LONGEST_TOKEN_LIFE, UNDER_WAY
from admin_server.audit.own import record
from mesh.identity.caller import Role


class AccountChange:
    """The accounts while nobody else changes them; from `AccountTable.alone`.

    Args:
        connection: in a transaction that holds the table's lock.
        now: the moment of the change.
    """

    def __init__(self, connection: Any, now: datetime) -> None:
        self._connection = connection
        self.now = now

    async def find(self, client_id: str) -> Account | None:
        """The account of that name; None if there is none."""
        row = await self._connection.fetchrow(
            f"SELECT {ACCOUNT} FROM service_accounts WHERE client_id = $1", client_id
        )
        return None if row is None else account_of(row)

    async def admins(self) -> list[Account]:
        """All of role ADMIN."""
        rows = await self._connection.fetch(
            f"SELECT {ACCOUNT} FROM service_accounts WHERE role = $1", Role.ADMIN.value
        )
        return [account_of(row) for row in rows]

    async def is_ended(self, client_id: str) -> bool:
        """Whether every token of that name is refused: the account is suspended or deleted."""
        return bool(
            await self._connection.fetchval(
                "SELECT EXISTS (SELECT FROM suspensions s WHERE client_id = $1"
                " AND (ends_at IS NULL OR NOT EXISTS"
                " (SELECT FROM service_accounts a WHERE a.client_id = s.client_id)))",
                client_id,
            )
        )

    async def insert(self, account: Account, secret_hash: str) -> Account:
        """Add an account whose name is free; tokens of an earlier one of that name stay ended."""
        await self._connection.execute(
            "INSERT INTO service_accounts (client_id, role, namespaces, read_namespaces,"
            " description, suspended, created_at, created_by, rotated_at, secret_hash,"
            " limit_open_uploads, limit_reserved_percent, limit_calls, tokens_after)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
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
            *astuple(account.limits),
            await suspensions.last_end(self._connection, account.client_id),
        )
        await record(
            self._connection,
            "CreateServiceAccount",
            account.client_id,
            role=account.role,
            namespaces=account.namespaces,
            read_namespaces=account.read_namespaces or None,
        )
        return await self._written(account.client_id)

    async def write(self, account: Account) -> Account:
        """Give the account of that name these role, namespaces, description and limits."""
        await self._connection.execute(
            "UPDATE service_accounts SET role = $2, namespaces = $3, read_namespaces = $4,"
            " description = $5, limit_open_uploads = $6, limit_reserved_percent = $7,"
            " limit_calls = $8 WHERE client_id = $1",
            account.client_id,
            account.role.value,
            list(account.namespaces),
            list(account.read_namespaces),
            account.description,
            *astuple(account.limits),
        )
        await record(
            self._connection,
            "UpdateServiceAccount",
            account.client_id,
            role=account.role,
            namespaces=account.namespaces,
            read_namespaces=account.read_namespaces or None,
            limits=_told(account.limits),
        )
        return await self._written(account.client_id)

    async def change_secret(
        self, client_id: str, secret_hash: str, *, old_ends_at: datetime | None
    ) -> Account:
        """Take another secret; the old one is good until then, or ends now if that is None."""
        await self._connection.execute(
            """
            UPDATE service_accounts
            SET secret_hash = $2,
                rotated_at = $3,
                previous_valid_until = $4,
                previous_secret_hash = CASE WHEN $4::timestamptz IS NOT NULL THEN secret_hash END
            WHERE client_id = $1
            """,
            client_id,
            secret_hash,
            self.now,
            old_ends_at,
        )
        await record(self._connection, "RotateServiceAccount", client_id, old_ends_at=old_ends_at)
        return await self._written(client_id)

    async def end_tokens(self, account: Account) -> None:
        """Refuse every token that the account was given so far, or is given at this moment."""
        end = self.now + UNDER_WAY
        await self._connection.execute(
            "UPDATE service_accounts SET tokens_after = $2 WHERE client_id = $1",
            account.client_id,
            end,
        )
        if not account.suspended:
            await suspensions.end_tokens(self._connection, account.client_id, end)

    async def suspend(self, client_id: str) -> Account:
        """No tokens for the account, and none that it has is good."""
        await self._set_suspended(client_id, suspended=True)
        await suspensions.suspend(self._connection, client_id, self.now)
        await record(self._connection, "SuspendServiceAccount", client_id)
        return await self._written(client_id)

    async def resume(self, account: Account) -> Account:
        """Tokens again; those of before are good again unless they were ended besides."""
        await self._set_suspended(account.client_id, suspended=False)
        ended = account.tokens_after
        if ended is not None and ended + LONGEST_TOKEN_LIFE > self.now:
            await suspensions.end_tokens(self._connection, account.client_id, ended)
        else:
            await suspensions.lift(self._connection, account.client_id)
        await record(self._connection, "ResumeServiceAccount", account.client_id)
        return await self._written(account.client_id)

    async def delete(self, client_id: str) -> None:
        """Remove the account, and refuse its tokens as long as one could live.

        Its storage element is admitted no more.
        """
        await self._connection.execute(
            "UPDATE storage_elements SET account_deleted = true WHERE storage_element_id ="
            " (SELECT storage_element_id FROM service_accounts WHERE client_id = $1)",
            client_id,
        )
        await self._connection.execute(
            "DELETE FROM service_accounts WHERE client_id = $1", client_id
        )
        await suspensions.end_tokens(self._connection, client_id, self.now + UNDER_WAY)
        await self._connection.execute(
            "INSERT INTO deleted_accounts (client_id, deleted_at) VALUES ($1, $2)"
            " ON CONFLICT (client_id) DO UPDATE SET deleted_at = EXCLUDED.deleted_at",
            client_id,
            self.now,
        )
        await record(self._connection, "DeleteServiceAccount", client_id)

    async def was_deleted(self, client_id: str) -> bool:
        """Whether an ADMIN deleted an account of that name."""
        return bool(
            await self._connection.fetchval(
                "SELECT EXISTS (SELECT FROM deleted_accounts WHERE client_id = $1)", client_id
            )
        )

    async def _set_suspended(self, client_id: str, *, suspended: bool) -> None:
        await self._connection.execute(
            "UPDATE service_accounts SET suspended = $2 WHERE client_id = $1", client_id, suspended
        )

    async def _written(self, client_id: str) -> Account:
        found = await self.find(client_id)
        assert found is not None
        return found


def _told(limits: GivenLimits) -> list[str] | None:
    given = [f"{name} {most}" for name, most in asdict(limits).items() if most is not None]
    return given or None
