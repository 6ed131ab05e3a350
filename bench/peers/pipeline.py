"""The least that a rebuild must do, in one process: scan, read, parse, COPY, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import asyncpg
import orjson

from bench.population import SIDECAR_SUFFIX

TABLE = "bench_pipeline"
ROWS_AT_ONCE = 10_000


def scan(root: Path) -> int:
    """List every folder and look at each of its files; how many there are. Blocks."""
    found = 0
    folders = [os.fspath(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    found += 1
    return found


async def pipeline(root: Path, database_url: str) -> int:
    """Put each member of each sidecar into a column of a table without an index; how many rows.

    Nothing else shares the loop that it blocks.
    """
    database = await asyncpg.connect(database_url)
    try:
        rows = _rows(root)
        first = next(rows)
        columns = [f"c{number}" for number in range(len(first))]
        declared = ", ".join(f"{column} text" for column in columns)
        await database.execute(f"DROP TABLE IF EXISTS {TABLE}; CREATE TABLE {TABLE} ({declared})")
        batch, copied = [first, *islice(rows, ROWS_AT_ONCE - 1)], 0
        while batch:
            await database.copy_records_to_table(TABLE, records=batch, columns=columns)
            copied += len(batch)
            batch = list(islice(rows, ROWS_AT_ONCE))
        await database.execute(f"DROP TABLE {TABLE}")
        return copied
    finally:
        await database.close()


def _rows(root: Path) -> Iterator[tuple[str | None, ...]]:
    folders = [os.fspath(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                entry.stat(follow_symlinks=False)
                if entry.name.endswith(SIDECAR_SUFFIX):
                    yield _row(entry.path)


def _row(path: str) -> tuple[str | None, ...]:
    fd = os.open(path, os.O_RDONLY)
    try:
        # Sidecars take at most 64 KiB.
        members = orjson.loads(os.read(fd, 65536))
    finally:
        os.close(fd)
    return tuple(
        value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
        for value in members.values()
    )
