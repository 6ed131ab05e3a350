"""What admin asks for when a file is erased."""

from __future__ import annotations

from artstore.v1 import transfers_pb2 as pb
from mesh.contract import MAX_REASON_BYTES
from mesh.errors import InvalidArgument
from mesh.identity.caller import current_request_id
from storage_server.domain.freshness import Freshness
from storage_server.domain.origin import Cause, Origin
from storage_server.files.erasing import Erasure


def asked_erasure(request: pb.EraseRequest, freshness: Freshness) -> Erasure:
    """The erasure, by the account that admin names.

    Raises:
        InvalidArgument: there is no reason, or too long a one.
    """
    condition, reason = request.condition, request.reason
    if not reason or len(reason.encode()) > MAX_REASON_BYTES or "\0" in reason:
        raise InvalidArgument(f"a reason has 1 to {MAX_REASON_BYTES} bytes of text", field="reason")
    return Erasure(
        file_id=condition.file_id,
        by=Origin(Cause.CALLER, request.requested_by, current_request_id.get(), reason),
        namespace=request.namespace,
        expected_digest=condition.digest if condition.HasField("digest") else None,
        freshness=freshness,
    )
