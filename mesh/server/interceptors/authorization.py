"""Who may: the bearer's role against the role table, before the handler runs."""

from __future__ import annotations

from typing import Any

from mesh.errors import PermissionDenied
from mesh.identity.roles import OF_ADMIN_ITSELF, roles_for
from mesh.server.interceptors.wrapping import Call, Proceed


async def authorize(call: Call, request: Any, *, proceed: Proceed) -> Any:
    """Let the call through if the table says so; a method it does not know is denied to all."""
    if call.peer.role not in roles_for(call.method):
        raise PermissionDenied(
            f"role {call.peer.role} may not call {call.method}", reason="ROLE_DENIED"
        )
    if call.method.startswith(OF_ADMIN_ITSELF) and not call.peer.from_admin:
        raise PermissionDenied(
            f"{call.method} is a step that admin takes itself, with a token for this element alone",
            reason="ROLE_DENIED",
        )
    return await proceed(call, request)
