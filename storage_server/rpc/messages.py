"""Messages of StorageService to plain Python and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import changes_pb2, storage_pb2, types_pb2, uploads_pb2
from mesh.elements import change_token
from mesh.errors import InvalidArgument, Unimplemented
from storage_server.catalog.uploads import UploadRow
from storage_server.domain.fields import UPDATABLE
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.modes import Mode
from storage_server.domain.origin import Cause
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar
from storage_server.files.changes import HOLD_IS_ELSEWHERE
from storage_server.reporting.description import MODES
from storage_server.uploads.header import Header
from storage_server.writing.view import FileView

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

STATES: Mapping[FileState, types_pb2.FileState.ValueType] = {
    FileState.ACTIVE: types_pb2.FILE_STATE_ACTIVE,
    FileState.DELETED: types_pb2.FILE_STATE_DELETED,
    FileState.MOVED: types_pb2.FILE_STATE_MOVED,
    FileState.COPY: types_pb2.FILE_STATE_COPY,
    FileState.INCOMING: types_pb2.FILE_STATE_INCOMING,
    FileState.GONE: types_pb2.FILE_STATE_GONE,
    FileState.ERASED: types_pb2.FILE_STATE_ERASED,
}
POLICIES: Mapping[RetentionPolicy, types_pb2.RetentionPolicy.ValueType] = {
    RetentionPolicy.TEMPORARY: types_pb2.RETENTION_POLICY_TEMPORARY,
    RetentionPolicy.PERMANENT: types_pb2.RETENTION_POLICY_PERMANENT,
}
_STATE_OF: Mapping[int, FileState] = {number: state for state, number in STATES.items()}
_POLICY_OF: Mapping[int, RetentionPolicy] = {
    types_pb2.RETENTION_POLICY_UNSPECIFIED: RetentionPolicy.TEMPORARY,
    **{number: policy for policy, number in POLICIES.items()},
}
_MODE_OF: Mapping[int, Mode] = {number: mode for mode, number in MODES.items()}
CHANGE_KINDS: Mapping[ChangeKind, changes_pb2.ChangeKind.ValueType] = {
    ChangeKind.CREATED: changes_pb2.CHANGE_KIND_CREATED,
    ChangeKind.UPDATED: changes_pb2.CHANGE_KIND_UPDATED,
    ChangeKind.DELETED: changes_pb2.CHANGE_KIND_DELETED,
    ChangeKind.UNDELETED: changes_pb2.CHANGE_KIND_UNDELETED,
    ChangeKind.DROPPED: changes_pb2.CHANGE_KIND_DROPPED,
    ChangeKind.PURGED: changes_pb2.CHANGE_KIND_PURGED,
    ChangeKind.ERASED: changes_pb2.CHANGE_KIND_ERASED,
}
CHANGE_CAUSES: Mapping[Cause, changes_pb2.ChangeCause.ValueType] = {
    Cause.CALLER: changes_pb2.CHANGE_CAUSE_CALLER,
    Cause.REPAIR: changes_pb2.CHANGE_CAUSE_REPAIR,
    Cause.TRANSFER: changes_pb2.CHANGE_CAUSE_TRANSFER,
    Cause.COLLECTION: changes_pb2.CHANGE_CAUSE_COLLECTION,
}
# Fields of a file that its message has as the sidecar has them.
_SAID = (
    "file_id",
    "revision",
    "namespace",
    "original_filename",
    "storage_filename",
    "storage_path",
    "size_bytes",
    "content_type",
    "sha256",
    "created_by",
    "request_id",
    "description",
    "version",
    "finalized_to",
    "legal_hold",
    "moved_to",
    "updated_by",
)
_OPTIONAL = ("crc32c", "home_since", "copies")
_TIMES = ("expires_at", "finalized_at", "deleted_at")


def timestamp(at: datetime | None) -> Timestamp | None:
    """`at` to the microsecond; None stays unset."""
    if at is None:
        return None
    seconds, microseconds = divmod((at - _EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)


def file_message(view: FileView, element_id: str) -> types_pb2.File:
    """A file as answered by `element_id`."""
    sidecar = view.sidecar
    return types_pb2.File(
        file_id=sidecar.file_id,
        revision=sidecar.revision,
        state=STATES[sidecar.state],
        namespace=sidecar.namespace,
        original_filename=sidecar.original_filename,
        storage_filename=sidecar.storage_filename,
        storage_path=sidecar.storage_path,
        size_bytes=sidecar.size_bytes,
        content_type=sidecar.content_type,
        sha256=sidecar.sha256,
        crc32c=sidecar.crc32c,
        created_at=timestamp(sidecar.created_at),
        created_by=sidecar.created_by,
        updated_at=timestamp(sidecar.updated_at),
        request_id=sidecar.request_id,
        description=sidecar.description,
        version=sidecar.version,
        tags=sidecar.tags,
        attributes=sidecar.attributes,
        retention_policy=POLICIES[sidecar.retention_policy],
        retention_days=sidecar.retention_days or 0,
        expires_at=timestamp(sidecar.expires_at),
        finalized_at=timestamp(sidecar.finalized_at),
        finalized_to=sidecar.finalized_to,
        legal_hold=sidecar.legal_hold,
        home_since=sidecar.home_since,
        moved_to=sidecar.moved_to,
        copies=sidecar.copies,
        updated_by=sidecar.updated_by,
        deleted_at=timestamp(sidecar.deleted_at),
        storage_element_id=element_id,
        cache_updated_at=timestamp(view.cache_updated_at),
        cache_ttl_hours=view.cache_ttl_hours,
        cache_expired=view.cache_expired,
        cache_stale=view.cache_stale,
    )


def sidecar_of_message(file: types_pb2.File, *, field: str) -> Sidecar:
    """What another element says of a file, as its sidecar there has it, but for what only tools
    wrote into that: it is not told.

    Args:
        field: of the request, for messages.

    Raises:
        InvalidArgument: it is no file.
    """
    state, policy = _STATE_OF.get(file.state), _POLICY_OF.get(file.retention_policy)
    if state is None or policy is None or not file.file_id or not file.HasField("created_at"):
        raise InvalidArgument("no file, or of a state that is not known here", field=field)
    values: dict[str, Any] = {name: getattr(file, name) for name in _SAID}
    values |= {name: optional(file, name) for name in _OPTIONAL}
    values |= {name: _time_of(file, name) for name in _TIMES}
    return Sidecar(
        state=state,
        retention_policy=policy,
        retention_days=file.retention_days or None,
        tags=tuple(file.tags),
        attributes=dict(file.attributes),
        created_at=file.created_at.ToDatetime(tzinfo=UTC),
        updated_at=file.updated_at.ToDatetime(tzinfo=UTC),
        **values,
    )


def _time_of(file: types_pb2.File, name: str) -> datetime | None:
    at: Timestamp | None = optional(file, name)
    return None if at is None else at.ToDatetime(tzinfo=UTC)


def token_of(view: FileView, element_id: str, epoch: str) -> str:
    """The change token of a file's last change; empty when its place in the feed is not known."""
    if not view.sequence or not epoch:
        return ""
    return change_token.encode(element_id, epoch, view.sequence)


