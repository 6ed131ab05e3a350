"""A lock as the lock store has it, and what is said to those who do not get or keep it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from mesh.errors import Aborted
from storage_server.locks.kinds import LockKind


@dataclass(frozen=True, slots=True)
class LockEntry:
    """A lock as the lock store has it."""

    kind: LockKind
    file_id: str
    holder: str
    owner: str
    operation_id: str
    fence: int
    since: datetime
    expires: datetime


def entry_of(raw: bytes | str) -> LockEntry:
    """A lock from the JSON that the scripts answer."""
    lock: dict[str, Any] = orjson.loads(raw)
    return LockEntry(
        kind=LockKind(lock["kind"]),
        file_id=lock["file_id"],
        holder=lock["holder"],
        owner=lock["owner"],
        operation_id=lock["operation"],
        fence=int(lock["fence"]),
        since=datetime.fromtimestamp(lock["since_ms"] / 1000, UTC),
        expires=datetime.fromtimestamp(lock["expires_ms"] / 1000, UTC),
    )


def _about(entry: LockEntry) -> dict[str, str]:
    return {
        "holder": entry.holder,
        "operation": entry.kind.name,
        "operation_id": entry.operation_id,
        "since": entry.since.isoformat(),
        "expires": entry.expires.isoformat(),
    }


def refusal(entry: LockEntry) -> Aborted:
    """The error for a lock that is held; it names the holder."""
    return Aborted(
        f"{entry.kind.name} of {entry.holder} holds the lock since {entry.since.isoformat()}; "
        "try again when it is done, or pass wait_seconds",
        reason="LOCK_HELD",
        metadata=_about(entry),
    )


def loss(kind: LockKind, winner: LockEntry | None) -> Aborted:
    """The error that ends the work of a lock that was taken over, or expired (no winner)."""
    if winner is None:
        return Aborted(
            f"the lock of this {kind.name} expired or was released; run it again",
            reason="LOCK_LOST",
            metadata={"operation": kind.name},
        )
    return Aborted(
        f"this {kind.name} was taken over by {winner.kind.name} of {winner.holder}; "
        "run it again when that is done",
        reason="PREEMPTED",
        metadata=_about(winner),
    )
