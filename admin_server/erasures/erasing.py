"""Erasing a file: the home first, then a second witness, then every other element: also one without
a sidecar of it may have an upload's header, bytes on their way or what it has set aside.

Whether it may be erased is decided by the sidecars that answered. Once the home says that it is
erased nothing brings the file back: whatever else is found of it is erased by the same steps that
finish everything else, also when admin's tables were lost in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace

import structlog

from admin_server.elements.registered import RegisteredElements
from admin_server.erasures.operations import Shown
from admin_server.erasures.table import Erasure, ErasureTable
from admin_server.life import stepping
from admin_server.life.looking import Looked, silence
from admin_server.life.next_steps import erasure
from admin_server.life.seen import HOMES, MAY_BECOME_HOME, CopyState, Seen
from admin_server.life.settling import Settling
from admin_server.life.steps import Erase, Step
from mesh.concurrency.bell import Bell
from mesh.contract import MAX_REASON_BYTES
from mesh.errors import (
    Aborted,
    ArtStoreError,
    InvalidArgument,
    LegallyHeld,
    NotFound,
    Unavailable,
)
from mesh.file_ids import canonical_file_id, is_file_id, time_in
from mesh.identity.caller import ALL_NAMESPACES, Caller
from mesh.operations import Operation, require_operation_id

POLL_SECONDS = 2.0
# A file is changed by its user between a look and a step that often.
_LOOKS = 5
_MAY_BE_HOME = frozenset({"active", "deleted", "copy", "incoming"})

_log = structlog.stdlib.get_logger(__name__)

Tell = Callable[[str, Collection[str], Collection[str]], Awaitable[None]]
"""Of a file, the elements that have it on record as erased and those that hold it: has the latter
be a finding, and forgets all other findings of it. Unavailable while the database is down.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an erasure has come to.

    Attributes:
        element_ids: elements that have it on record.
    """

    operation: Operation
    element_ids: Sequence[str]


class Erasures:
    """Erases files, and finishes what was begun; run `run` in the background.

    Args:
        shown: the operations that tell what remains.
        tell: what ADMIN is told of each.
    """

    def __init__(
        self,
        elements: RegisteredElements,
        settling: Settling,
        table: ErasureTable,
        shown: Shown,
        tell: Tell,
    ) -> None:
        self._elements = elements
        self._settling = settling
        self._table = table
        self._shown = shown
        self._tell = tell
        self._wake = Bell()

    async def erase(self, file_id: str, reason: str, operation_id: str, caller: Caller) -> Outcome:
        """Erase; one that is erased already is answered as it is.

        Raises:
            InvalidArgument: no id of a file, no reason, or too long a one.
            NotFound: the caller may not read its namespace, or nobody knows it and the caller does
                not reach all namespaces.
            PermissionDenied: the caller may not write to its namespace.
            FailedPrecondition: it is held (reason LEGAL_HOLD).
            Unavailable: its home, or everybody who could be the second witness, is silent; or the
                home is being changed. It may be erased already.
        """
        file_id = canonical_file_id(file_id)
        if not is_file_id(file_id):
            raise InvalidArgument("no id of a file", field="file_id")
        if not reason or len(reason.encode()) > MAX_REASON_BYTES or "\0" in reason:
            raise InvalidArgument(
                f"a reason has 1 to {MAX_REASON_BYTES} bytes of text", field="reason"
            )
        if operation_id:
            require_operation_id(operation_id)
        known = await self._table.get(file_id)
        namespace = await self._begin(file_id, reason, caller)
        record = known or await self._table.put(
            file_id,
            namespace=namespace,
            reason=reason,
            requested_by=caller.subject,
            operation_id=operation_id or f"erase-{file_id}",
        )
        if known is None:
            _log.info("file erased", file_id=file_id, requested_by=caller.subject)
        record = await self._settle(record)
        self._wake.ring()
        if len(record.erased_on) < min(2, len(self._elements.joined())):
            raise (
                silence(sorted(record.waits_for))
                if record.waits_for
                else Unavailable(
                    f"file {file_id} is erased at its home, and no second storage element has it on"
                    " record yet; it follows by itself, and a repeat answers when it has"
                )
            )
        return Outcome(operation=self._shown.show(record), element_ids=record.erased_on)

    async def run(self) -> None:
        """Finish what was begun, until cancelled."""
        rings = self._wake.listen()
        while True:
            rings.take()
            try:
                if await self._table.found():
                    _log.info("erasures taken up that elements told of")
                undone = await self._table.undone()
                for record in undone:
                    self._shown.show(record)
                healthy = [
                    one.storage_element_id
                    for one in self._elements.joined()
                    if self._elements.is_healthy(one)
                ]
                for record in await self._table.due(healthy) if undone else ():
                    await self._settle(record)
            except ArtStoreError as exc:
                _log.debug("erasures left for later", reason=exc.message)
            await rings.wait(POLL_SECONDS)

    # --- inside ----------------------------------------------------------------------

    async def _begin(self, file_id: str, reason: str, caller: Caller) -> str:
        """Erase the home, within a switch both its ends; the file's namespace."""
        for _ in range(_LOOKS):
            looked = await self._settling.look(file_id)
            namespace = await self._namespace(looked, caller)
            if any(one.state is CopyState.ERASED for one in looked.seen.copies):
                return namespace
            await self._require_home(looked)
            steps = erasure(_known_to_rest(looked), file_id)
            self._require_witness(looked, steps)
            words = stepping.Erasing(
                reason=reason, requested_by=caller.subject, namespace=namespace
            )
            try:
                for step in steps:
                    await self._settling.stepping.take(step, looked, erasing=words)
            except Aborted as exc:
                _log.debug("looked at again", file_id=file_id, reason=exc.message)
                continue
            return namespace
        raise Unavailable(f"file {file_id} is changed all the time")

    async def _namespace(self, looked: Looked, caller: Caller) -> str:
        """The file's, of which the caller may know and which it may change."""
        known = {file.namespace for file in looked.files.values()}
        known |= {row["namespace"] for row in await self._table.registered(looked.file_id)}
        if (record := await self._table.get(looked.file_id)) is not None:
            known.add(record.namespace)
        known.discard("")
        if not all(caller.may_read(one) for one in known) or (
            not known and ALL_NAMESPACES not in caller.namespaces_read
        ):
            raise NotFound(f"no file {looked.file_id[:64]!r}")
        for one in known or {ALL_NAMESPACES}:
            caller.require_write(one)
        return min(known, default="")

    async def _require_home(self, looked: Looked) -> None:
        """
        Raises:
            FailedPrecondition: its home is silent, and held as far as is known.
            Unavailable: its home is silent.
        """
        silent = looked.seen.silent
        if not silent or any(one.state in HOMES for one in looked.seen.copies):
            return
        homes = [
            row
            for row in await self._table.registered(looked.file_id)
            if row["storage_element_id"] in silent and row["state"] in _MAY_BE_HOME
        ]
        if any(row["legal_hold"] for row in homes):
            raise LegallyHeld(looked.file_id)
        there = {row["storage_element_id"] for row in homes}
        there |= {one.moved_to for one in looked.seen.copies if one.moved_to in silent}
        if there:
            raise silence(sorted(there))

    def _require_witness(self, looked: Looked, steps: Sequence[Erase]) -> None:
        """
        Raises:
            Unavailable: nobody else answers, in a mesh with several elements.
        """
        others = looked.seen.answered - {step.element_id for step in steps}
        if len(steps) < 2 and not others and len(self._elements.joined()) > 1:
            raise silence(sorted(looked.seen.silent))

    async def _settle(self, record: Erasure) -> Erasure:
        """Erase whatever answers, and note what remains."""
        words = stepping.Erasing(
            reason=record.reason or "erased",
            requested_by=record.requested_by,
            namespace=record.namespace,
        )
        try:
            settled = await self._settling.settle(record.file_id, wanted=_is_erase, erasing=words)
            looked = await self._erase_without_sidecar(settled.looked, words)
        except ArtStoreError as exc:
            _log.info("file not erased everywhere", file_id=record.file_id, reason=exc.message)
            looked = await self._settling.look(record.file_id)
        copies = looked.seen.copies
        erased_on = [one.element_id for one in copies if one.state is CopyState.ERASED]
        left = [one for one in copies if one.state is not CopyState.ERASED]
        held_on = [one.element_id for one in left if one.legal_hold]
        without = looked.seen.answered - {one.element_id for one in copies}
        waits_for = {*looked.seen.silent, *(one.element_id for one in left)} - {*held_on}
        if _may_be_on_record_anywhere(record.file_id):
            waits_for |= without
        witnesses = min(2, len(self._elements.joined()))
        done = not waits_for and not left and len(erased_on) >= witnesses
        if held_on:
            _log.warning(
                "erased, and held elsewhere: lift the hold, or leave it",
                file_id=record.file_id,
                elements=held_on,
            )
        await self._tell(record.file_id, erased_on, held_on)
        await self._table.note(
            record.file_id, erased_on=erased_on, waits_for=waits_for, held_on=held_on, done=done
        )
        noted = await self._table.get(record.file_id)
        assert noted is not None
        self._shown.moved(noted)
        return noted

    async def _erase_without_sidecar(self, looked: Looked, words: stepping.Erasing) -> Looked:
        """Erase also where no sidecar of the file is: what came of it."""
        without = looked.seen.answered - {one.element_id for one in looked.seen.copies}
        if not without or not _may_be_on_record_anywhere(looked.file_id):
            return looked

        async def erase(element_id: str) -> None:
            step = Erase(element_id=element_id, digest="")
            try:
                await self._settling.stepping.take(step, looked, erasing=words)
            except ArtStoreError as exc:
                _log.info(
                    "file not erased there yet",
                    file_id=looked.file_id,
                    element=element_id,
                    reason=exc.message,
                )

        await asyncio.gather(*(erase(element_id) for element_id in sorted(without)))
        return await self._settling.look(looked.file_id)


def _may_be_on_record_anywhere(file_id: str) -> bool:
    """Whether an element that has nothing of the file can keep a record of it: its id says when."""
    return time_in(file_id) is not None


def _known_to_rest(looked: Looked) -> Seen:
    """What was found; tables that are new know of no Activate under way, and of a file of which
    nothing could be made the home there is none.
    """
    seen = looked.seen
    at_rest = seen.everybody or any(one.state in HOMES for one in seen.copies)
    may_become = any(one.state in MAY_BECOME_HOME for one in seen.copies)
    if looked.on_record.sent is None and at_rest and not may_become:
        return replace(seen, making_home=False)
    return seen


def _is_erase(step: Step) -> bool:
    return isinstance(step, Erase)
