"""What every change of a sidecar has in common, a user's and one of a step."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mesh.errors import FailedPrecondition, LegallyHeld
from storage_server.domain.sidecar import Sidecar

_MICROSECOND = timedelta(microseconds=1)


def next_revision(sidecar: Sidecar, now: datetime, **values: Any) -> Sidecar:
    """`sidecar` with new `values`, one revision on."""
    return replace(
        sidecar, revision=sidecar.revision + 1, updated_at=moment_after(sidecar, now), **values
    )


def moment_after(sidecar: Sidecar, now: datetime) -> datetime:
    """updated_at of what comes after it: `now`, however wrong a clock was before."""
    return max(now.astimezone(UTC), sidecar.updated_at + _MICROSECOND)


def require_not_held(sidecar: Sidecar) -> None:
    """
    Raises:
        LegallyHeld: it is.
    """
    if sidecar.legal_hold:
        raise LegallyHeld(sidecar.file_id)


def wrong_state(sidecar: Sidecar, verb: str) -> FailedPrecondition:
    """What is answered to a change that its state does not take; `verb` as in "moved"."""
    return FailedPrecondition(
        f"file {sidecar.file_id} is {sidecar.state.value} and cannot be {verb}",
        reason="FILE_STATE",
        metadata={"state": sidecar.state.value},
    )
