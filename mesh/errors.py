"""The exceptions of ArtStore, one for each status a caller can meet.

    ArtStoreError
    ├── InvalidArgument      a field of the request is wrong (`field` names it)
    ├── NotFound
    ├── AlreadyExists
    ├── FailedPrecondition   mode, legal hold, wrong state
    │   ├── StoreReadOnly        the store reads but does not write
    │   └── LegallyHeld          the file is under legal hold
    ├── Aborted              lock held, pre-empted, taken over, revision conflict
    ├── OutOfRange           offset
    ├── ResourceExhausted    space, file or message too large, rate
    ├── DataLoss             size or checksum differ from what was declared
    ├── Unavailable          a dependency is down or silent
    │   └── TablesMissing        tables were dropped, and will be made anew
    ├── Unauthenticated
    ├── PermissionDenied
    └── Unimplemented

The domain and the adapters raise these and never see a gRPC context; `mesh.calls.status` has the
one table that turns them into statuses. Messages reach the caller: they say what to do, and
hold no secret.
"""

from __future__ import annotations

from collections.abc import Mapping


class ArtStoreError(Exception):
    """Base of all errors that are meant for the caller.

    Args:
        message: what happened and what the caller can do about it.
        reason: UPPER_SNAKE_CASE for machines; becomes ErrorInfo.reason.
        metadata: becomes ErrorInfo.metadata (holder, operation, since, expires ...).
    """

    default_reason = ""

    def __init__(
        self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})


class InvalidArgument(ArtStoreError):
    """A field of the request is wrong. `field` is its path, as in BadRequest."""

    default_reason = "INVALID_ARGUMENT"

    def __init__(self, message: str, *, field: str = "", reason: str = "") -> None:
        super().__init__(message, reason=reason)
        self.field = field


class NotFound(ArtStoreError):
    """No such file, upload, element, operation or account."""

    default_reason = "NOT_FOUND"


class AlreadyExists(ArtStoreError):
    """The name or request id is taken by something else."""

    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(ArtStoreError):
    """The mode, a legal hold or the state of the thing forbids the call."""

    default_reason = "FAILED_PRECONDITION"


class StoreReadOnly(FailedPrecondition):
    """The store reads but takes no writes: another element may take the upload.

    It says that nothing was written: a request_id is free to go elsewhere.
    """

    default_reason = "STORE_READ_ONLY"


class LegallyHeld(FailedPrecondition):
    """The file is under legal hold: it neither expires nor goes until an ADMIN lifts that."""

    default_reason = "LEGAL_HOLD"

    def __init__(self, file_id: str = "") -> None:
        which = f" {file_id}" if file_id else ""
        super().__init__(
            f"{'file' if which else 'the file'}{which} is under legal hold: it stays until an ADMIN"
            f" lifts that by `artstore release{which or ' ID'}`"
        )


class Aborted(ArtStoreError):
    """Somebody else has it, took it over, or changed it first."""

    default_reason = "ABORTED"


class OutOfRange(ArtStoreError):
    """An offset leaves a gap or lies beyond the end."""

    default_reason = "OUT_OF_RANGE"


class ResourceExhausted(ArtStoreError):
    """No space, or too large, or too many.

    `retry_after_seconds` is None where waiting helps nobody.
    """

    default_reason = "RESOURCE_EXHAUSTED"

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after_seconds = retry_after_seconds


class DataLoss(ArtStoreError):
    """Bytes differ from what was declared or recorded."""

    default_reason = "DATA_LOSS"


class Unavailable(ArtStoreError):
    """A dependency is down or silent; the call may be repeated after `retry_after_seconds`."""

    default_reason = "UNAVAILABLE"

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


class TablesMissing(Unavailable):
    """Tables that hold nothing but a copy were dropped; their owner makes them anew."""

    default_reason = "TABLES_MISSING"


class Unauthenticated(ArtStoreError):
    """No token, or one that does not verify."""

    default_reason = "UNAUTHENTICATED"


class PermissionDenied(ArtStoreError):
    """The token is good; its role or namespaces do not reach."""

    default_reason = "PERMISSION_DENIED"


class Unimplemented(ArtStoreError):
    """The call is part of the contract and not served yet."""

    default_reason = "UNIMPLEMENTED"
