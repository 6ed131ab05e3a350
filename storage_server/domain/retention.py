"""When the time that a file is kept has ended, and from when it is counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar

DEFAULT_RETENTION_DAYS = 30
MAX_RETENTION_DAYS = 3_650


def has_ended(sidecar: Sidecar, now: datetime) -> bool:
    """Whether the retention of a file is over, whatever its state.

    A held file does not expire; when the hold is lifted it does.
    """
    return sidecar.expires_at is not None and sidecar.expires_at <= now and not sidecar.legal_hold


def is_expired(sidecar: Sidecar, now: datetime) -> bool:
    """Whether a file's home is nothing that users find any more.

    A copy never says so of itself: its text may be older than the home's.
    """
    return sidecar.state is FileState.ACTIVE and has_ended(sidecar, now)


def counted_from(sidecar: Sidecar) -> datetime:
    """From when retention_days count: created_at, or when UndeleteFile set them anew."""
    if sidecar.expires_at is None or not sidecar.retention_days:
        return sidecar.created_at
    try:
        begun = sidecar.expires_at - timedelta(days=sidecar.retention_days)
    except OverflowError:
        # Written by hand.
        return sidecar.created_at
    return max(sidecar.created_at, begun)


def expiry_of(sidecar: Sidecar, retention_days: Any, longest: int) -> datetime | None:
    """expires_at of a temporary file that is to be kept for so many days.

    Days that it has already may stay, also beyond what is allowed by now.

    Args:
        longest: the most that its namespace allows.

    Raises:
        InvalidArgument: a permanent file, or no number of days that is allowed.
    """
    if sidecar.retention_policy is not RetentionPolicy.TEMPORARY:
        raise InvalidArgument("a permanent file has no retention_days", field="retention_days")
    if type(retention_days) is int and retention_days == sidecar.retention_days:
        return sidecar.expires_at
    require_days(retention_days, longest)
    return counted_from(sidecar) + timedelta(days=retention_days)


def kept_anew(sidecar: Sidecar, days: int | None, now: datetime, longest: int) -> Sidecar:
    """`sidecar`, brought back at `now`, with the days that it is kept from then on.

    Args:
        days: None leaves it as it is.
        longest: the most that its namespace allows.

    Raises:
        FailedPrecondition: its retention has ended, and no new days are given; reason EXPIRED.
        InvalidArgument: a permanent file, or no number of days that is allowed.
    """
    if days is None:
        if has_ended(sidecar, now):
            raise FailedPrecondition(
                f"the retention of file {sidecar.file_id} has ended: say with retention_days how"
                " many days it is to be kept from now on",
                reason="EXPIRED",
            )
        return sidecar
    if sidecar.retention_policy is not RetentionPolicy.TEMPORARY:
        raise InvalidArgument("a permanent file has no retention_days", field="retention_days")
    require_days(days, longest)
    return replace(sidecar, retention_days=days, expires_at=now + timedelta(days=days))


def require_days(days: Any, longest: int) -> None:
    """
    Raises:
        InvalidArgument: `days` are not 1 to `longest`.
    """
    if type(days) is not int or not 1 <= days <= longest:
        raise too_many_days(longest)


def too_many_days(longest: int) -> InvalidArgument:
    """What is answered to days out of range."""
    bounded = " here, by the policy of the namespace" if longest < MAX_RETENTION_DAYS else ""
    return InvalidArgument(f"retention_days is 1 to {longest:,}{bounded}", field="retention_days")


def expired(file_id: str, expires_at: datetime | None) -> NotFound:
    """What users are answered of an expired file."""
    at = "" if expires_at is None else f" at {expires_at:%Y-%m-%d %H:%M:%SZ}"
    return NotFound(
        f"the retention of file {file_id[:64]!r} has ended{at}; until it is collected UpdateFile"
        " brings it back with more retention_days",
        reason="EXPIRED",
    )
