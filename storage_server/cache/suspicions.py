"""What a walk over listing and rows met that looks wrong, to be looked at again. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from storage_server.cache.comparison import Differences, compare_blobs, wrong_sizes
from storage_server.cache.report import Report
from storage_server.cache.survey import EqualFolder, Surveyed, Verified
from storage_server.catalog.summaries import RowSummary
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.naming import blob_beside, file_id_in_name, sidecar_path
from storage_server.store.port import UNKNOWN_SIZE


@dataclass(slots=True)
class Suspicions:
    """Collected by one walk.

    Attributes:
        paths: of sidecars that seem new or changed.
        unreadable: paths of folders and devices that are called like sidecars.
        claimed: ids of rows that are no tombstones, by the listed path that they name.
        counted: ids of the rows, no tombstones, that were met without being settled: the
            report's union has them already.
        rows: rows whose sidecar seems missing or another file's.
        doubtful_blobs: paths of the sidecars whose blob was not listed or has another size, with
            that of the blob under another form of its name, or empty.
        listed_sizes: bytes of the blobs of `paths`, by the sidecar's path.
        forms: blobs under another form of their name, by where they should be.
        orphan_blobs: paths of blobs that were listed without a sidecar.
        renamed: a path of each file under another form of its name and the recorded one, by id.
        verified: folders in which nothing looks wrong.
    """

    paths: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    claimed: dict[str, str] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)
    rows: list[RowSummary] = field(default_factory=list)
    doubtful_blobs: dict[str, str] = field(default_factory=dict)
    listed_sizes: dict[str, int] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)
    orphan_blobs: list[str] = field(default_factory=list)
    renamed: dict[str, tuple[str, str]] = field(default_factory=dict)
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
            blobs = folder.compare_blobs()
            self.orphan_blobs += [f"{listing.path}/{name}" for name in blobs.orphans]
            for name in blobs.missing:
                self.doubtful_blobs[sidecar_path(listing.path, name)] = ""
            if not blobs.are_complete:
                return
        self.verified[listing.path] = Verified(listing.stamp, summary.rows, summary.newest_sequence)

    def _collect_different(self, found: Differences, report: Report) -> None:
        report.total_attr_files += found.agreeing_live
        report.total_cache_entries += found.live_rows
        report.union_size += found.live_rows
        report.expired_count += found.expired
        self.paths += [one.path for one in found.to_read]
        self.unreadable += found.unreadable
        tombstones = found.tombstones | self._collect_claims(found)
        self.rows += found.suspects
        self.counted.update(_live(found.suspects))
        self.counted |= found.contested
        for one in found.renamed:
            if not one.is_tombstone:
                self.renamed[one.file_id] = (one.path, one.recorded_path)
        self._collect_blobs(found, tombstones)

    def _collect_claims(self, found: Differences) -> set[str]:
        """Paths of the blobs of tombstones among the rows that claim a sidecar."""
        unreadable = set(found.unreadable)
        tombstones = set()
        for path, rows in found.claims.items():
            if path not in unreadable:
                self.rows += rows
            self.counted.update(_live(rows))
            for row in rows:
                if row.state not in HAVE_BYTES:
                    tombstones.add(blob_beside(path))
                else:
                    self.claimed[path] = row.file_id
        return tombstones

    def _collect_blobs(self, found: Differences, tombstones: set[str]) -> None:
        sidecars = {
            blob_beside(one.path): one.path
            for listing in found.listings
            for one in listing.sidecars
        }
        blobs = compare_blobs(sidecars.keys(), found.blobs.sizes.keys())
        self.forms |= blobs.forms
        for path in blobs.missing - tombstones:
            self.doubtful_blobs[sidecars[path]] = ""
        for path in wrong_sizes(found, blobs.forms):
            self.doubtful_blobs[sidecars[path]] = blobs.forms.get(path, path)
        self.orphan_blobs += blobs.orphans
        self._collect_sizes(found, blobs.forms)
        unread = {one.path for one in found.to_read}
        for path, form in blobs.forms.items():
            # Whose sidecar is to be read is judged by what that says.
            if path not in tombstones and sidecars[path] not in unread:
                self._note_renamed(path, form)

    def _collect_sizes(self, found: Differences, forms: Mapping[str, str]) -> None:
        for one in found.to_read:
            path = blob_beside(one.path)
            size = found.blobs.sizes.get(forms.get(path, path), UNKNOWN_SIZE)
            if size != UNKNOWN_SIZE:
                self.listed_sizes[one.path] = size

    def _note_renamed(self, recorded_path: str, path: str) -> None:
        file_id = file_id_in_name(path)
        if file_id is not None:
            self.renamed.setdefault(file_id, (path, recorded_path))


def _live(rows: Iterable[RowSummary]) -> Iterator[str]:
    return (row.file_id for row in rows if row.state in HAVE_BYTES)
