"""One log line for each call."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import grpc
import structlog

from mesh.identity.caller import current_file_id
from mesh.redaction import without_names
from mesh.server.interceptors.wrapping import Call, Proceed, file_of

_log = structlog.stdlib.get_logger("mesh.calls")

MAX_DETAILS_CHARACTERS = 256
MAX_CAUSE_CHARACTERS = 500

# Asked every second by machines: of no interest unless something is wrong.
_QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.")


async def log_call(call: Call, request: Any, *, proceed: Proceed) -> Any:
    """Log method, peer, caller, file, status and duration once the call has ended."""
    response: Any = None
    try:
        response = await proceed(call, request)
        return response
    except asyncio.CancelledError:
        call.code = grpc.StatusCode.CANCELLED
        raise
    finally:
        _log_end(call, call.file_id or current_file_id.get() or file_of(response))


def _log_end(call: Call, file_id: str) -> None:
    code = call.status_code()
    level = call.level or logging.INFO
    if level == logging.INFO and call.method.startswith(_QUIET):
        level = logging.DEBUG
    fields: dict[str, Any] = {
        "method": call.method,
        "peer": call.context.peer(),
        "caller": call.caller.subject,
        "status": code.name,
        "duration_seconds": round(time.perf_counter() - call.started, 6),
    }
    if file_id:
        fields["file_id"] = file_id
    if call.peer is not call.caller:
        fields["on_behalf_by"] = call.peer.subject
    # Cut off before its id, a name could not be told from the rest any more.
    if call.details:
        fields["details"] = without_names(call.details)[:MAX_DETAILS_CHARACTERS]
    if call.cause:
        fields["cause"] = without_names(call.cause)[:MAX_CAUSE_CHARACTERS]
    _log.log(level, "call", **fields)
