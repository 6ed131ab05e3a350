"""Files of the index by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesh.errors import NotFound
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import Caller
from mesh.postgres.database import Database
from query_server.search.index import TABLE


class IndexedFiles:
    """Looks files up by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def replicas(self, file_id: str, caller: Caller) -> Sequence[Mapping[str, Any]]:
        """The rows of a file that serve it, the best one first; empty if the index has none.

        Raises:
            NotFound: it was deleted, or is not for this caller.
        """
        file_id = canonical_file_id(file_id)
        rows = [] if "\0" in file_id else await self._rows(file_id)
        seen = [row for row in rows if caller.may_read(row["namespace"])]
        if rows and not seen:
            raise NotFound(f"no file {file_id[:64]!r} is known")
        serving = [row for row in seen if row["state"] != "deleted"]
        if seen and not serving:
            raise NotFound(f"file {file_id[:64]!r} was deleted", reason="FILE_DELETED")
        return serving

    async def _rows(self, file_id: str) -> Sequence[Mapping[str, Any]]:
        found = await self._database.fetch(
            f"SELECT * FROM {TABLE} WHERE file_id = $1"
            " ORDER BY state = 'active' DESC, updated_at DESC",
            file_id,
        )
        return [dict(row) for row in found]
