"""An account as admin has it, with what a test says of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from admin_server.accounts.account import Account
from mesh.identity.caller import Role

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def account(**changes: Any) -> Account:
    values: dict[str, Any] = {
        "client_id": "alice",
        "role": Role.USER,
        "namespaces": (),
        "read_namespaces": (),
        "description": "",
        "suspended": False,
        "created_at": NOW,
        "created_by": "admin",
        "rotated_at": NOW,
    }
    return Account(**{**values, **changes})
