"""What ingest itself asks of a header. Everything else is the element's to judge."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from artstore.v1 import types_pb2, uploads_pb2
from mesh.content_type import canonical
from mesh.contract import MAX_REQUEST_ID_BYTES
from mesh.elements.seen import Mode
from mesh.errors import InvalidArgument

_MODES = {
    types_pb2.RETENTION_POLICY_UNSPECIFIED: Mode.EDIT,
    types_pb2.RETENTION_POLICY_TEMPORARY: Mode.EDIT,
    types_pb2.RETENTION_POLICY_PERMANENT: Mode.RW,
}


def header_of(message: bytes | None) -> uploads_pb2.UploadHeader:
    """The header in the first message of an upload stream, None being its end.

    Raises:
        InvalidArgument: the message is not a header, or the header is no use for placement.
    """
    request = uploads_pb2.UploadRequest()
    if message is not None:
        try:
            request.ParseFromString(message)
        except DecodeError:
            raise InvalidArgument("the first message cannot be read", field="payload") from None
    if request.WhichOneof("payload") != "header":
        raise InvalidArgument("the first message must be the header", field="payload")
    check_header(request.header)
    return request.header


def check_header(header: uploads_pb2.UploadHeader) -> None:
    """Refuse what no element would take, and what placement cannot work with.

    Raises:
        InvalidArgument: `field` names the field.
    """
    if not header.original_filename.strip():
        raise InvalidArgument("original_filename is empty", field="original_filename")
    if header.content_type:
        canonical(header.content_type)
    if header.size_bytes < 0:
        raise InvalidArgument("size_bytes is negative", field="size_bytes")
    if header.retention_policy not in _MODES:
        raise InvalidArgument(
            f"retention_policy {header.retention_policy} is not known", field="retention_policy"
        )
    if len(header.request_id.encode()) > MAX_REQUEST_ID_BYTES:
        raise InvalidArgument(
            f"request_id is longer than {MAX_REQUEST_ID_BYTES} bytes", field="request_id"
        )


def mode_for(header: uploads_pb2.UploadHeader) -> Mode:
    """The mode of element that takes the file: temporary ones edit, permanent ones rw."""
    return _MODES[header.retention_policy]


def declared_size(header: uploads_pb2.UploadHeader) -> int | None:
    """The declared size in bytes; None when it is not known."""
    return header.size_bytes if header.HasField("size_bytes") else None
