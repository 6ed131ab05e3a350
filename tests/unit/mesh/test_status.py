"""What of an error reaches another server."""

from __future__ import annotations

import grpc
import pytest

from mesh.calls.status import from_rpc_error, to_trailing_metadata
from mesh.errors import ResourceExhausted


@pytest.mark.parametrize("seconds", [None, 1.5, 60.0])
def test_a_refusal_says_when_to_try_again_where_that_helps(seconds: float | None) -> None:
    error = ResourceExhausted(
        "too many", reason="TOO_MANY_UPLOADS", metadata={"a": "b"}, retry_after_seconds=seconds
    )
    told = from_rpc_error(
        grpc.aio.AioRpcError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.aio.Metadata(),
            grpc.aio.Metadata(*to_trailing_metadata(error)),
            details=error.message,
        )
    )
    assert isinstance(told, ResourceExhausted)
    assert (told.message, told.reason, told.metadata) == ("too many", error.reason, {"a": "b"})
    assert told.retry_after_seconds == seconds
