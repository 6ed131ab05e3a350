"""Table `policies`: one row for each namespace whose policy was set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import asyncpg

from admin_server.audit.own import record
from admin_server.clock import Clock
from mesh.identity.policies import Policy
from mesh.postgres.database import Database

_VALUES = (
    "default_retention_days",
    "max_retention_days",
    "copies",
    "max_copies",
    "trash_days",
    "quota_bytes",
)
_COLUMNS = ", ".join(("namespace", *_VALUES, "updated_at"))
_SET = (
    f"INSERT INTO policies ({_COLUMNS})"
    f" VALUES ({', '.join(f'${n}' for n in range(1, len(_VALUES) + 3))})"
    " ON CONFLICT (namespace) DO UPDATE SET "
    + ", ".join(f"{name} = EXCLUDED.{name}" for name in (*_VALUES, "updated_at"))
)


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """A policy, and when it was last set; None when it never was."""

    policy: Policy
    updated_at: datetime | None


class PolicyTable:
    """Every call raises `Unavailable` while the database is down."""

    def __init__(self, database: Database, *, now: Clock) -> None:
        self._database = database
        self._now = now

    async def get(self, namespace: str) -> SetPolicy:
        """The policy of a namespace."""
        row = await self._database.fetchrow(
            f"SELECT {_COLUMNS} FROM policies WHERE namespace = $1", namespace
        )
        return SetPolicy(Policy(namespace), None) if row is None else _policy(row)

    async def put(self, policy: Policy) -> None:
        """Replace the policy of a namespace, and put that on record."""
        values = asdict(policy)
        async with self._database.transaction() as connection:
            await connection.execute(
                _SET, policy.namespace, *(values[name] for name in _VALUES), self._now()
            )
            await record(
                connection,
                "SetPolicy",
                policy.namespace,
                **{name: values[name] for name in _VALUES},
            )

    async def page(self, after: str, limit: int) -> tuple[Sequence[SetPolicy], int]:
        """(at most `limit` of them by namespace that follow `after`, how many there are)."""
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM policies WHERE namespace > $1 ORDER BY namespace LIMIT $2",
            after,
            limit,
        )
        found = [_policy(row) for row in rows]
        if not after and len(found) < limit:
            return found, len(found)
        return found, int(await self._database.fetchval("SELECT count(*) FROM policies"))


def _policy(row: asyncpg.Record) -> SetPolicy:
    policy = Policy(row["namespace"], **{name: row[name] for name in _VALUES})
    return SetPolicy(policy, row["updated_at"])
