"""The registry as its followers write it: they note files of which a second home turns up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from admin_server.registry.registry import CURSORS, TABLE
from artstore.v1.types_pb2 import FileState
from mesh.follower import ReplicaTable, process_name
from mesh.follower.writing import APPLY_SECONDS, Numbered
from mesh.postgres.database import Database

_HOMES = frozenset({FileState.FILE_STATE_ACTIVE, FileState.FILE_STATE_DELETED})
# Two that are written at the same moment don't see each other: the sweep's walk comes to them.
_NOTE = f"""
    INSERT INTO unsettled (file_id)
    SELECT DISTINCT file_id FROM {TABLE}
    WHERE file_id = ANY($1::text[]) AND storage_element_id <> $2 AND state IN ('active', 'deleted')
    ORDER BY file_id
    ON CONFLICT (file_id) DO UPDATE SET due_at = excluded.due_at
"""


class RegistryReplicas(ReplicaTable):
    """The rows of the registry; whose home is on two elements is noted for the sweep."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, table=TABLE, prefix=CURSORS, leader=process_name())

    async def _after(
        self,
        tx: asyncpg.Connection[Any],
        element_id: str,
        files: Sequence[Numbered],
        file_ids: Sequence[str],
    ) -> None:
        homes = [file.file_id for _, file in files if file.state in _HOMES]
        if homes:
            await tx.execute(_NOTE, homes, element_id, timeout=APPLY_SECONDS)
