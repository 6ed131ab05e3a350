"""The whole mesh checked: what the registry shows is looked at on the elements, mended where the
sidecars say how, and put on record where they do not.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from admin_server.clock import Clock
from admin_server.findings import candidates
from admin_server.findings.judging import FindingKind, Found, judge
from admin_server.findings.table import FindingTable
from admin_server.life.looking import Looked
from admin_server.life.settling import Settling
from artstore.v1.types_pb2 import File
from mesh.errors import ArtStoreError
from mesh.operations.operation import Operation
from mesh.postgres.database import Database

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check came to.

    Attributes:
        files: that were looked at.
        counts: files of each kind of finding, those that it mended counted.
        complete: everybody answered, and nothing can have been missed.
    """

    files: int
    counts: Mapping[FindingKind, int]
    complete: bool


@dataclass(frozen=True, slots=True)
class MeshCheck:
    """Checks all files.

    Attributes:
        registry: the registry's database.
        unread: elements that may have files which it lacks.
    """

    registry: Database
    settling: Settling
    table: FindingTable
    unread: Callable[[], Awaitable[Sequence[str]]]
    now: Clock

    async def run(self, operation: Operation) -> Checked:
        """Look at all files, and mend what has a next step.

        Raises:
            Unavailable: admin's database is down or silent.
        """
        run, began = uuid.uuid4().hex, self.now()
        complete = not await self.unread()
        counts: Counter[FindingKind] = Counter()
        files = 0
        operation.begin("comparing", await candidates.count(self.registry))
        async with aclosing(candidates.slices(self.registry)) as found:
            async for one in found:
                before = counts.total()
                for file_id in one.suspicious:
                    wrong, sure = await self._look_at(file_id, run)
                    counts.update(dict.fromkeys(wrong, 1))
                    complete = complete and sure
                files += one.files
                operation.advance(one.files, counts.total() - before)
        if complete:
            await self.table.forget_others(run, before=began)
        return Checked(files, counts, complete)

    async def _look_at(self, file_id: str, run: str) -> tuple[frozenset[FindingKind], bool]:
        """(what was wrong or is; whether that is certain).

        Two homes are on record also where the earlier has yielded: what its sidecar said beyond the
        later one is kept aside by its element, for whoever wants to see it.
        """
        try:
            looked = await self.settling.look(file_id)
            first = self._judged(looked)
            settled = await self.settling.settle(file_id)
            looked, sure = settled.looked, True
        except ArtStoreError as exc:
            _log.warning("not settled", file_id=file_id, reason=exc.message)
            looked, sure = await self.settling.look(file_id), False
            first = self._judged(looked)
        last = self._judged(looked)
        yielded = [one for one in first if one.kind is FindingKind.TWO_HOMES]
        if yielded and all(one.kind is not FindingKind.TWO_HOMES for one in last):
            last = (*last, _yielded(yielded[0]))
        await self.table.put(file_id, last, run=run)
        kinds = frozenset(one.kind for one in last)
        return kinds, sure and looked.seen.everybody

    def _judged(self, looked: Looked) -> Sequence[Found]:
        if not looked.files:
            return ()
        home = looked.home
        file = looked.files[home.element_id if home else min(looked.files)]
        return judge(
            looked.seen,
            copies=file.copies if file.HasField("copies") else 1,
            created_at=_created_at(file),
            now=looked.decided_at,
        )


def _created_at(file: File) -> datetime:
    return file.created_at.ToDatetime(tzinfo=UTC)


def _yielded(found: Found) -> Found:
    return Found(
        found.kind,
        found.element_ids,
        "they said that they were the home; the later one is, and what the other said beyond it is"
        " in .quarantine there",
    )
