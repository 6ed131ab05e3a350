"""Every call has an id: the caller's own or a new one, in each log line and in the answer."""

from __future__ import annotations

import re
import secrets
from typing import Any

from mesh.contract import REQUEST_ID_KEY
from mesh.identity.caller import current_request_id
from mesh.server.interceptors.wrapping import Call, Proceed

_ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


async def give_request_id(call: Call, request: Any, *, proceed: Proceed) -> Any:
    """Take `x-request-id` from the metadata if it is harmless, and send it back as trailer."""
    given = call.metadata.get(REQUEST_ID_KEY)
    if isinstance(given, str) and _ACCEPTED.fullmatch(given):
        call.request_id = given
    else:
        call.request_id = secrets.token_hex(8)
    current_request_id.set(call.request_id)
    call.context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
    return await proceed(call, request)
