"""Outcomes of cache operations in words."""

from __future__ import annotations

from collections.abc import Iterator

from artstore.v1 import cache_pb2
from artstore_client.cli.as_json import enum_word
from artstore_client.cli.progress import operation_word

_KINDS = (
    (
        "orphan_attr_count",
        "orphan_attr_files",
        "sidecars without a row",
        "they are read all the same; `artstore cache incremental {element}` adds the rows",
    ),
    (
        "orphan_cache_count",
        "orphan_cache_entries",
        "rows without a sidecar",
        "these files are gone from the store (an older backup? removed by hand?): put blob and "
        "sidecar back, or let `artstore cache rebuild {element}` drop the rows",
    ),
    (
        "stale_cache_count",
        "stale_entries",
        "rows that differ from their sidecar",
        "the sidecar counts; `artstore cache incremental {element}` corrects the rows",
    ),
    (
        "invalid_attr_count",
        "invalid_attr_files",
        "invalid sidecars",
        "no repair touches them: mend each as is said of it, or put it back from a backup",
    ),
    (
        "missing_blob_count",
        "missing_blobs",
        "files without their blob",
        "no repair brings bytes back: put the blob back from a backup, or remove the file by "
        "`artstore rm`",
    ),
    (
        "orphan_blob_count",
        "orphan_blobs",
        "blobs without a sidecar",
        "no file needs them: put the sidecar back from a backup, or remove the blob",
    ),
    (
        "renamed_count",
        "renamed_files",
        "files under another form of their name",
        "they are found by their id and nothing is lost; "
        "`artstore cache rebuild {element} --restore-names` gives them their names back",
    ),
    (
        "expired_cache_count",
        "expired_entries",
        "expired rows",
        "nothing is to be done: each is refreshed when it is read",
    ),
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
    for count_name, detail_name, words, _ in _KINDS:
        count = getattr(report, count_name)
        if count:
            yield f"  {count} {words}"
            for example in getattr(report.details, detail_name):
                yield f"    {example}"


def advice_lines(element_id: str, report: cache_pb2.ConsistencyReport) -> Iterator[str]:
    """What each kind of finding is for the files, and what to do about it."""
    for count_name, _, words, advice in _KINDS:
        if getattr(report, count_name):
            yield f"{words}: {advice.format(element=element_id)}"


def rebuild_line(element_id: str, result: cache_pb2.RebuildResult) -> str:
    """What a rebuild did."""
    counts = result.statistics
    seconds = result.duration_seconds
    speed = f", {counts.attr_files_scanned / seconds:.0f} files/s" if seconds > 0 else ""
    names = f"  {counts.names_restored} names restored" if counts.names_restored else ""
    errors = f"  {result.error_count} errors" if result.error_count else ""
    kind = operation_word(result.operation_kind)
    return (
        f"{element_id}  {kind}  {counts.attr_files_scanned} sidecars  "
        f"rows {counts.cache_entries_before} -> {counts.cache_entries_after}  "
        f"+{counts.entries_created} ~{counts.entries_updated} -{counts.entries_deleted}  "
        f"({seconds:.3f} s{speed}){names}{errors}"
    )


def cleanup_line(element_id: str, done: cache_pb2.CleanupExpiredResponse) -> str:
    """What a cleanup did."""
    return (
        f"{element_id}  {done.deleted_count} expired rows removed  ({done.duration_seconds:.3f} s)"
    )