def header_of(message: uploads_pb2.UploadHeader) -> Header:
    """The header as sent; `uploads.header.checked` says whether it is good.

    Raises:
        InvalidArgument: a retention policy that this server does not know.
        Unimplemented: more than one copy is wanted.
    """
    if message.HasField("copies") and message.copies != 1:
        raise Unimplemented("only one copy of a file is kept so far; leave `copies` out")
    policy = _POLICY_OF.get(message.retention_policy)
    if policy is None:
        raise InvalidArgument("unknown retention_policy", field="retention_policy")
    return Header(
        original_filename=message.original_filename,
        content_type=message.content_type,
        size_bytes=message.size_bytes if message.HasField("size_bytes") else None,
        sha256=message.sha256 if message.HasField("sha256") else None,
        description=message.description,
        version=message.version,
        tags=tuple(message.tags),
        attributes=dict(message.attributes),
        namespace=message.namespace,
        retention_policy=policy,
        retention_days=message.retention_days,
        request_id=message.request_id,
    )


def open_upload(row: UploadRow, expires_at: datetime) -> storage_pb2.OpenUpload:
    """An open upload without its token."""
    header = Header.from_bytes(row.header)
    return storage_pb2.OpenUpload(
        upload_id=row.upload_id,
        created_by=row.created_by,
        header=uploads_pb2.UploadHeader(
            original_filename=header.original_filename,
            content_type=header.content_type,
            size_bytes=header.size_bytes,
            sha256=header.sha256,
            description=header.description,
            version=header.version,
            tags=header.tags,
            attributes=header.attributes,
            namespace=header.namespace,
            retention_policy=POLICIES[header.retention_policy],
            retention_days=header.retention_days or 0,
            request_id=header.request_id,
        ),
        committed_size_bytes=row.stage.committed_size_bytes,
        reserved_size_bytes=row.reserved_bytes,
        lapsed=row.reserved_bytes == 0 and header.size_bytes != 0,
        created_at=timestamp(row.created_at),
        expires_at=timestamp(expires_at),
    )


def mode_of(number: int) -> Mode:
    """The mode of an enum value.

    Raises:
        InvalidArgument: unspecified or unknown.
    """
    mode = _MODE_OF.get(number)
    if mode is None:
        raise InvalidArgument("mode is not given or not known", field="mode")
    return mode


def changes_of(request: storage_pb2.UpdateFileRequest) -> dict[str, Any]:
    """The new values that an update asks for, by field.

    Raises:
        InvalidArgument: the mask names what cannot be changed, or nothing is to be changed.
    """
    file = request.file
    names = list(dict.fromkeys(request.update_mask.paths))
    for name in names:
        if name == "legal_hold":
            raise InvalidArgument(HOLD_IS_ELSEWHERE, field="update_mask")
        if name not in UPDATABLE:
            raise InvalidArgument(f"{name[:64]!r} cannot be updated", field="update_mask")
    if not names:
        names = [field.name for field, _ in file.ListFields() if field.name in UPDATABLE]
    if names == ["legal_hold"]:
        raise InvalidArgument(HOLD_IS_ELSEWHERE, field="file.legal_hold")
    if not names:
        raise InvalidArgument("nothing to update", field="update_mask")
    return {name: _value(file, name) for name in names}


def _value(file: types_pb2.File, name: str) -> Any:
    value = getattr(file, name)
    if name == "tags":
        return tuple(value)
    if name == "attributes":
        return dict(value)
    if name == "content_type":
        return value or "application/octet-stream"
    return value


def optional(message: Any, name: str) -> Any:
    """An optional field: None when it is not set."""
    return getattr(message, name) if message.HasField(name) else None
