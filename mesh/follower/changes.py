"""Writing the tail's changes into the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

import structlog

from artstore.v1 import changes_pb2
from mesh.follower.cursor import Cursor, cursor_of
from mesh.follower.lag import SET_ASIDE
from mesh.follower.lookups import FileLookups
from mesh.follower.replicas import ReplicaTable
from mesh.follower.writing import POISON, Numbered

log = structlog.get_logger("mesh.follower")


class ChangeWriter:
    """Of one element.

    Attributes:
        dropped: collects the ids that may have been removed, while it is a set.
    """

    def __init__(self, element_id: str, table: ReplicaTable, files: FileLookups) -> None:
        self._element_id = element_id
        self._table = table
        self._files = files
        self.dropped: set[str] | None = None

    async def write(self, cursor: Cursor, changes: Sequence[changes_pb2.Change]) -> Cursor:
        """Write what follows `cursor`; the cursor then.

        A change that cannot be written is set aside, and those around it are written.
        """
        end = changes[-1]
        new = cursor_of(end.cursor)
        try:
            await self._write_together(cursor, new, changes)
            return new
        except POISON as error:
            if len(changes) == 1:
                await self._set_aside(cursor, new, end.file_id, error)
                return new
        middle = len(changes) // 2
        return await self.write(await self.write(cursor, changes[:middle]), changes[middle:])

    async def _write_together(
        self, cursor: Cursor, new: Cursor, changes: Sequence[changes_pb2.Change]
    ) -> None:
        last: dict[str, changes_pb2.Change] = {change.file_id: change for change in changes}
        removable = {file_id for file_id, change in last.items() if _may_be_gone(change)}
        files: list[Numbered] = []
        asked: list[str] = []
        purged: list[str] = []
        for file_id, change in last.items():
            if change.kind == changes_pb2.CHANGE_KIND_PURGED:
                purged.append(file_id)
            elif _lacks_content(change):
                asked.append(file_id)
            else:
                files.append((change.position, change.file))
        if self.dropped is not None:
            self.dropped.update(removable)
        answers = await self._files.look_up(asked)
        files.extend((new.sequence, file) for file in answers.found)
        await self._table.apply(
            self._element_id,
            cursor,
            new,
            files=files,
            removed=[*purged, *(file_id for file_id in answers.gone if file_id in removable)],
            changed_at=changes[-1].changed_at.ToDatetime(tzinfo=UTC),
        )

    async def _set_aside(self, old: Cursor, new: Cursor, file_id: str, error: Exception) -> None:
        await self._table.set_aside(self._element_id, old, new, file_id, error)
        SET_ASIDE.labels(self._element_id).inc()
        log.warning(
            "a change cannot be taken over",
            element=self._element_id,
            file_id=file_id,
            reason=type(error).__name__,
        )


def _lacks_content(change: changes_pb2.Change) -> bool:
    """It says which file, not what the file is like now: its row went since, or was dropped."""
    dropped = change.kind == changes_pb2.ChangeKind.CHANGE_KIND_DROPPED
    return dropped or not change.HasField("file")


def _may_be_gone(change: changes_pb2.Change) -> bool:
    """Whether NOT_FOUND is believed.

    Of other changes it proves nothing: the row may have been cleaned, and a file whose id
    tells no folder (of an adopted store) is found by its row only.
    """
    return _lacks_content(change) and change.kind in (
        changes_pb2.ChangeKind.CHANGE_KIND_DROPPED,
        changes_pb2.ChangeKind.CHANGE_KIND_DELETED,
    )
