"""Table `service_accounts`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from admin_server.accounts.account import Account, Credentials
from admin_server.accounts.changes import AccountChange
from admin_server.accounts.rows import ACCOUNT, account_of
from admin_server.clock import Clock
from mesh.contract import DEFAULT_NAMESPACE
from mesh.identity.caller import ALL_NAMESPACES
from mesh.postgres.database import Database

# As `Account.readable`: none named is `default`.
_REACHES = (
    "(${0}::text[] IS NULL OR read_namespaces && ${0}::text[] OR namespaces && ${0}::text[]"
    f" OR (namespaces = '{{{{}}}}' AND '{DEFAULT_NAMESPACE}' = ANY (${{0}}::text[])))"
)


class AccountTable:
    """Reads and writes accounts; every call raises `Unavailable` while the database is down.

    What is written is in the audit, by the same transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, client_id: str) -> Credentials | None:
        """The account of that name with its hashes; None if there is none."""
        row = await self._database.fetchrow(
            f"SELECT {ACCOUNT}, secret_hash, previous_secret_hash FROM service_accounts"
            " WHERE client_id = $1",
            client_id,
        )
        if row is None:
            return None
        return Credentials(
            account=account_of(row),
            secret_hash=row["secret_hash"],
            previous_secret_hash=row["previous_secret_hash"],
        )

    async def usable(self, client_ids: Collection[str]) -> set[str]:
        """Those of the names that are of an account that is not suspended."""
        rows = await self._database.fetch(
            "SELECT client_id FROM service_accounts WHERE client_id = ANY ($1) AND NOT suspended",
            sorted(client_ids),
        )
        return {row["client_id"] for row in rows}

    async def page(
        self, after: str, limit: int, *, namespaces: Collection[str]
    ) -> tuple[list[Account], int]:
        """(at most `limit` accounts by client_id that follow `after`, how many there are).

        Args:
            namespaces: of those that reach one of them; `*` is one that reaches all.
        """
        reached = None if ALL_NAMESPACES in namespaces else [*namespaces, ALL_NAMESPACES]
        rows = await self._database.fetch(
            f"SELECT {ACCOUNT} FROM service_accounts WHERE client_id > $1 AND {_REACHES.format(3)}"
            " ORDER BY client_id LIMIT $2",
            after,
            limit,
            reached,
        )
        total = await self._database.fetchval(
            f"SELECT count(*) FROM service_accounts WHERE {_REACHES.format(1)}", reached
        )
        return [account_of(row) for row in rows], int(total)

    @asynccontextmanager
    async def alone(self, now: Clock) -> AsyncIterator[AccountChange]:
        """Change accounts while no other admin does: all that is done in the block, or nothing.

        Two that remove each other take turns here. Logins go on meanwhile.
        """
        async with self._database.transaction() as connection:
            await connection.execute("LOCK TABLE service_accounts IN SHARE ROW EXCLUSIVE MODE")
            yield AccountChange(connection, now())
