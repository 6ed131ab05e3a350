"""A record becomes the message that its row and its sidecar would."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from artstore.v1.types_pb2 import File
from storage_server.catalog.rows import WRITTEN_COLUMNS, StoredRow, from_record, to_values
from storage_server.domain.sidecar import Sidecar
from storage_server.rpc.messages import file_message
from storage_server.rpc.told import tell_file
from storage_server.store.port import Identity
from storage_server.writing.view import of_row
from tests.support.sidecars import any_sidecar

SEEN_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
IDENTITY = Identity(size=1, mtime_ns=2, inode=3, etag="")
# What only somebody who writes into the database leaves there.
_DAMAGE = st.none() | st.sampled_from(
    [("attributes", '{"a": 1, "b": null, "c": {"d": []}}'), ("tags", ["a", None, "b"])]
)


def _record(sidecar: Sidecar, ttl_hours: int) -> Any:
    values = to_values(sidecar, IDENTITY, cache_updated_at=SEEN_AT, cache_ttl_hours=ttl_hours)
    return dict(zip(WRITTEN_COLUMNS, values, strict=True)) | {"sequence": 7}


@given(any_sidecar, st.integers(0, 200), st.integers(0, 300), _DAMAGE)
def test_a_record_is_told_as_its_row_is(
    sidecar: Sidecar, ttl_hours: int, hours: int, damage: tuple[str, Any] | None
) -> None:
    record = _record(sidecar, ttl_hours)
    if damage is not None:
        record[damage[0]] = damage[1]
    now = SEEN_AT + timedelta(hours=hours)
    told = File()
    tell_file(told, record, "se-01", now)
    assert told == file_message(of_row(from_record(record), now), "se-01")


@given(any_sidecar)
def test_a_row_that_is_put_together_late_is_the_same_row(sidecar: Sidecar) -> None:
    record = _record(sidecar, 24)
    late, row = StoredRow(record), from_record(record)
    assert late == row
    assert (late.sidecar, late.sequence, late.path) == (row.sidecar, 7, row.path)
    assert late.cache_expired(SEEN_AT) == row.cache_expired(SEEN_AT)
    assert replace(late, sequence=8) == replace(row, sequence=8)
