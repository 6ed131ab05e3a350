"""Refusals of role, namespace and token, noted for the audit."""

from __future__ import annotations

from typing import Any

import grpc.aio

from mesh.errors import PermissionDenied, Unauthenticated
from mesh.identity.caller import Role
from mesh.server.interceptors.refusal_spool import RefusalSpool
from mesh.server.interceptors.wrapping import Call, Proceed


class RefusalNotes:
    """Notes what this server itself refuses; another one's refusal is noted there.

    A stream that ends with its token was not refused: its caller opens it again with a new one.
    """

    def __init__(self, spool: RefusalSpool) -> None:
        self._spool = spool

    async def __call__(self, call: Call, request: Any, *, proceed: Proceed) -> Any:
        """Note how one call is refused."""
        try:
            return await proceed(call, request)
        except (PermissionDenied, Unauthenticated) as exc:
            ended = call.cut and exc.reason == "TOKEN_EXPIRED"
            if not ended and not isinstance(exc.__cause__, grpc.aio.AioRpcError):
                known = call.caller.role is not Role.ANONYMOUS
                actor = call.caller.subject if known else ""
                self._spool.note(actor, call.method.rpartition("/")[2], exc.reason)
            raise
