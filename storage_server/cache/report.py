"""The report of a check: what was found, how much of it, and the percentage. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

KEPT_DETAILS = 10


class Level(enum.StrEnum):
    """How closely a check looks."""

    QUICK = "quick"
    FULL = "full"
    DEEP = "deep"


class Finding(enum.StrEnum):
    """Kinds of findings; all but ORPHAN_BLOB and RENAMED make a cache inconsistent."""

    ORPHAN_ATTR = "orphan_attr_files"
    ORPHAN_CACHE = "orphan_cache_entries"
    STALE = "stale_entries"
    INVALID_ATTR = "invalid_attr_files"
    MISSING_BLOB = "missing_blobs"
    ORPHAN_BLOB = "orphan_blobs"
    RENAMED = "renamed_files"


INCONSISTENT = frozenset(Finding) - {Finding.ORPHAN_BLOB, Finding.RENAMED}


@dataclass(slots=True)
class Report:
    """What a check found.

    Attributes:
        total_attr_files: sidecars but tombstones, invalid ones too.
        total_cache_entries: rows but tombstones.
        union_size: distinct ids of both sides.
        sequence: head of the feed when the check began.
    """

    level: Level
    element_id: str
    operation_id: str
    started_at: datetime
    sequence: int
    total_attr_files: int = 0
    total_cache_entries: int = 0
    union_size: int = 0
    expired_count: int = 0
    expired_ids: Sequence[str] = ()
    duration_seconds: float = 0.0
    _details: dict[Finding, list[str]] = field(default_factory=dict)
    _counts: dict[Finding, int] = field(default_factory=dict)
    _wrong: set[str] = field(default_factory=set)

    def note(self, finding: Finding, subject: str, detail: str = "") -> None:
        """One more finding.

        Args:
            subject: the file's id, or the path where there is no id to trust.
            detail: what the report shows; the subject by default.
        """
        self._counts[finding] = self._counts.get(finding, 0) + 1
        kept = self._details.setdefault(finding, [])
        if len(kept) < KEPT_DETAILS:
            kept.append(detail or subject)
        if finding in INCONSISTENT:
            self._wrong.add(subject)

    def is_wrong(self, subject: str) -> bool:
        """Whether something was found that makes this file or path inconsistent."""
        return subject in self._wrong

    def count(self, finding: Finding) -> int:
        """How many of a kind."""
        return self._counts.get(finding, 0)

    def details(self, finding: Finding) -> Sequence[str]:
        """The first ones of a kind."""
        return self._details.get(finding, [])

    @property
    def findings(self) -> int:
        """How many there are in all."""
        return sum(self._counts.values())

    @property
    def is_consistent(self) -> bool:
        """Nothing was found that makes the cache differ from the truth."""
        return not any(self._counts.get(finding) for finding in INCONSISTENT)

    @property
    def inconsistency_percentage(self) -> float:
        """Distinct ids found wrong over the union of both sides, in per cent."""
        if not self._wrong:
            return 0.0
        return min(100.0, 100.0 * len(self._wrong) / max(self.union_size, len(self._wrong)))
