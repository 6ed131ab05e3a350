"""A transfer as it is on record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import asyncpg


class Kind(StrEnum):
    """What a transfer is for. COPY and HEAL come with the elements' life."""

    FINALIZE = "finalize"
    MOVE = "move"
    COPY = "copy"
    HEAL = "heal"


class State(StrEnum):
    """Where a transfer is. From SWITCHING on the source may know of it."""

    QUEUED = "queued"
    COPYING = "copying"
    SWITCHING = "switching"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One row of the table; sizes are bytes.

    Attributes:
        namespace: of the file, as it was when the transfer was asked for.
        source, target: ids of elements.
        target_named: its caller named the target; else another may be taken.
        source_told: the source may know of it: it can't be cancelled any more.
        attempts: how often it was begun.
        next_attempt_at: None while it is tried, and when it has ended.
        error: of the last attempt, empty if it went well.
        requested_by: account; empty for the mesh's own.
        request_id: of the call that asked for it.
        change_token: of the change that made the target the home; empty before.
        ended_at: None before.
    """

    transfer_id: str
    kind: Kind
    file_id: str
    namespace: str
    source: str
    target: str
    target_named: bool
    state: State
    source_told: bool
    copied_size_bytes: int
    size_bytes: int
    attempts: int
    next_attempt_at: datetime | None
    error: str
    requested_by: str
    request_id: str
    change_token: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.ended_at is None

    @classmethod
    def of_row(cls, row: asyncpg.Record) -> Transfer:
        """The transfer of a row."""
        values = {name: row[name] for name in cls.__dataclass_fields__}
        values["kind"], values["state"] = Kind(row["kind"]), State(row["state"])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A transfer that is asked for."""

    kind: Kind
    file_id: str
    namespace: str
    source: str
    target: str
    target_named: bool = True
    size_bytes: int
    requested_by: str
    request_id: str
