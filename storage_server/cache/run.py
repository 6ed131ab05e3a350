"""The state of one rebuild, shared by its steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from mesh.operations import Operation
from storage_server.cache.result import RebuildResult
from storage_server.cache.survey import Verified
from storage_server.catalog.fences import Fence
from storage_server.catalog.summaries import RowSummary


@dataclass(slots=True)
class RebuildRun:
    """One rebuild.

    Attributes:
        s0: head of the feed before anything was listed or read: rows with a higher sequence
            are left alone.
        now: becomes cache_updated_at.
        leftovers: ids in the names of what belongs to no row, with the paths of sidecars among it:
            of erased files it goes.
        renamed: ids of files whose blob or sidecar has another form of its name.
        verified: folders that were found equal.
        unsettled: ids of rows that did not say what the listing shows. Those that are merged
            are renewed by that, the others must not be.
        suspects: rows that seem to have no sidecar.
        expected: by folder, how many rows were seen to say what their sidecars say, or were
            made to: fewer at the end mean that somebody has removed some.
    """

    result: RebuildResult
    operation: Operation
    fence: Fence
    s0: int
    now: datetime
    full: bool
    leftovers: dict[str, set[str]] = field(default_factory=dict)
    renamed: set[str] = field(default_factory=set)
    verified: dict[str, Verified] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    suspects: list[RowSummary] = field(default_factory=list)
    expected: Counter[str] = field(default_factory=Counter)

    def note_leftovers(self, file_ids: Iterable[str], path: str = "") -> None:
        """Something was met that belongs to no row; `path` if it is a sidecar."""
        for file_id in file_ids:
            self.leftovers.setdefault(file_id, set()).update([path] if path else [])
