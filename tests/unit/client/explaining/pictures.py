"""A mesh as `explain` sees it: three elements that answer, and what a test says otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import elements_pb2, query_pb2, types_pb2
from artstore_client import errors
from artstore_client.explaining.explanation import Explanation, explained
from artstore_client.explaining.seen import ElementSeen, Indexed, Seen, Told, Word

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FILE_ID = "019ad000-0000-7000-8000-000000000001"
GIB = 1 << 30

ACTIVE, DELETED = types_pb2.FILE_STATE_ACTIVE, types_pb2.FILE_STATE_DELETED
TEMPORARY = types_pb2.RETENTION_POLICY_TEMPORARY
PERMANENT = types_pb2.RETENTION_POLICY_PERMANENT
EDIT, RW = types_pb2.ELEMENT_MODE_EDIT, types_pb2.ELEMENT_MODE_RW
RO, AR = types_pb2.ELEMENT_MODE_RO, types_pb2.ELEMENT_MODE_AR

NOT_YET: Told[Any] = Told(error=errors.Unimplemented("not served"))
DENIED: Told[Any] = Told(error=errors.PermissionDenied("no"))


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def a_file(**fields: Any) -> types_pb2.File:
    """A temporary file of two hours ago, checked an hour ago; datetimes are taken as they are."""
    said = {
        "file_id": FILE_ID,
        "revision": 1,
        "state": ACTIVE,
        "namespace": "default",
        "original_filename": "report.pdf",
        "content_type": "application/pdf",
        "size_bytes": 1536,
        "created_at": NOW - 2 * HOUR,
        "created_by": "anna",
        "updated_at": NOW - 2 * HOUR,
        "retention_policy": TEMPORARY,
        "retention_days": 30,
        "expires_at": NOW - 2 * HOUR + 30 * DAY,
        "cache_updated_at": NOW - HOUR,
        "cache_ttl_hours": 24,
        "storage_element_id": "se-01",
    } | fields
    if said["retention_policy"] == PERMANENT:
        said |= {"expires_at": None, "retention_days": 0}
    return types_pb2.File(
        **{k: stamp(v) if isinstance(v, datetime) else v for k, v in said.items()}
    )


def an_element(name: str, file: types_pb2.File | None = None, **fields: Any) -> ElementSeen:
    """One that answers: se-01 and se-02 are edit, se-03 is rw, with room; `word` when it says
    otherwise, `error` too."""
    word = fields.pop("word", None) or (
        Word.NOT_THERE if file is None else Word.DELETED if file.state == DELETED else Word.HAS
    )
    error, replica = fields.pop("error", None), fields.pop("replica", None)
    registered = fields.pop("registered_at", NOW - 100 * DAY)
    element = elements_pb2.StorageElement(
        storage_element_id=name,
        **{
            "mode": RW if name == "se-03" else EDIT,
            "priority": int(name[-2:]) * 100,
            "capacity_bytes": GIB,
            "writable": True,
        }
        | fields,
    )
    listed = elements_pb2.StorageElement()
    listed.CopyFrom(element)
    listed.registered_at.CopyFrom(stamp(registered))
    listed.reported_at.CopyFrom(stamp(NOW - timedelta(minutes=3)))
    return ElementSeen(
        name, word, file=file, error=error, element=element, listed=listed, replica=replica
    )


def silent(name: str, **fields: Any) -> ElementSeen:
    """One that does not answer."""
    return an_element(name, word=Word.SILENT, error=errors.Unavailable("refused"), **fields)


def seen(*elements: ElementSeen, **fields: Any) -> Seen:
    """What was seen; elements that are not named have not got the file, nor is it found."""
    named = {one.storage_element_id for one in elements}
    rest = [an_element(name) for name in ("se-01", "se-02", "se-03") if name not in named]
    everything = sorted(
        (*elements, *rest), key=lambda one: one.element.priority if one.element else 0
    )
    whole = Seen(
        FILE_ID,
        tuple(everything),
        "",
        registry=Told(()),
        locks=Told(()),
        policy=NOT_YET,
        indexed=Told(Indexed(None, None, complete=True)),
        events=NOT_YET,
    )
    return replace(whole, **fields)


def found(file: types_pb2.File, **following: Any) -> Told[Indexed]:
    """Search finds that file."""
    status = query_pb2.ElementSyncStatus(storage_element_id=file.storage_element_id, **following)
    return Told(Indexed(file, status, complete=True))


def explain(*elements: ElementSeen, **fields: Any) -> Explanation:
    """What `seen` comes to."""
    return explained(seen(*elements, **fields), NOW)
