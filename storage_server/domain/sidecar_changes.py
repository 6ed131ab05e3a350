"""How a sidecar changes: each change is one revision on, and says what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mesh.content_type import canonical
from mesh.errors import FailedPrecondition, InvalidArgument
from storage_server.domain.fields import UPDATABLE, USER_PART, values_of
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar
from storage_server.domain.user_part import check_labels, check_user_part, distinct

MAX_RETENTION_DAYS = 3_650

_MICROSECOND = timedelta(microseconds=1)


def updated(sidecar: Sidecar, changes: Mapping[str, Any], now: datetime) -> Sidecar:
    """`sidecar` with the user's changes, one revision on.

    `retention_days` moves `expires_at`, counted from created_at, and is only for temporary
    files. The name in the store stays when original_filename changes. A content type that is no
    media type, or more than MAX_RETENTION_DAYS, as older versions took, may stay and may not come.

    Args:
        changes: new values by the names in UPDATABLE.

    Raises:
        InvalidArgument: a field that cannot be updated, or what `check_user_part` and
            `check_labels` refuse.
        FailedPrecondition: the file is deleted or moved.
    """
    if sidecar.state is not FileState.ACTIVE:
        raise _wrong_state(sidecar, "updated")
    for name in changes:
        if name not in UPDATABLE:
            raise InvalidArgument(f"{name} cannot be updated", field=name)
    values = dict(changes)
    if values.get("content_type", sidecar.content_type) != sidecar.content_type:
        values["content_type"] = canonical(values["content_type"])
    if "tags" in values:
        values["tags"] = distinct(values["tags"])
    if "attributes" in values:
        values["attributes"] = dict(values["attributes"])
    check_labels(values.get("tags"), values.get("attributes"))
    if "retention_days" in values:
        values["expires_at"] = _expiry(sidecar, values["retention_days"])
    changed = _next(sidecar, now, **values)
    check_user_part(**values_of(changed, USER_PART))
    return changed


def tombstoned(sidecar: Sidecar, now: datetime) -> Sidecar:
    """`sidecar` as the tombstone that a delete writes; updated_at is when it was deleted.

    Raises:
        FailedPrecondition: it is one already, or the file is under legal hold.
    """
    if sidecar.state is FileState.DELETED:
        raise _wrong_state(sidecar, "deleted")
    if sidecar.legal_hold:
        raise FailedPrecondition(f"file {sidecar.file_id} is under legal hold", reason="LEGAL_HOLD")
    return _next(sidecar, now, state=FileState.DELETED)


def undeleted(sidecar: Sidecar, now: datetime) -> Sidecar:
    """A tombstone taken back: the state it had before.

    Raises:
        FailedPrecondition: the file is not deleted.
    """
    if sidecar.state is not FileState.DELETED:
        raise _wrong_state(sidecar, "undeleted")
    before = FileState.ACTIVE if sidecar.finalized_at is None else FileState.MOVED
    return _next(sidecar, now, state=before)


def moved(sidecar: Sidecar, finalized_to: str, now: datetime) -> Sidecar:
    """The source of a finalization: serves bytes, refuses updates. It waits for MoveFile.

    Raises:
        FailedPrecondition: the file is not active.
    """
    if sidecar.state is not FileState.ACTIVE:
        raise _wrong_state(sidecar, "finalized")
    return _next(sidecar, now, state=FileState.MOVED, finalized_at=now, finalized_to=finalized_to)


def _next(sidecar: Sidecar, now: datetime, **values: Any) -> Sidecar:
    updated_at = max(now.astimezone(UTC), sidecar.updated_at + _MICROSECOND)
    return replace(sidecar, revision=sidecar.revision + 1, updated_at=updated_at, **values)


def _expiry(sidecar: Sidecar, retention_days: Any) -> datetime | None:
    if sidecar.retention_policy is not RetentionPolicy.TEMPORARY:
        raise InvalidArgument("a permanent file has no retention_days", field="retention_days")
    if type(retention_days) is int and retention_days == sidecar.retention_days:
        return sidecar.expires_at
    if type(retention_days) is not int or not 1 <= retention_days <= MAX_RETENTION_DAYS:
        raise InvalidArgument(
            f"retention_days is 1 to {MAX_RETENTION_DAYS:,}", field="retention_days"
        )
    return sidecar.created_at + timedelta(days=retention_days)


def _wrong_state(sidecar: Sidecar, verb: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"file {sidecar.file_id} is {sidecar.state.value} and cannot be {verb}",
        reason="FILE_STATE",
        metadata={"state": sidecar.state.value},
    )
