"""Where the changes of a call come from."""

from __future__ import annotations

from mesh.contract import MAX_REASON_BYTES
from mesh.errors import InvalidArgument
from mesh.identity.caller import current_caller, current_request_id
from storage_server.domain.origin import Cause, Origin


def of_this_call(reason: str = "", *, cause: Cause = Cause.CALLER) -> Origin:
    """The caller, not the server that passes the call on, and the id that the call is logged with.

    Raises:
        InvalidArgument: `reason` is too long, or holds NUL.
    """
    if len(reason.encode()) > MAX_REASON_BYTES or "\0" in reason:
        raise InvalidArgument(
            f"a reason has at most {MAX_REASON_BYTES} bytes of text", field="reason"
        )
    return Origin(cause, current_caller().subject, current_request_id.get(), reason)
