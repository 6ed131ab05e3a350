"""The one table from exceptions to gRPC statuses and log levels, with their rich details."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from mesh import errors
from mesh.contract import ERROR_DOMAIN

DETAILS_KEY = "grpc-status-details-bin"
INTERNAL_TEXT = "Internal error; the server's log has it under this call's x-request-id."
# 16 KiB of metadata is the hard limit of gRPC; base64 and other keys need their share.
MAX_DETAILS_BYTES = 6 * 1024
MAX_MESSAGE_CHARACTERS = 1024
_DEFAULT_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind of exception leaves the server."""

    code: grpc.StatusCode
    level: int


TABLE: dict[type[errors.ArtStoreError], Rule] = {
    errors.InvalidArgument: Rule(grpc.StatusCode.INVALID_ARGUMENT, logging.INFO),
    errors.NotFound: Rule(grpc.StatusCode.NOT_FOUND, logging.INFO),
    errors.AlreadyExists: Rule(grpc.StatusCode.ALREADY_EXISTS, logging.INFO),
    errors.FailedPrecondition: Rule(grpc.StatusCode.FAILED_PRECONDITION, logging.INFO),
    errors.Aborted: Rule(grpc.StatusCode.ABORTED, logging.INFO),
    errors.OutOfRange: Rule(grpc.StatusCode.OUT_OF_RANGE, logging.INFO),
    errors.ResourceExhausted: Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, logging.WARNING),
    errors.DataLoss: Rule(grpc.StatusCode.DATA_LOSS, logging.WARNING),
    errors.Unavailable: Rule(grpc.StatusCode.UNAVAILABLE, logging.WARNING),
    errors.Unauthenticated: Rule(grpc.StatusCode.UNAUTHENTICATED, logging.INFO),
    errors.PermissionDenied: Rule(grpc.StatusCode.PERMISSION_DENIED, logging.INFO),
    errors.Unimplemented: Rule(grpc.StatusCode.UNIMPLEMENTED, logging.INFO),
}
UNFORESEEN = Rule(grpc.StatusCode.INTERNAL, logging.ERROR)


def rule_for(error: BaseException) -> Rule:
    """The rule of the nearest base class in the table, else `UNFORESEEN`."""
    for base in type(error).__mro__:
        rule = TABLE.get(base)
        if rule is not None:
            return rule
    return UNFORESEEN


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def to_status(error: errors.ArtStoreError) -> status_pb2.Status:
    """The google.rpc.Status of `error`: ErrorInfo, and BadRequest or RetryInfo where they apply."""
    message = error.message.encode("utf-8", "replace").decode()[:MAX_MESSAGE_CHARACTERS]
    status = status_pb2.Status(code=rule_for(error).code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(domain=ERROR_DOMAIN, reason=error.reason)
    for key, value in error.metadata.items():
        info.metadata[key] = value.encode("utf-8", "replace").decode()[:MAX_MESSAGE_CHARACTERS]
    status.details.append(_packed(info))
    if isinstance(error, errors.InvalidArgument) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=message
        )
        status.details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, errors.Unavailable | errors.ResourceExhausted):
        seconds = error.retry_after_seconds
        if seconds is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(seconds * 1_000_000_000))
            status.details.append(_packed_retry(delay))
    return status


def _packed_retry(delay: duration_pb2.Duration) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return packed


def to_trailing_metadata(error: errors.ArtStoreError) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata that carries the rich details, or nothing when they would not fit."""
    serialized = to_status(error).SerializeToString()
    if len(serialized) > MAX_DETAILS_BYTES:
        return ()
    return ((DETAILS_KEY, serialized),)


def from_rpc_error(error: grpc.aio.AioRpcError) -> errors.ArtStoreError:
    """The exception that another server raised, rebuilt from the status it answered.

    Statuses that no ArtStore server raises (DEADLINE_EXCEEDED, INTERNAL, UNKNOWN, CANCELLED)
    become `Unavailable`: the dependency did not do its work, and the caller may try again.
    A text that no ArtStore server wrote (it names addresses) is left to the cause.
    """
    code = error.code()
    reason, metadata, fields, retry_after = _details_of(error)
    message = error.details() or code.name
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return errors.InvalidArgument(message, field=fields, reason=reason)
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.ResourceExhausted(
            message, retry_after_seconds=retry_after, reason=reason, metadata=metadata
        )
    for kind, rule in TABLE.items():
        if rule.code == code and kind is not errors.Unavailable:
            return kind(message, reason=reason, metadata=metadata)
    return errors.Unavailable(
        message if reason else f"a server that this call needs did not answer ({code.name})",
        retry_after_seconds=_DEFAULT_RETRY_SECONDS if retry_after is None else retry_after,
        reason=reason,
        metadata=metadata,
    )


def _details_of(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str], str, float | None]:
    """(reason, metadata, field, retry_after_seconds) of a status, with defaults where unset."""
    reason, metadata, fields = "", dict[str, str](), ""
    retry_after: float | None = None
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status.ParseFromString(value)
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad) and bad.field_violations:
            fields = bad.field_violations[0].field
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1_000_000_000
    return reason, metadata, fields, retry_after
