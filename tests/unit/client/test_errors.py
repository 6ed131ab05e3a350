"""What the library says of a refusal, beside the server's own words."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2

from artstore_client import errors
from artstore_client.errors import from_rpc_error

DETAILS = "grpc-status-details-bin"


class Refused(grpc.RpcError):
    """A call that ended so."""

    def __init__(self, code: grpc.StatusCode, text: str, reason: str) -> None:
        info = Packed()
        info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="artstore"))
        status = status_pb2.Status(code=code.value[0], message=text, details=[info])
        self._code, self._text = code, text
        self._metadata = ((DETAILS, status.SerializeToString()),)

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> Any:
        return self._metadata


def refused(code: str, text: str, reason: str) -> errors.ArtStoreError:
    return from_rpc_error(Refused(grpc.StatusCode[code], text, reason))


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        ("FAILED_PRECONDITION", "transfer t is COMPLETED", "FAILED_PRECONDITION"),
        ("FAILED_PRECONDITION", "held: `artstore release f`", "LEGAL_HOLD"),
        ("FAILED_PRECONDITION", "only a copy: `artstore explain f`", "NOT_HOME"),
        ("FAILED_PRECONDITION", "there is no element", "NO_ELEMENT"),
    ],
)
def test_a_refusal_that_says_itself_what_to_do_gets_no_other_advice(
    code: str, text: str, reason: str
) -> None:
    error = refused(code, text, reason)
    assert isinstance(error, errors.FailedPrecondition)
    assert (error.message, error.reason) == (text, reason)


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        ("FAILED_PRECONDITION", "MODE", "`artstore elements`"),
        ("FAILED_PRECONDITION", "FILE_STATE", "`artstore explain ID`"),
        ("NOT_FOUND", "FILE_DELETED", "`artstore restore ID`"),
        ("NOT_FOUND", "NOT_FOUND", "Check the id."),
    ],
)
def test_advice_is_of_the_reason(code: str, reason: str, advice: str) -> None:
    assert advice in refused(code, "no", reason).message
