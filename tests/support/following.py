"""Followers of one real element, each with a table of its own, that tests break on purpose."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import grpc

from mesh.follower import FollowerFleet, ReplicaTable, SyncStatus, process_name
from mesh.follower.rows import CONTENT
from mesh.follower.schema import create_statements
from mesh.postgres.database import Database
from storage_server.settings import StorageSettings
from tests.support.storage_rig import Node
from tests.support.waiting import until

TABLE = "replicas"


class Killed(Exception):
    """What a follower dies of: nothing that it knows how to handle."""


class FailingTable(ReplicaTable):
    """Dies before and after each of its calls, at the `fatal`-th time that it gets there."""

    METHODS = (
        "lead",
        "note_contact",
        "apply",
        "begin_snapshot",
        "apply_snapshot",
        "seen",
        "unseen",
        "apply_unseen",
        "finish_snapshot",
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.steps: Counter[str] = Counter()
        self.fatal = 0
        self.deaths: set[str] = set()
        for name in self.METHODS:
            setattr(self, name, self._wrapped(name, getattr(self, name)))

    def _wrapped(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            self._step(f"before {name}")
            answer = await method(*arguments, **options)
            self._step(f"after {name}")
            return answer

        return call

    def _step(self, what: str) -> None:
        self.steps[what] += 1
        if self.steps[what] == self.fatal:
            self.deaths.add(what)
            raise Killed(what)


class Following:
    """One process that follows: a fleet over a table that others may share."""

    def __init__(self, node: Node, database: Database, prefix: str, **options: Any) -> None:
        self.node = node
        self.endpoint = f"localhost:{node.server.port}"
        self.element_id = StorageSettings(**node.rig.values).element_id
        self.table = FailingTable(database, table=TABLE, prefix=prefix, leader=process_name())
        self.refusals = 0
        self.token = node.token(role="SERVICE")

        async def metadata(element_id: str) -> Any:
            return (("authorization", f"Bearer {self.token}"),)

        def refused(element_id: str) -> None:
            self.refusals += 1
            self.token = node.token(role="SERVICE")

        self.fleet = FollowerFleet(
            table=self.table,
            elements=lambda: {self.element_id: self.endpoint},
            open_channel=grpc.aio.insecure_channel,
            metadata=metadata,
            refused=refused,
            **options,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Following]:
        task = asyncio.create_task(self.fleet.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def status(self) -> SyncStatus | None:
        for status in await self.table.statuses():
            if status.element_id == self.element_id:
                return status
        return None

    async def caught_up(self) -> bool:
        head = await element_head(self.node)
        status = await self.status()
        return (
            status is not None
            and status.complete
            and (status.cursor.epoch, status.cursor.sequence) == head
        )

    async def agrees(self, seconds: float = 15.0) -> None:
        """Wait until everything is applied, and compare all rows."""
        await until(self.caught_up, seconds)
        assert await replica_rows(self.table) == await element_rows(self.node)


def tables_of(node: Node) -> Any:
    return StorageSettings(**node.rig.values).tables


async def on_element(node: Node, query: str, *arguments: object) -> list[Any]:
    connection = await asyncpg.connect(node.rig.values["database_url"])
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def element_head(node: Node) -> tuple[str, int]:
    (row,) = await on_element(node, f"SELECT epoch, seq FROM {tables_of(node).feed_head}")
    return row["epoch"], row["seq"]


def plain(row: Any) -> tuple[Any, ...]:
    values = (row[name] for name in ("file_id", *CONTENT))
    return tuple(tuple(v) if isinstance(v, list) else v or None for v in values)


async def element_rows(node: Node) -> set[tuple[Any, ...]]:
    """Files of the element; tombstones may come and go without a word."""
    query = f"SELECT * FROM {tables_of(node).files} WHERE state <> 'deleted'"
    return {plain(row) for row in await on_element(node, query)}


async def replica_rows(table: ReplicaTable) -> set[tuple[Any, ...]]:
    rows = await table.database.fetch(f"SELECT * FROM {table.table} WHERE state <> 'deleted'")
    return {plain(row) for row in rows}


async def make_tables(database: Database, prefix: str) -> None:
    async with database.transaction() as tx:
        for statement in create_statements(TABLE, prefix):
            await tx.execute(statement)
