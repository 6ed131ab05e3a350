"""ADMIN's word on which element is the home of a file that has none of its own accord."""

from __future__ import annotations

from dataclasses import dataclass

from admin_server.life.looking import Looked
from admin_server.life.seen import HOMES, MAY_BECOME_HOME, Copy, CopyState
from admin_server.life.settling import Settling
from admin_server.life.stepping import Taken
from admin_server.life.steps import activate
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import Caller


@dataclass(frozen=True, slots=True)
class Resolving:
    """Makes an element the home of a file."""

    settling: Settling

    async def resolve(self, file_id: str, element_id: str, caller: Caller) -> Taken:
        """The file there, as the home; the other copies follow.

        Raises:
            InvalidArgument: there is no such element.
            NotFound: no element that answers has it, or the caller may not read it.
            PermissionDenied: the caller may not write to its namespace.
            FailedPrecondition: that element has no sidecar of it, or none that can be the home; or
                a transfer is under way.
            Aborted: it was changed meanwhile.
            Unavailable: that element is silent, or the home is being changed.
        """
        file_id = canonical_file_id(file_id)
        looked = await self.settling.look(file_id)
        if looked.seen.transfer is None and _homes(looked) > 1:
            # The earlier one yields first.
            looked = (await self.settling.settle(file_id)).looked
        if element_id not in looked.seen.answered | looked.seen.silent:
            raise InvalidArgument(
                f"there is no storage element {element_id[:64]}", field="storage_element_id"
            )
        looked.require_answer(element_id)
        there = _of(looked, element_id, caller)
        if there.state in HOMES and looked.home == there:
            return Taken(file=looked.files[element_id])
        if looked.seen.transfer is not None:
            raise FailedPrecondition(
                "a transfer of the file is under way: cancel it, or wait for its end",
                reason="FILE_STATE",
            )
        step = activate(there, looked.seen, looked.decided_at, revision=None)
        taken = await self.settling.activate(step, looked)
        await self.settling.settle(file_id)
        return taken


def _homes(looked: Looked) -> int:
    return sum(one.state in HOMES for one in looked.seen.copies)


def _of(looked: Looked, element_id: str, caller: Caller) -> Copy:
    files = [file for file in looked.files.values() if caller.may_read(file.namespace)]
    if not files:
        raise NotFound(f"no storage element that answers has file {looked.file_id[:64]!r}")
    for file in files:
        caller.require_write(file.namespace)
    if any(one.state is CopyState.ERASED for one in looked.seen.copies):
        raise FailedPrecondition("the file was erased", reason="FILE_STATE")
    there = looked.on(element_id)
    if there is None or there.state not in HOMES | MAY_BECOME_HOME:
        if looked.home is not None:
            raise FailedPrecondition(
                f"the file has a home, on {looked.home.element_id}, and {element_id[:64]} has"
                " nothing of it: `artstore move` brings it there",
                reason="FILE_STATE",
            )
        has = ", ".join(
            f"{one.element_id} ({one.state.value})"
            for one in looked.seen.copies
            if one.state in MAY_BECOME_HOME
        )
        raise FailedPrecondition(
            f"{element_id[:64]} has nothing of the file that can be its home; these have:"
            f" {has or 'none'}",
            reason="FILE_STATE",
        )
    return there
