"""Files of the index by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesh.elements.home import has_ended, in_reading_order
from mesh.errors import NotFound
from mesh.file_ids import canonical_file_id
from mesh.follower.rows import replica_of
from mesh.identity.caller import Caller
from mesh.postgres.database import Database
from query_server.search.index import TABLE


class IndexedFiles:
    """Looks files up by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def replicas(self, file_id: str, caller: Caller) -> Sequence[Mapping[str, Any]]:
        """The rows of a file that serve it, in the order in which to ask their elements; empty if
        the index has none.

        Each has `ended`, whether its retention is over: of that the file's element decides, which
        may have been told to keep it longer.

        Raises:
            NotFound: it was deleted and nothing later is known, or it is not for this caller.
        """
        file_id = canonical_file_id(file_id)
        rows = [] if "\0" in file_id else await self._rows(file_id)
        seen = [row for row in rows if caller.may_read(row["namespace"])]
        if rows and not seen:
            raise NotFound(f"no file {file_id[:64]!r} is known")
        known = [replica_of(row) for row in seen]
        if has_ended(known):
            raise NotFound(f"file {file_id[:64]!r} was deleted", reason="FILE_DELETED")
        by_element = {row["storage_element_id"]: row for row in seen}
        return [by_element[one.element_id] for one in in_reading_order(known)]

    async def _rows(self, file_id: str) -> Sequence[Mapping[str, Any]]:
        found = await self._database.fetch(
            "SELECT *, expires_at IS NOT NULL AND NOT legal_hold AND expires_at <= now() AS ended"
            f" FROM {TABLE} WHERE file_id = $1",
            file_id,
        )
        return [dict(row) for row in found]
