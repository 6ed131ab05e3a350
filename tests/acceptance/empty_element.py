"""What holds of an element with nothing in it."""

from __future__ import annotations

from artstore.v1 import cache_pb2
from tests.support.outside import Outside

LEVELS = (
    cache_pb2.CHECK_LEVEL_QUICK,
    cache_pb2.CHECK_LEVEL_FULL,
    cache_pb2.CHECK_LEVEL_DEEP,
)


def assert_all_zero(outside: Outside, element: str) -> None:
    """An element with nothing in it is consistent, and no repair finds anything to do."""
    for level in LEVELS:
        report = outside.check(element, level)
        assert report.is_consistent
        assert report.inconsistency_percentage == 0
        for name, value in report.ListFields():
            if name.name.endswith("_count") or name.name.startswith("total_"):
                assert value == 0, name.name
        assert report.details == cache_pb2.ConsistencyDetails()
        assert report.storage_element_id == element
    for result in (outside.rebuild(element), outside.incremental(element)):
        assert result.statistics == cache_pb2.RebuildStatistics()
        assert (result.error_count, list(result.errors)) == (0, [])
    assert outside.cleanup(element) == 0
