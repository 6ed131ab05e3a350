"""What a rebuild did."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from storage_server.sidecars.reading import InvalidAttr

KEPT_ERRORS = 10


@dataclass(slots=True)
class RebuildResult:
    """Counts of a rebuild; they leave tombstones out.

    Attributes:
        errors: the first of the sidecars that can't be used, each naming its path.
        error_count: all of them.
    """

    kind: str
    operation_id: str
    started_at: datetime
    completed_at: datetime | None = None
    attr_files_scanned: int = 0
    cache_entries_before: int = 0
    cache_entries_after: int = 0
    entries_created: int = 0
    entries_updated: int = 0
    entries_deleted: int = 0
    names_restored: int = 0
    errors: list[str] = field(default_factory=list)
    error_count: int = 0

    def note(self, error: InvalidAttr) -> None:
        """One more sidecar that can't be used."""
        self.error_count += 1
        if len(self.errors) < KEPT_ERRORS:
            self.errors.append(str(error))
