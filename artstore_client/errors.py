"""What calls raise, and the one place where statuses become these exceptions.

ArtStoreError
├── InvalidArgument      a field of the request is wrong (`field` names it)
├── NotFound             no such file, upload, element or operation
├── AlreadyExists        the name or request id is taken by something else
├── FailedPrecondition   mode, legal hold or state forbid the call
├── Aborted              lock held, pre-empted, taken over, revision conflict
├── OutOfRange           an offset leaves a gap or lies beyond the end
├── ResourceExhausted    no space, too large, too many
├── DataLoss             bytes differ from what was declared or recorded
├── Unavailable          a server or what it needs is down (`retry_after_seconds`)
│   ├── DeadlineExceeded     it did not answer in time
│   └── NotTrusted           TLS: it is not who it should be, or speaks plain text
├── Internal             a server failed in a way it did not foresee
├── Unauthenticated      no token, or one that does not verify
├── PermissionDenied     the token is good, its role or namespaces do not reach
├── Unimplemented        the server does not serve this call
├── SourceChanged        a source changed while it was read; raised by the client itself
└── ConfigurationError   endpoints or credentials are missing; raised by the client itself
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

if TYPE_CHECKING:
    from google.rpc.status_pb2 import Status


class ArtStoreError(Exception):
    """Base of everything this library raises on purpose.

    Attributes:
        message: what happened, and what to do about it.
        reason: UPPER_SNAKE_CASE, for programs; empty when the server gave none.
        metadata: more of the reason: holder, operation, since, expires ...
    """

    advice = ""

    def __init__(
        self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})


class InvalidArgument(ArtStoreError):
    """A field of the request is wrong; `field` is its path, empty if the server named none."""

    advice = "Correct the request."

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.field = field


class NotFound(ArtStoreError):
    """No such file, upload, element, operation or account."""

    advice = "Check the id."


class AlreadyExists(ArtStoreError):
    """The name or request id is taken by something else."""

    advice = "Use another request id, or none."


class FailedPrecondition(ArtStoreError):
    """The mode of the element, a legal hold or the file's state forbids the call."""


class Aborted(ArtStoreError):
    """Somebody else has it, took it over, or changed it first."""

    advice = "Read the present state and try again."


class OutOfRange(ArtStoreError):
    """An offset leaves a gap or lies beyond the end."""

    advice = "Ask for the size first."


class ResourceExhausted(ArtStoreError):
    """No space, or too large, or too many."""

    advice = "Free space or send less."


class DataLoss(ArtStoreError):
    """Bytes differ from what was declared or recorded."""

    advice = "Nothing was kept; send or read it again, and check the source."


class Unavailable(ArtStoreError):
    """A server, or what it needs, is down; worth repeating after `retry_after_seconds`."""

    advice = "Try again later; is the mesh running?"

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float = 1.0,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(Unavailable):
    """No answer within the time that was given; what was asked may still have been done."""

    advice = "Try again, or give it more time."


class NotTrusted(Unavailable):
    """TLS found that it is not the server it should be, or none that speaks TLS: waiting helps
    nobody.
    """

    advice = ""


class Internal(ArtStoreError):
    """A server failed in a way it did not foresee; its log has the cause."""

    advice = "Try again; if it stays, look into the server's log."


class Unauthenticated(ArtStoreError):
    """No token, or one that does not verify."""

    advice = "Check client_id and client_secret, or get a new token."


class PermissionDenied(ArtStoreError):
    """The token is good; its role or namespaces do not reach."""

    advice = "Ask for a role and namespaces that allow this."


class Unimplemented(ArtStoreError):
    """The server does not serve this call."""

    advice = "Is this endpoint the right server, and of this version?"


class SourceChanged(ArtStoreError):
    """A source changed while it was read, so that what was sent is neither old nor new."""

    advice = "Upload it again when nothing writes to it."


class ConfigurationError(ArtStoreError):
    """An endpoint or credentials are missing or wrong; the message names the setting."""


STORE_READ_ONLY = "STORE_READ_ONLY"
"""Reason of FailedPrecondition: the element reads but does not write, and nothing was written."""

_ADVICE_FOR = {
    STORE_READ_ONLY: "An upload that is sent again goes to another element.",
    "MODE": "Look at the modes of the elements: `artstore elements`.",
    "FILE_STATE": "Look at the state of the file: `artstore explain ID`.",
    "FILE_DELETED": "While it is in the trash `artstore restore ID` brings it back.",
    # The server's own text says what to do.
    "NO_SPACE": "",
}

_BY_CODE: dict[grpc.StatusCode, type[ArtStoreError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.DATA_LOSS: DataLoss,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    # A server that is killed cancels its calls: the client itself raises CancelledError instead.
    grpc.StatusCode.CANCELLED: Unavailable,
}


def from_rpc_error(
    error: grpc.RpcError, *, doing: str = "", about_proxy: str = ""
) -> ArtStoreError:
    """The exception for a call that ended with `error`, synchronous or not.

    Args:
        error: what awaiting or iterating the call raised.
        doing: the call and its server, put before the server's text: "GetFile on se-01".
        about_proxy: a sentence about what lies between, for calls that got no answer.
    """
    code, text = error.code(), error.details() or ""
    kind = _BY_CODE.get(code, Internal)
    reason, metadata, field, retry_after = _read_details(_rich_status(error))
    advice = _ADVICE_FOR.get(reason, kind.advice)
    message = _sentence(doing, text or code.name.lower().replace("_", " "), advice)
    if kind is InvalidArgument:
        return InvalidArgument(message, field=field, reason=reason, metadata=metadata)
    if issubclass(kind, Unavailable):
        message = f"{message} {about_proxy}" if about_proxy else message
        return kind(message, retry_after_seconds=retry_after, reason=reason, metadata=metadata)
    return kind(message, reason=reason, metadata=metadata)


def _sentence(doing: str, text: str, advice: str) -> str:
    told = f"{doing}: {text}" if doing else text
    if not advice:
        return told
    return f"{told}{'' if told.endswith(('.', '!', '?')) else '.'} {advice}"


def _rich_status(error: grpc.RpcError) -> Status | None:
    """The google.rpc.Status of the trailers; None when there is none or it does not parse."""
    try:
        return rpc_status.from_call(cast("grpc.Call", error))
    except Exception:
        # A status that contradicts its own code, or bytes of something else: the code still holds.
        return None


def _read_details(status: Status | None) -> tuple[str, dict[str, str], str, float]:
    """(reason, metadata, field, retry_after_seconds), each with its default when not told."""
    reason, metadata, field, retry_after = "", dict[str, str](), "", 1.0
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1_000_000_000
    return reason, metadata, field, retry_after
