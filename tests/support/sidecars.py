"""Sidecars for tests: one, and any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from storage_server.domain.file_id import new_file_id
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def a_sidecar(**fields: Any) -> Sidecar:
    values: dict[str, Any] = {
        "file_id": new_file_id(AT),
        "original_filename": "report.pdf",
        "storage_filename": "report_alice_20260102T030405_x.pdf",
        "storage_path": "2026/01/02/03",
        "size_bytes": 5,
        "sha256": "ab" * 32,
        "crc32c": 7,
        "created_at": AT,
        "created_by": "alice",
        "updated_at": AT,
        "retention_days": 30,
        "expires_at": AT + timedelta(days=30),
    }
    return Sidecar(**{**values, **fields})


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=12
).filter(lambda name: name not in {".", ".."})
times = st.datetimes(
    min_value=datetime(1970, 1, 1), max_value=datetime(9998, 12, 30), timezones=st.just(UTC)
)
int64 = st.integers(0, (1 << 63) - 1)

any_sidecar = st.builds(
    Sidecar,
    file_id=st.uuids().map(str),
    revision=st.integers(1, (1 << 63) - 1),
    state=st.sampled_from(FileState),
    namespace=texts,
    original_filename=texts,
    storage_filename=names,
    storage_path=st.just("2026/01/02/03"),
    size_bytes=int64,
    content_type=texts,
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    crc32c=st.none() | st.integers(0, (1 << 32) - 1),
    created_at=times,
    created_by=texts,
    updated_at=times,
    request_id=texts,
    description=texts,
    version=texts,
    tags=st.lists(texts, max_size=4).map(tuple),
    attributes=st.dictionaries(texts, texts, max_size=4),
    retention_policy=st.sampled_from(RetentionPolicy),
    retention_days=st.none() | st.integers(0, (1 << 31) - 1),
    expires_at=st.none() | times,
    finalized_at=st.none() | times,
    finalized_to=texts,
    legal_hold=st.booleans(),
    home_since=st.none() | int64,
    moved_to=texts,
    copies=st.none() | st.integers(1, 5),
    updated_by=texts,
    deleted_at=st.none() | times,
    unknown=st.just("") | st.just('"x-note" : {"b":[1, 2.50],"a":"\\u00e9"},"y":null'),
)
