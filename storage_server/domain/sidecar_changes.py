"""How a sidecar changes at a user's word: each change is one revision on, and says what it refuses.

The steps of moves, copies and collection: `domain/life.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mesh.content_type import canonical
from mesh.errors import InvalidArgument
from storage_server.domain.fields import UPDATABLE, USER_PART, values_of
from storage_server.domain.retention import MAX_RETENTION_DAYS, expiry_of
from storage_server.domain.revision import next_revision, require_not_held, wrong_state
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar
from storage_server.domain.user_part import check_labels, check_user_part, distinct


def updated(
    sidecar: Sidecar,
    changes: Mapping[str, Any],
    now: datetime,
    *,
    longest_retention: int = MAX_RETENTION_DAYS,
) -> Sidecar:
    """`sidecar` with the user's changes, one revision on.

    `retention_days` moves `expires_at` (see `domain/retention.py`), and is only for temporary
    files. The name in the store stays when original_filename changes. A content type that is no
    media type, or more days than are allowed, as older versions took, may stay and may not come.

    Args:
        changes: new values by the names in UPDATABLE.
        longest_retention: the most days that the namespace allows.

    Raises:
        InvalidArgument: a field that cannot be updated, or what `check_user_part` and
            `check_labels` refuse.
        FailedPrecondition: the file is deleted or moved.
    """
    if sidecar.state is not FileState.ACTIVE:
        raise wrong_state(sidecar, "updated")
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
        values["expires_at"] = expiry_of(sidecar, values["retention_days"], longest_retention)
    changed = next_revision(sidecar, now, **values)
    check_user_part(**values_of(changed, USER_PART))
    return changed


def made_permanent(sidecar: Sidecar, now: datetime) -> Sidecar:
    """`sidecar` as the file that is kept until it is deleted; itself when it is so already.

    Raises:
        FailedPrecondition: the file is not active.
    """
    if sidecar.state is not FileState.ACTIVE:
        raise wrong_state(sidecar, "finalized")
    if sidecar.retention_policy is RetentionPolicy.PERMANENT:
        return sidecar
    return next_revision(
        sidecar,
        now,
        retention_policy=RetentionPolicy.PERMANENT,
        retention_days=None,
        expires_at=None,
    )


def tombstoned(sidecar: Sidecar, now: datetime) -> Sidecar:
    """`sidecar` as the tombstone that a delete writes; updated_at is when it was deleted.

    Raises:
        FailedPrecondition: the file is not active, or it is under legal hold.
    """
    if sidecar.state is not FileState.ACTIVE:
        raise wrong_state(sidecar, "deleted")
    require_not_held(sidecar)
    return next_revision(sidecar, now, state=FileState.DELETED)


def undeleted(sidecar: Sidecar, now: datetime) -> Sidecar:
    """A tombstone taken back: it is the home's, so the file is active again.

    Raises:
        FailedPrecondition: the file is not deleted.
    """
    if sidecar.state is not FileState.DELETED:
        raise wrong_state(sidecar, "undeleted")
    return next_revision(sidecar, now, state=FileState.ACTIVE, deleted_at=None)
