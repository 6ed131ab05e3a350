"""What a walk over listing and rows met that looks wrong, to be looked at again. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from storage_server.catalog.summaries import RowSummary
from storage_server.consistency.report import Report
from storage_server.naming import blob_path
from storage_server.repair.survey import (
    Differences,
    EqualFolder,
    Surveyed,
    Verified,
    compare_blobs,
)
from storage_server.sidecar import FileState
from storage_server.store.port import SIDECAR_SUFFIX


@dataclass(slots=True)
class Suspicions:
    """Collected by one walk.

    Attributes:
        paths: of sidecars that seem new or changed.
        unreadable: paths of folders and devices that are called like sidecars.
        claimed: ids of rows that are no tombstones, by the listed path that they name.
        rows: rows whose sidecar seems missing or another file's.
        missing_blobs: paths of blobs that have a sidecar and were not listed.
        orphan_blobs: paths of blobs that were listed without a sidecar.
        verified: folders in which nothing looks wrong.
    """

    paths: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    claimed: dict[str, str] = field(default_factory=dict)
    rows: list[RowSummary] = field(default_factory=list)
    missing_blobs: list[str] = field(default_factory=list)
    orphan_blobs: list[str] = field(default_factory=list)
    verified: dict[str, Verified] = field(default_factory=dict)

    def collect(self, batch: Sequence[Surveyed], report: Report) -> int:
        """Take in a batch of the walk, and count what agrees; how many files it had."""
        files = 0
        for part in batch:
            if isinstance(part, EqualFolder):
                self._collect_equal(part, report)
                files += part.summary.rows
            else:
                self._collect_different(part, report)
                files += len(part.agreeing) + len(part.to_read) + len(part.suspects)
        return files

    def _collect_equal(self, folder: EqualFolder, report: Report) -> None:
        listing, summary = folder.listing, folder.summary
        report.total_attr_files += summary.live_rows
        report.total_cache_entries += summary.live_rows
        report.union_size += summary.live_rows
        report.expired_count += summary.expired
        if not listing.unchanged:
            missing, orphans = compare_blobs(folder)
            self.missing_blobs += [blob_path(listing.path, name) for name in missing]
            self.orphan_blobs += [blob_path(listing.path, name) for name in orphans]
            if missing or orphans:
                return
        self.verified[listing.path] = Verified(listing.stamp, summary.rows, summary.newest_sequence)

    def _collect_different(self, found: Differences, report: Report) -> None:
        report.total_attr_files += found.agreeing_live
        report.total_cache_entries += found.live_rows
        report.union_size += found.live_rows
        report.expired_count += found.expired
        self.paths += [one.path for one in found.to_read]
        self.unreadable += found.unreadable
        tombstones = set(found.tombstones)
        unreadable = set(found.unreadable)
        for path, rows in found.claims.items():
            if path not in unreadable:
                self.rows += rows
            for row in rows:
                if row.state is FileState.DELETED:
                    tombstones.add(path.removesuffix(SIDECAR_SUFFIX))
                else:
                    self.claimed[path] = row.file_id
        self.rows += found.suspects
        named = {
            one.path.removesuffix(SIDECAR_SUFFIX)
            for listing in found.listings
            for one in listing.sidecars
        }
        self.missing_blobs += named - found.blob_paths - tombstones
        self.orphan_blobs += found.blob_paths - named
