"""A run of the collector, and what it came to by reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

MAX_EXAMPLES = 100
MAX_ERRORS = 10
MAX_ERROR_CHARACTERS = 500


class Reason(StrEnum):
    """Why something is collected; the same words, in capitals, as in the contract."""

    EXPIRED = "expired"
    MOVED = "moved"
    SURPLUS = "surplus"
    TRASH = "trash"
    IDLE_UPLOAD = "idle_upload"
    ORPHAN_BLOB = "orphan_blob"


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is asked for.

    Attributes:
        max_delete_ratio: largest share of an element's blobs that may go as orphans, 0 to 1; None
            means 0.1 where more than 100 would go.
        everywhere: orphan blobs are looked for on every element; else only on those that have not
            been listed for long.
    """

    dry_run: bool = False
    max_delete_ratio: float | None = None
    everywhere: bool = True


@dataclass(frozen=True, slots=True)
class Count:
    """What one reason came to.

    Attributes:
        count: files, uploads or blobs.
        size_bytes: of them; those of an expired file go on lying in the trash.
        examples: the first 100: ids of files and uploads.
    """

    reason: Reason
    count: int = 0
    size_bytes: int = 0
    examples: Sequence[str] = ()

    def plus(self, count: int, size_bytes: int, examples: Sequence[str]) -> Count:
        """With so many more."""
        return replace(
            self,
            count=self.count + count,
            size_bytes=self.size_bytes + size_bytes,
            examples=(*self.examples, *examples)[:MAX_EXAMPLES],
        )


@dataclass(slots=True)
class Tally:
    """What a run has come to so far.

    Attributes:
        examined: files that were looked at.
        freed_bytes: what the stores have more by it.
        errors: the first 10 of `error_count`, for people.
    """

    examined: int = 0
    freed_bytes: int = 0
    error_count: int = 0
    errors: list[str] = field(default_factory=list)
    _counts: dict[Reason, Count] = field(default_factory=dict)

    @property
    def counts(self) -> list[Count]:
        """In the order of the contract, those of which there is something."""
        return [self._counts[reason] for reason in Reason if reason in self._counts]

    @property
    def collected(self) -> int:
        """Files, uploads and blobs of all reasons."""
        return sum(count.count for count in self._counts.values())

    def add(
        self, reason: Reason, count: int, size_bytes: int, examples: Sequence[str], *, freed: int
    ) -> None:
        """So many went (of a dry run: would go)."""
        if count:
            before = self._counts.get(reason, Count(reason))
            self._counts[reason] = before.plus(count, size_bytes, examples)
            self.freed_bytes += freed

    def fail(self, message: str) -> None:
        """Something could not be removed."""
        self.error_count += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(message.replace("\0", " ")[:MAX_ERROR_CHARACTERS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A run as it is on record.

    Attributes:
        ended_at: None while it runs, and of one whose admin was killed.
        requested_by: account; empty for the hourly one.
    """

    collection_id: str
    started_at: datetime
    ended_at: datetime | None = None
    dry_run: bool = False
    requested_by: str = ""
    examined_count: int = 0
    collected_count: int = 0
    freed_size_bytes: int = 0
    error_count: int = 0
    errors: Sequence[str] = ()
    counts: Sequence[Count] = ()

    def with_tally(self, tally: Tally, ended_at: datetime) -> Collection:
        """As it ended."""
        return replace(
            self,
            ended_at=ended_at,
            examined_count=tally.examined,
            collected_count=tally.collected,
            freed_size_bytes=tally.freed_bytes,
            error_count=tally.error_count,
            errors=tuple(tally.errors),
            counts=tuple(tally.counts),
        )
