"""Outcomes of cache operations in words."""

from __future__ import annotations

from collections.abc import Iterator

from artstore.v1 import cache_pb2
from artstore_client.cli.as_json import enum_word

_KINDS = (
    ("orphan_attr_count", "orphan_attr_files", "sidecars without a row"),
    ("orphan_cache_count", "orphan_cache_entries", "rows without a sidecar"),
    ("stale_cache_count", "stale_entries", "rows that differ from their sidecar"),
    ("invalid_attr_count", "invalid_attr_files", "invalid sidecars"),
    ("missing_blob_count", "missing_blobs", "files without their blob"),
    ("orphan_blob_count", "orphan_blobs", "blobs without a sidecar"),
    ("expired_cache_count", "expired_entries", "expired rows"),
)


def report_lines(element_id: str, report: cache_pb2.ConsistencyReport) -> Iterator[str]:
    """A verdict, then a line for each kind of finding with its first examples."""
    verdict = "consistent" if report.is_consistent else "INCONSISTENT"
    level = enum_word(cache_pb2.CheckLevel.DESCRIPTOR, report.level)
    yield (
        f"{element_id}  {verdict}  {report.inconsistency_percentage:g} %  "
        f"{report.total_attr_files} sidecars, {report.total_cache_entries} rows  "
        f"({level}, {report.duration_seconds:.3f} s)"
    )
    for count_name, detail_name, words in _KINDS:
        count = getattr(report, count_name)
        if count:
            yield f"  {count} {words}"
            for example in getattr(report.details, detail_name):
                yield f"    {example}"


def rebuild_line(element_id: str, result: cache_pb2.RebuildResult) -> str:
    """What a rebuild did."""
    counts = result.statistics
    seconds = result.duration_seconds
    speed = f", {counts.attr_files_scanned / seconds:.0f} files/s" if seconds > 0 else ""
    errors = f"  {result.error_count} errors" if result.error_count else ""
    return (
        f"{element_id}  {result.operation_type}  {counts.attr_files_scanned} sidecars  "
        f"rows {counts.cache_entries_before} -> {counts.cache_entries_after}  "
        f"+{counts.entries_created} ~{counts.entries_updated} -{counts.entries_deleted}  "
        f"({seconds:.3f} s{speed}){errors}"
    )


def cleanup_line(element_id: str, done: cache_pb2.CleanupExpiredResponse) -> str:
    """What a cleanup did."""
    return (
        f"{element_id}  {done.deleted_count} expired rows removed  ({done.duration_seconds:.3f} s)"
    )
