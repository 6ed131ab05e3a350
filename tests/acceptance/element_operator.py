"""What an operator can do to one element besides calling it: to its tables, and to its store."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from artstore.v1 import types_pb2
from mesh.postgres.urls import with_database
from tests.support.backdoor import Backdoor, LocalBackdoor, S3Backdoor
from tests.support.mesh import MeshProcess
from tests.support.services import S3Process
from tests.support.waiting import wait_until

SIDECAR_SUFFIX = ".attr.json"
# What a repair may set anew although the sidecar is the same.
OWN_TO_THE_ROW = ("cache_updated_at", "sequence")
_YEAR = re.compile(r"\d{4}")


def path_of(file: types_pb2.File) -> str:
    """Return the path of a file's sidecar in its element's store."""
    return f"{file.storage_path}/{file.storage_filename}{SIDECAR_SUFFIX}"


def same(file: types_pb2.File) -> types_pb2.File:
    """Return what of an answer must not change when a row is lost and found."""
    copy = types_pb2.File()
    copy.CopyFrom(file)
    copy.ClearField("cache_updated_at")
    return copy


class Operator:
    """Somebody with the keys to one element's tables and store.

    Args:
        element_id: se-01.
        s3_server: the server of the mesh's bucket, where it has one.
    """

    def __init__(
        self, mesh: MeshProcess, element_id: str, s3_server: S3Process | None = None
    ) -> None:
        self.mesh = mesh
        self.element_id = element_id
        number = element_id.removeprefix("se-")
        self.table = f"storage_elem_{number}_files"
        self._head = f"storage_elem_{number}_feed_head"
        self._prefix = f"storage_element_{number}"
        self._bucket = mesh.environment.get("ARTSTORE_S3_BUCKET", "")
        self._client = s3_server.client() if self._bucket and s3_server is not None else None
        self.store: Backdoor
        if self._client is None:
            self.store = LocalBackdoor(self.folder)
        else:
            self.store = S3Backdoor(self._client, self._bucket, self._prefix)

    @property
    def folder(self) -> Path:
        """The element's folder, where the store is one."""
        return self.mesh.data_dir / self._prefix

    @property
    def is_local(self) -> bool:
        return self._client is None

    # --- tables ----------------------------------------------------------------------

    def connect(self) -> Any:
        """Return an asyncpg connection to be awaited."""
        return asyncpg.connect(self.mesh.file.database_url)

    def sql(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one statement; `{table}` stands for the table of files."""
        return asyncio.run(self._fetch("", query.format(table=self.table), *arguments))

    def wait_until_followed(self) -> None:
        """Wait until registry and index have all changes: a follower that meets one whose row
        is gone reads the file, which puts the row back."""
        cursors = (("artstore_admin", "registry_cursors"), ("artstore_query", "sync_cursors"))

        async def behind() -> bool:
            (head,) = await self._fetch("", f"SELECT seq FROM {self._head}")
            for database, table in cursors:
                asked = f"SELECT sequence FROM {table} WHERE storage_element_id = $1"
                found = await self._fetch(database, asked, self.element_id)
                if not found or found[0]["sequence"] < head["seq"]:
                    return True
            return False

        wait_until(lambda: not asyncio.run(behind()), 20.0, "registry and index have followed")

    async def _fetch(self, database: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
        url = self.mesh.file.database_url
        connection = await asyncpg.connect(with_database(url, database) if database else url)
        try:
            found: list[asyncpg.Record] = await connection.fetch(query, *arguments)
            return found
        finally:
            await connection.close()

    def rows(self) -> dict[str, dict[str, Any]]:
        """All rows by file_id, without what belongs to the row alone."""
        return {
            row["file_id"]: {
                name: value for name, value in row.items() if name not in OWN_TO_THE_ROW
            }
            for row in self.sql("select * from {table}")
        }

    def lose_rows(self, *file_ids: str) -> None:
        """Delete rows, all if none is named."""
        if file_ids:
            self.sql("delete from {table} where file_id = any($1)", list(file_ids))
        else:
            self.sql("delete from {table}")

    def age(self, *file_ids: str, hours: float = 100) -> None:
        """Let rows look as if they had last been verified some hours ago."""
        self.sql(
            "update {table} set cache_updated_at = now() - $2::interval where file_id = any($1)",
            list(file_ids),
            timedelta(hours=hours),
        )

    @contextmanager
    def writes_blocked(self) -> Iterator[Callable[[], None]]:
        """Let whoever writes rows wait, while reads go on.

        Yields a function that returns when somebody waits.
        """
        loop = asyncio.new_event_loop()
        try:
            blocker = loop.run_until_complete(self.connect())
            try:
                loop.run_until_complete(
                    blocker.execute(f"begin; lock table {self.table} in share mode")
                )
                yield lambda: wait_until(self._somebody_waits, 5.0, "a write waits")
            finally:
                loop.run_until_complete(blocker.close())
        finally:
            loop.close()

    def _somebody_waits(self) -> bool:
        return bool(
            self.sql(
                "select from pg_locks where relation = '{table}'::regclass and not granted limit 1"
            )
        )

    # --- store -----------------------------------------------------------------------

    def sidecar(self, file: types_pb2.File) -> dict[str, Any]:
        """What a file's sidecar says."""
        found: dict[str, Any] = json.loads(self.store.read(path_of(file)))
        return found

    def remove_file(self, file: types_pb2.File) -> None:
        """Remove blob and sidecar."""
        self.store.remove(path_of(file))
        self.store.remove(path_of(file).removesuffix(SIDECAR_SUFFIX))

    def remove_files(self) -> None:
        """Remove all blobs and sidecars; what tells that the store is the element's stays."""
        if self._client is None:
            for folder in self.folder.iterdir():
                if _YEAR.fullmatch(folder.name):
                    shutil.rmtree(folder)
            return
        for path in self.stored():
            if _YEAR.match(path):
                self.store.remove(path)

    def stored(self) -> Iterable[str]:
        """Paths of all that is stored in the bucket."""
        assert self._client is not None
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}/"
        )
        for page in pages:
            for found in page.get("Contents", ()):
                yield found["Key"].removeprefix(f"{self._prefix}/")

    # --- log -------------------------------------------------------------------------

    def logged(self, event: str, **fields: str) -> list[dict[str, Any]]:
        """The element's log lines so far with this event and these fields."""
        whole, _, _ = self.mesh.log(self.element_id).rpartition("\n")
        lines: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
        return [
            line
            for line in lines
            if line.get("event") == event
            and all(line.get(name) == value for name, value in fields.items())
        ]
