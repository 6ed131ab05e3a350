"""Rows encoded by hand are what PostgreSQL makes of those that asyncpg encodes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_server.catalog.binary_rows import encoded, piece
from storage_server.catalog.rows import WRITTEN_COLUMNS, to_values
from storage_server.domain.sidecar import Sidecar
from storage_server.store.port import Identity
from tests.support.services import PostgresProcess
from tests.support.sidecars import any_sidecar

SIGNED = st.integers(-(1 << 63), (1 << 63) - 1)
identities = st.builds(
    Identity, size=SIGNED, mtime_ns=SIGNED, inode=st.integers(0, (1 << 64) - 1), etag=st.just("e")
)
times = st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))
anything = st.lists(
    st.tuples(any_sidecar, identities, times, st.integers(0, (1 << 31) - 1), st.booleans()),
    min_size=1,
    max_size=20,
)


@settings(max_examples=30, deadline=None)
@given(anything)
def test_rows_of_any_sidecars_are_those_that_asyncpg_sends(
    postgres: PostgresProcess, found: list[tuple[Sidecar, Identity, datetime, int, bool]]
) -> None:
    rows = [
        to_values(
            replace(sidecar, file_id=f"{number:05}"),
            identity,
            cache_updated_at=at,
            cache_ttl_hours=hours,
            blob_present=present,
        )
        for number, (sidecar, identity, at, hours, present) in enumerate(found)
    ]
    ours, theirs = asyncio.run(_copied(postgres.url, rows))
    assert ours == theirs


async def _copied(url: str, rows: list[tuple[Any, ...]]) -> tuple[list[Any], list[Any]]:
    columns = list(WRITTEN_COLUMNS)
    connection = await asyncpg.connect(url)
    try:
        for name in ("ours", "theirs"):
            fields = ", ".join(f"{column} {kind}" for column, kind in WRITTEN_COLUMNS.items())
            await connection.execute(f"CREATE TEMP TABLE {name} ({fields})")
        await connection.copy_records_to_table("theirs", records=rows, columns=columns)
        await connection.copy_to_table(
            "ours", source=_pieces([encoded(row) for row in rows]), columns=columns, format="binary"
        )
        ours, theirs = [
            await connection.fetch(f"SELECT * FROM {name} ORDER BY file_id")
            for name in ("ours", "theirs")
        ]
        return ours, theirs
    finally:
        await connection.close()


async def _pieces(rows: list[bytes]) -> Any:
    for number, row in enumerate(rows):
        yield piece([row], first=number == 0, last=number == len(rows) - 1)
