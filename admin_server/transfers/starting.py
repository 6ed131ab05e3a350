"""Starting a transfer: what must be true of file, caller and elements before it is on record."""

from __future__ import annotations

from dataclasses import dataclass

from admin_server.elements.registered import RegisteredElements
from admin_server.life.looking import Look, Looked, silence
from admin_server.life.seen import Copy, CopyState
from admin_server.life.stepping import Stepping
from admin_server.transfers.followers import Followers
from admin_server.transfers.table import TransferTable
from admin_server.transfers.target import Targets
from admin_server.transfers.transfer import Kind, State, Transfer, Wanted
from artstore.v1.types_pb2 import File, RetentionPolicy
from mesh.concurrency.bell import Bell
from mesh.elements.seen import Mode
from mesh.errors import Aborted, FailedPrecondition, NotFound, Unavailable
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import Caller, Role, current_request_id

# A file is changed by its user between a look and a step that often.
_LOOKS = 3
_CREATE = (Mode.EDIT, Mode.RW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A transfer as a caller asks for it.

    Attributes:
        target: empty lets Sequential Fill choose.
        expected_revision: None sets no condition.
    """

    kind: Kind
    file_id: str
    target: str
    expected_revision: int | None


@dataclass(frozen=True, slots=True)
class Starting:
    """Puts transfers on record.

    Attributes:
        wake: rung when there is something to do.
    """

    elements: RegisteredElements
    followers: Followers
    targets: Targets
    look: Look
    stepping: Stepping
    table: TransferTable
    wake: Bell

    async def start(self, asked: Asked, caller: Caller) -> Transfer:
        """The transfer; one that runs is answered, and a FINALIZE that ran, while that is true.

        Raises:
            NotFound: no such file, it is deleted, or the caller may not read its namespace.
            PermissionDenied: the caller may not write to it.
            Aborted: reason REVISION_CONFLICT.
            FailedPrecondition: no element takes it (NO_ELEMENT, MODE), its state, or a follower
                that does not know files that move.
            InvalidArgument: the target.
            ResourceExhausted: reason NO_SPACE or TOO_MANY_TRANSFERS.
            Unavailable: an element that may have it is silent, a transfer of another kind is under
                way, or the database is down.
        """
        file_id = canonical_file_id(asked.file_id)
        if "\0" in file_id:
            raise _no_file(file_id)
        known = await self._answered(asked.kind, file_id, caller)
        if known is not None:
            return known
        before = None
        if asked.kind is Kind.FINALIZE:
            before = await self.table.newest(file_id, asked.kind)
        for _ in range(_LOOKS):
            looked = await self.look(file_id)
            if before is not None and _is_unfinished_switch(before, looked):
                _require_write(before, caller)
                return await self._again(before)
            home = _home_of(looked, caller)
            try:
                return await self._start(asked, looked, home, before, caller)
            except Aborted as exc:
                # Changed between look and step; with a condition that is the caller's matter.
                if asked.expected_revision is not None or exc.reason != "REVISION_CONFLICT":
                    raise
        raise Unavailable(f"file {file_id} is changed all the time")

    async def _start(
        self, asked: Asked, looked: Looked, home: Copy, before: Transfer | None, caller: Caller
    ) -> Transfer:
        """
        Args:
            before: the newest transfer of a file that is finalized.
        """
        file = looked.files[home.element_id]
        is_kept = file.retention_policy == RetentionPolicy.RETENTION_POLICY_PERMANENT
        mode = self._mode_of(home.element_id)
        if before is not None and is_kept and _is_still_so(before, home, mode):
            return before
        _check_revision(asked, home, is_kept=is_kept)
        if asked.kind is Kind.FINALIZE and is_kept:
            _require_may_go(asked, home, mode)
        target = self._target(asked, file, home.element_id)
        is_there = target == home.element_id
        if not is_there:
            await self.followers.require_none_behind(caller)
            # An element is emptied by ADMIN, whatever it holds.
            if caller.role is not Role.ADMIN:
                await self.table.require_room(caller.subject)
        change_token = ""
        if asked.kind is Kind.FINALIZE and not is_kept:
            made = await self.stepping.make_permanent(home.element_id, looked, caller)
            change_token = made.change_token
        if is_there:
            # The switch shows before its worker has written that down.
            known = await self.table.open_of(looked.file_id) or await self.table.newest(
                looked.file_id, asked.kind
            )
            there = known is not None and known.target == target
            if known is not None and there and (known.is_open or known.state is State.COMPLETED):
                return _fitting(known, asked.kind)
        elif before is not None and _is_same_way(before, home, target):
            return await self._again(before)
        wanted = Wanted(
            kind=asked.kind,
            file_id=looked.file_id,
            namespace=file.namespace,
            source=home.element_id,
            target=target,
            target_named=bool(asked.target),
            size_bytes=file.size_bytes,
            requested_by=caller.subject,
            request_id=current_request_id.get(),
        )
        transfer = await self.table.add(
            wanted,
            done=is_there,
            change_token=change_token,
            looked_at=None if is_there else looked.began,
        )
        self.wake.ring()
        return _fitting(transfer, asked.kind)

    async def _answered(self, kind: Kind, file_id: str, caller: Caller) -> Transfer | None:
        """The transfer that answers the call already: the one under way, or this call's own."""
        known = await self.table.open_of(file_id)
        if known is None and kind is Kind.MOVE:
            known = await self.table.newest(file_id, kind)
            asked_by = current_request_id.get(), caller.subject
            if known is not None and (known.request_id, known.requested_by) != asked_by:
                known = None
        if known is None:
            return None
        _require_write(known, caller)
        return _fitting(known, kind)

    async def _again(self, transfer: Transfer) -> Transfer:
        again = await self.table.retry(transfer.transfer_id)
        self.wake.ring()
        return again

    def _mode_of(self, element_id: str) -> Mode:
        mode = self.elements.get(element_id).report.mode
        return Mode(mode) if mode in (Mode.EDIT, Mode.RW) else Mode.OTHER

    def _target(self, asked: Asked, file: File, home: str) -> str:
        modes = (Mode.RW,) if asked.kind is Kind.FINALIZE else _CREATE
        if asked.target:
            return self.targets.named(asked.target, modes=modes)
        if asked.kind is Kind.FINALIZE and self._mode_of(home) is Mode.RW:
            return home
        mode = self.targets.mode_for(asked.kind, file)
        return self.targets.chosen(
            mode, size_bytes=file.size_bytes, but={home}, any_mode=asked.kind is Kind.MOVE
        )


def _require_write(transfer: Transfer, caller: Caller) -> None:
    """The caller may change the transfer's file."""
    if not caller.may_read(transfer.namespace):
        raise _no_file(transfer.file_id)
    caller.require_write(transfer.namespace)


def _is_unfinished_switch(transfer: Transfer, looked: Looked) -> bool:
    """Whether it was given up between telling the source and its end: only it can end that."""
    if transfer.state is not State.FAILED or not transfer.source_told:
        return False
    home = looked.home
    if home is None:
        return _may_come_back(looked)
    return home.state is CopyState.ACTIVE and home.element_id == transfer.target


def _is_still_so(transfer: Transfer, home: Copy, mode: Mode) -> bool:
    """Whether a finalization came to its end, and its file was not brought back since."""
    if transfer.state is not State.COMPLETED:
        return False
    return home.element_id == transfer.target or mode is not Mode.EDIT


def _is_same_way(transfer: Transfer, home: Copy, target: str) -> bool:
    """Whether one that was given up is what is asked for again."""
    way = transfer.source, transfer.target
    return transfer.state is State.FAILED and way == (home.element_id, target)


def _require_may_go(asked: Asked, home: Copy, mode: Mode) -> None:
    """A permanent file leaves an element in mode edit only: the others keep what they have.

    Raises:
        FailedPrecondition: reason MODE.
    """
    if mode is Mode.EDIT or (mode is Mode.RW and asked.target in ("", home.element_id)):
        return
    raise FailedPrecondition(
        f"the file is permanent already, on storage element {home.element_id}, which is not in mode"
        " edit: it stays there; an ADMIN moves it by `artstore move`",
        reason="MODE",
        metadata={"storage_element_id": home.element_id},
    )


def _home_of(looked: Looked, caller: Caller) -> Copy:
    """The file's home, which the caller may change."""
    home = looked.home
    if home is None:
        there = next(iter(looked.files.values()), None)
        if there is not None and not caller.may_read(there.namespace):
            raise _no_file(looked.file_id)
        if looked.seen.silent:
            raise silence(sorted(looked.seen.silent))
        if there is None or not _may_come_back(looked):
            raise _no_file(looked.file_id)
        raise Unavailable(
            f"file {looked.file_id} is changing its home at this moment", reason="SWITCHING"
        )
    namespace = looked.files[home.element_id].namespace
    if not caller.may_read(namespace) or home.state is CopyState.ERASED:
        raise _no_file(looked.file_id)
    if home.state is CopyState.DELETED:
        raise NotFound(f"file {looked.file_id} was deleted", reason="FILE_DELETED")
    caller.require_write(namespace)
    return home


def _may_come_back(looked: Looked) -> bool:
    return any(
        one.state in (CopyState.COPY, CopyState.INCOMING, CopyState.MOVED)
        for one in looked.seen.copies
    )


def _check_revision(asked: Asked, home: Copy, *, is_kept: bool) -> None:
    """A FINALIZE that was begun and broke off has made the file permanent: one revision on."""
    expected = asked.expected_revision
    if expected is None or expected == home.revision:
        return
    if asked.kind is Kind.FINALIZE and is_kept and expected == home.revision - 1:
        return
    raise Aborted(
        f"the file has revision {home.revision}, {expected} was expected; read it again",
        reason="REVISION_CONFLICT",
        metadata={"revision": str(home.revision)},
    )


def _fitting(transfer: Transfer, kind: Kind) -> Transfer:
    """The transfer, as an answer to one of this kind."""
    if kind is Kind.FINALIZE and transfer.kind is not kind and transfer.is_open:
        raise Unavailable(
            f"the file is on its way to {transfer.target} (transfer {transfer.transfer_id}): try"
            " again when it is there",
            retry_after_seconds=5.0,
        )
    return transfer


def _no_file(file_id: str) -> NotFound:
    return NotFound(f"no file {file_id[:64]!r}")
