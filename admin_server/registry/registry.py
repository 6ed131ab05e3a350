"""The file registry as admin reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from mesh.errors import NotFound, Unavailable
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import ALL_NAMESPACES, Caller
from mesh.postgres.database import Database

TABLE = "file_registry"
CURSORS = "registry"

# Of counting a million files.
COUNT_SECONDS = 10.0

Row = Mapping[str, Any]


class FileRegistry:
    """Files by id and in order. A file is visible while any replica of it is active or moved.

    Args:
        unread: ids of elements that may have files which the registry lacks.
    """

    def __init__(self, database: Database, unread: Callable[[], Awaitable[Sequence[str]]]) -> None:
        self._database = database
        self._unread = unread

    async def replicas(self, file_id: str, caller: Caller) -> Sequence[Row]:
        """All rows of a file, the one that serves it first.

        Raises:
            NotFound: no replica is visible to the caller; reason FILE_DELETED for a tombstone.
            Unavailable: it is not registered, and an element that was not read may have it.
        """
        rows = []
        file_id = canonical_file_id(file_id)
        if "\0" not in file_id:
            rows = await self._database.fetch(
                f"SELECT * FROM {TABLE} WHERE file_id = $1"
                " ORDER BY state = 'active' DESC, state = 'moved' DESC, updated_at DESC",
                file_id,
            )
        if not rows and (unread := await self._unread()):
            raise Unavailable(
                f"file {file_id[:64]!r} is not registered, and may be on a storage element that"
                f" is silent or was not read yet: {', '.join(unread)}",
                reason="ELEMENT_UNAVAILABLE",
                metadata={"storage_element_ids": ",".join(unread)},
            )
        if not rows or not caller.may_read(rows[0]["namespace"]):
            raise NotFound(f"no file {file_id[:64]!r} is registered")
        if rows[0]["state"] == "deleted":
            raise NotFound(f"file {file_id[:64]!r} was deleted", reason="FILE_DELETED")
        return [dict(row) for row in rows]

    async def list_files(
        self,
        caller: Caller,
        *,
        element_id: str,
        namespace: str,
        limit: int,
        after: tuple[datetime, str] | None,
    ) -> tuple[Sequence[Row], int]:
        """(files that the caller may read, oldest first; how many there are in all).

        A file that moves from one element to another has two replicas for a moment: its row is
        that of the replica that serves it.

        Args:
            limit: at most so many.
            after: created_at and file_id; only files after these.
        """
        everything = ALL_NAMESPACES in caller.namespaces_read
        readable = None if everything else sorted(caller.namespaces_read)
        visible = (
            "state <> 'deleted' AND ($1::text[] IS NULL OR namespace = ANY($1::text[]))"
            " AND ($2 = '' OR storage_element_id = $2) AND ($3 = '' OR namespace = $3)"
        )
        best = (
            f"NOT EXISTS (SELECT FROM {TABLE} o WHERE o.file_id = t.file_id"
            " AND o.state <> 'deleted' AND ($2 = '' OR o.storage_element_id = $2)"
            " AND (o.state = 'active', o.updated_at, o.storage_element_id)"
            " > (t.state = 'active', t.updated_at, t.storage_element_id))"
        )
        moment, file_id = after or (datetime.fromisoformat("0001-01-01T00:00:00+00:00"), "")
        rows = await self._database.fetch(
            f"SELECT * FROM {TABLE} t WHERE {visible} AND {best}"
            " AND (created_at, file_id) > ($4, $5)"
            f" ORDER BY created_at, file_id LIMIT {limit}",
            readable,
            element_id,
            namespace,
            moment,
            file_id,
        )
        total = await self._database.fetchval(
            f"SELECT count(DISTINCT file_id) FROM {TABLE} WHERE {visible}",
            readable,
            element_id,
            namespace,
            timeout=COUNT_SECONDS,
        )
        return [dict(row) for row in rows], total
