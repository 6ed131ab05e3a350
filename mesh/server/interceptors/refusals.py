"""Refusals: counted, and those of role, namespace and token noted for the audit."""

from __future__ import annotations

from typing import Any

import grpc.aio
from prometheus_client import Counter

from mesh.errors import ArtStoreError, PermissionDenied, ResourceExhausted, Unauthenticated
from mesh.identity.caller import Role
from mesh.server.interceptors.refusal_spool import RefusalSpool
from mesh.server.interceptors.wrapping import Call, Proceed

refusals_total = Counter(
    "artstore_refusals_total",
    "Calls refused for a limit, a role, a namespace or a token.",
    ["method", "reason"],
)


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
        except ResourceExhausted as exc:
            if _is_ours(exc):
                refusals_total.labels(call.method, exc.reason).inc()
            raise
        except (PermissionDenied, Unauthenticated) as exc:
            ended = call.cut and exc.reason == "TOKEN_EXPIRED"
            if not ended and _is_ours(exc):
                refusals_total.labels(call.method, exc.reason).inc()
                known = call.caller.role is not Role.ANONYMOUS
                actor = call.caller.subject if known else ""
                self._spool.note(actor, call.method.rpartition("/")[2], exc.reason)
            raise


def _is_ours(error: ArtStoreError) -> bool:
    return not isinstance(error.__cause__, grpc.aio.AioRpcError)
