"""Which account reports for which storage element: one for each, written beside the account."""

from __future__ import annotations

import asyncpg

from mesh.identity.caller import Role
from mesh.postgres.database import Database

_PREFIX = "storage-"


def account_named_after(storage_element_id: str) -> str:
    """The client_id that an element's account has, if nobody chose another one."""
    return f"{_PREFIX}{storage_element_id}"


def element_named_in(client_id: str) -> str:
    """The element that an account is named after; empty for other names."""
    return client_id.removeprefix(_PREFIX) if client_id.startswith(_PREFIX) else ""


class Bindings:
    """Reads and writes them; every call raises `Unavailable` while the database is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bind(self, client_id: str, storage_element_id: str) -> bool:
        """Bind an account of role SERVICE to an element; True if it is bound to that one now.

        Neither an account that is bound already nor an element that has one changes.
        """
        try:
            await self._database.execute(
                "UPDATE service_accounts SET storage_element_id = $2"
                " WHERE client_id = $1 AND role = $3 AND storage_element_id IS NULL",
                client_id,
                storage_element_id,
                Role.SERVICE.value,
            )
        except asyncpg.UniqueViolationError:
            return False
        return await self.account_of(storage_element_id) == client_id

    async def account_of(self, storage_element_id: str) -> str:
        """The client_id of the account that reports for an element; empty if none does."""
        found = await self._database.fetchval(
            "SELECT client_id FROM service_accounts WHERE storage_element_id = $1",
            storage_element_id,
        )
        return found or ""
