"""Rows of the file registry, written as its followers do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from artstore.v1.types_pb2 import File, FileState
from mesh.follower import Cursor, ReplicaTable

START = datetime(2026, 1, 1, tzinfo=UTC)


async def put(table: ReplicaTable, element_id: str, *files: File) -> None:
    lead = await table.lead(element_id, seconds=60)
    assert lead is not None
    old = lead.cursor
    new = Cursor("e", old.sequence + len(files), "x")
    changes = [(old.sequence + n, file) for n, file in enumerate(files, 1)]
    await table.apply(element_id, old, Cursor(old.epoch, new.sequence, "x"), files=changes)


def a_file(
    number: int, *, state: str = "ACTIVE", age: int = 0, revision: int = 1, **fields: Any
) -> File:
    file = File(
        file_id=f"file-{number}",
        namespace="default",
        revision=revision,
        state=FileState.Value(f"FILE_STATE_{state}"),
        **fields,
    )
    file.created_at.FromDatetime(START + timedelta(seconds=number))
    file.updated_at.FromDatetime(START + timedelta(days=1, seconds=age))
    return file
