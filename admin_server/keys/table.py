"""Table `signing_keys`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg
import structlog

from admin_server.audit.own import record
from admin_server.keys.ring import KeyRing
from admin_server.keys.signing_key import SigningKey, UnusableKey, signing_key_from_pem
from mesh.postgres.database import Database

_SELECT = "SELECT kid, public_key, private_key, signs_from, verifies_until FROM signing_keys"

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What is to become of the keys.

    Attributes:
        ending: keys that stay, with the `verifies_until` that they get.
    """

    added: Sequence[SigningKey] = ()
    removed: Sequence[SigningKey] = ()
    ending: Sequence[SigningKey] = ()


class KeyTable:
    """Reads and writes the keys; every call raises `Unavailable` while the database is down.

    What is written is in the audit, by the same transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unusable: set[str] = set()
        self._read: tuple[list[tuple[object, ...]], KeyRing] = ([], KeyRing())

    async def read(self) -> KeyRing:
        """All keys that can be used; one that cannot is logged once and left out."""
        rows = await self._database.fetch(_SELECT)
        # Read every two seconds, and they change every few weeks.
        if (values := [tuple(row) for row in rows]) != self._read[0]:
            self._read = values, KeyRing(self._keys(rows))
        return self._read[1]

    async def change(self, decide: Callable[[KeyRing], KeyChange]) -> KeyRing:
        """Change keys while no other admin does; answers what is then there.

        Args:
            decide: from what is there, what becomes of it.
        """
        async with self._database.transaction() as connection:
            await connection.execute("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
            change = decide(KeyRing(self._keys(await connection.fetch(_SELECT))))
            for key in change.added:
                await connection.execute(
                    "INSERT INTO signing_keys (kid, public_key, private_key, signs_from)"
                    " VALUES ($1, $2, $3, $4)",
                    key.kid,
                    key.public_pem(),
                    key.private_pem(),
                    key.signs_from,
                )
            await connection.execute(
                "DELETE FROM signing_keys WHERE kid = ANY($1)", [key.kid for key in change.removed]
            )
            await connection.executemany(
                "UPDATE signing_keys SET verifies_until = $2 WHERE kid = $1",
                [(key.kid, key.verifies_until) for key in change.ending],
            )
            found = KeyRing(self._keys(await connection.fetch(_SELECT)))
            for key in change.added:
                await record(
                    connection, "RotateKeys", key.kid, did="made", signs_from=key.signs_from
                )
            for key in change.ending:
                await record(
                    connection, "RotateKeys", key.kid, did="ends", verifies_until=key.verifies_until
                )
            for key in change.removed:
                await record(connection, "RotateKeys", key.kid, did="removed")
            return found

    def _keys(self, rows: Iterable[asyncpg.Record]) -> list[SigningKey]:
        keys: list[SigningKey] = []
        for row in rows:
            signs_from: datetime | None = row["signs_from"]
            try:
                key = signing_key_from_pem(
                    row["kid"], row["public_key"], row["private_key"], signs_from
                )
            except UnusableKey as exc:
                if row["kid"] not in self._unusable:
                    _log.warning("signing key left out", kid=row["kid"], reason=str(exc))
                    self._unusable.add(row["kid"])
                continue
            keys.append(replace(key, verifies_until=row["verifies_until"]))
        return keys
