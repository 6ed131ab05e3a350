"""Rows of table `service_accounts` as accounts."""

from __future__ import annotations

import asyncpg

from admin_server.accounts.account import Account
from admin_server.accounts.limits import GivenLimits
from mesh.identity.caller import Role

ACCOUNT = (
    "client_id, role, namespaces, read_namespaces, description, suspended, created_at,"
    " created_by, rotated_at, previous_valid_until, tokens_after, limit_open_uploads,"
    " limit_reserved_percent, limit_calls"
)
"""The columns that make an account."""


def account_of(row: asyncpg.Record) -> Account:
    """The account of a row that has these columns."""
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
        old_secret_ends_at=row["previous_valid_until"],
        tokens_after=row["tokens_after"],
        limits=GivenLimits(
            open_uploads=row["limit_open_uploads"],
            reserved_percent=row["limit_reserved_percent"],
            calls=row["limit_calls"],
        ),
    )
