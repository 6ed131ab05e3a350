"""What admin itself changes: put on record in the transaction that changes it."""

from __future__ import annotations

from typing import Any

import asyncpg

from admin_server.audit.chain import append
from admin_server.audit.event import Event
from admin_server.clock import utc_now
from mesh.identity.caller import Role, current_caller, current_request_id


async def record(
    connection: asyncpg.Connection[Any],
    action: str,
    resource: str,
    *,
    reason: str = "",
    **details: object,
) -> None:
    """Put on record that the caller did `action`, the last thing that a transaction does.

    Outside of a call it is admin that does it by itself, and the actor stays empty.

    Args:
        action: the RPC, as `SuspendServiceAccount`.
        resource: id of an account, a key, an element, a namespace.
        details: without secrets; None is left out, and lists become `a, b`.
    """
    caller = current_caller()
    said = {
        name: ", ".join(value) if isinstance(value, list | tuple) else str(value)
        for name, value in details.items()
        if value is not None
    }
    event = Event(
        occurred_at=utc_now(),
        actor="" if caller.role is Role.ANONYMOUS else caller.subject,
        action=action,
        resource=resource,
        details=said,
        request_id=current_request_id.get(),
        reason=reason,
    )
    await append(connection, [event])
