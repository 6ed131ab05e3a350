"""Who may: roles and namespaces against their tables, before the handler runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mesh.errors import PermissionDenied
from mesh.identity.caller import Caller, Role
from mesh.identity.roles import OF_ADMIN_ITSELF, roles_behind, roles_for
from mesh.identity.scopes import require_reach
from mesh.server.interceptors.wrapping import Call, Proceed


async def authorize(call: Call, request: Any, *, proceed: Proceed) -> Any:
    """Let the call through if the tables say so; a method they do not know is denied to all.

    A server that speaks for a caller must be allowed to make the call, and its caller as well.
    """
    if call.peer.role not in roles_for(call.method):
        raise _denied(call.peer, call.method, roles_for(call.method))
    if call.method.startswith(OF_ADMIN_ITSELF) and not call.peer.from_admin:
        raise PermissionDenied(
            f"{call.method} is a step that admin takes itself, with a token for this element alone",
            reason="ROLE_DENIED",
        )
    if call.caller is not call.peer and call.caller.role not in roles_behind(call.method):
        raise _denied(call.caller, call.method, roles_behind(call.method))
    require_reach(call.method, call.caller)
    return await proceed(call, request)


def _denied(caller: Caller, method: str, may: Collection[Role]) -> PermissionDenied:
    who = [str(role) for role in Role if role in may]
    told = f": {' and '.join(who)} may" if who else ""
    return PermissionDenied(f"role {caller.role} may not call {method}{told}", reason="ROLE_DENIED")
