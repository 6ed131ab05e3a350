"""The file registry as admin reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from mesh.elements.home import has_ended, in_reading_order, latest, listed_in_sql
from mesh.errors import NotFound, Unavailable
from mesh.file_ids import canonical_file_id
from mesh.follower.rows import replica_of
from mesh.identity.caller import ALL_NAMESPACES, Caller
from mesh.postgres.database import Database

TABLE = "file_registry"
CURSORS = "registry"

# Of counting a million files.
COUNT_SECONDS = 10.0

Row = Mapping[str, Any]

# SQL: the retention of a row has ended; never NULL. Nothing has to run for a file to expire.
_ENDED = "({0}.expires_at IS NOT NULL AND NOT {0}.legal_hold AND {0}.expires_at <= now())"


class Unread(Protocol):
    """Ids of elements that may have files which the registry lacks."""

    async def __call__(self, *, silent: bool = True) -> Sequence[str]:
        """
        Args:
            silent: False leaves out those that are silent now and were read whole before.

        Raises:
            Unavailable: the database is down, or the elements are not known yet.
        """


class FileRegistry:
    """Files by id and in order. A file is seen at its home, and where it was while no later one
    is known (`mesh.elements.home`).

    Attributes:
        unread: what may be missing in it.
    """

    def __init__(self, database: Database, unread: Unread) -> None:
        self._database = database
        self.unread = unread

    async def replicas(
        self, file_id: str, caller: Caller, *, show_expired: bool = False
    ) -> Sequence[Row]:
        """All rows of a file in the order in which readers ask, then those that they do not. Only
        the first says whether it has expired.

        Args:
            show_expired: a file that has expired as well.

        Raises:
            NotFound: no replica is visible to the caller; reason FILE_DELETED for a tombstone and
                nothing later, EXPIRED for a file that has expired.
            Unavailable: it is not registered, and an element that was not read may have it; or
                it is registered where it left, and not yet where it went.
        """
        rows: Sequence[Any] = []
        file_id = canonical_file_id(file_id)
        if "\0" not in file_id:
            rows = await self._database.fetch(
                f"SELECT t.*, {_ENDED.format('t')} AS ended FROM {TABLE} t WHERE file_id = $1"
                " ORDER BY storage_element_id",
                file_id,
            )
        if not rows and (unread := await self.unread()):
            raise Unavailable(
                f"file {file_id[:64]!r} is not registered, and may be on a storage element that"
                f" is silent or was not read yet: {', '.join(unread)}",
                reason="ELEMENT_UNAVAILABLE",
                metadata={"storage_element_ids": ",".join(unread)},
            )
        if not rows or not caller.may_read(rows[0]["namespace"]):
            raise NotFound(f"no file {file_id[:64]!r} is registered")
        ordered = _in_reading_order(file_id, rows)
        if ordered[0]["ended"] and not show_expired:
            raise NotFound(f"the retention of file {file_id[:64]!r} has ended", reason="EXPIRED")
        return ordered

    async def is_erased(self, file_id: str) -> bool:
        """Whether an element has it on record as erased."""
        found: bool = await self._database.fetchval(
            f"SELECT EXISTS (SELECT FROM {TABLE} WHERE file_id = $1 AND state = 'erased')",
            canonical_file_id(file_id),
        )
        return found

    async def held_where_erased(self, file_id: str) -> Row | None:
        """A row of an element that holds a file which was erased elsewhere; None for none."""
        found = await self._database.fetchrow(
            f"SELECT t.* FROM {TABLE} t WHERE file_id = $1 AND legal_hold AND state = 'active'"
            f" AND EXISTS (SELECT FROM {TABLE} e WHERE e.file_id = $1 AND e.state = 'erased')"
            " ORDER BY storage_element_id LIMIT 1",
            canonical_file_id(file_id),
        )
        return None if found is None else dict(found)

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

        A file whose home has expired is not there, whatever other rows of it there are.

        Args:
            limit: at most so many.
            after: created_at and file_id; only files after these.
        """
        everything = ALL_NAMESPACES in caller.namespaces_read
        readable = None if everything else sorted(caller.namespaces_read)
        shown = (
            f"{listed_in_sql('t', TABLE)} AND NOT {_ENDED.format('t')}"
            " AND ($1::text[] IS NULL OR namespace = ANY($1::text[]))"
            " AND ($2 = '' OR storage_element_id = $2) AND ($3 = '' OR namespace = $3)"
        )
        moment, file_id = after or (datetime.fromisoformat("0001-01-01T00:00:00+00:00"), "")
        rows = await self._database.fetch(
            f"SELECT * FROM {TABLE} t WHERE {shown} AND (created_at, file_id) > ($4, $5)"
            f" ORDER BY created_at, file_id LIMIT {limit}",
            readable,
            element_id,
            namespace,
            moment,
            file_id,
        )
        total = await self._database.fetchval(
            f"SELECT count(*) FROM {TABLE} t WHERE {shown}",
            readable,
            element_id,
            namespace,
            timeout=COUNT_SECONDS,
        )
        return [dict(row) for row in rows], total


def _in_reading_order(file_id: str, rows: Sequence[Row]) -> Sequence[Row]:
    by_element = {row["storage_element_id"]: row for row in rows}
    known = [replica_of(row) for row in rows]
    if has_ended(known):
        raise NotFound(f"file {file_id[:64]!r} was deleted", reason="FILE_DELETED")
    order = [one.element_id for one in in_reading_order(known)]
    if not order:
        last = latest(known)
        where = (last.moved_to if last is not None else "") or "another element"
        raise Unavailable(
            f"file {file_id[:64]!r} is registered only where it left; it went to {where}, of which"
            " this is not known yet",
            reason="ELEMENT_UNAVAILABLE",
            metadata={"storage_element_ids": last.moved_to if last is not None else ""},
        )
    rest = [name for name in by_element if name not in order]
    return [dict(by_element[name]) for name in (*order, *rest)]
