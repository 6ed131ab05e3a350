"""One transfer, for as long as this admin owns it: from what is there to where it shall be."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from admin_server.life.looking import Looked, silence
from admin_server.life.seen import Copy, CopyState
from admin_server.life.settling import Settled, Settling, transfers
from admin_server.life.stepping import Taken
from admin_server.life.steps import Activate, Collect, Collected, MarkMoved, Pull, Step
from admin_server.transfers.queue import Claim, LeaseLost, TransferQueue
from admin_server.transfers.table import TransferTable
from admin_server.transfers.target import Targets
from admin_server.transfers.transfer import State, Transfer
from mesh.concurrency.watched import cancel_and_wait
from mesh.errors import ArtStoreError, FailedPrecondition, InvalidArgument, Unavailable

MAX_ATTEMPTS = 10
MAX_RETRY_SECONDS = 900.0
# A home that may be changing is looked at again as often.
WAIT_SECONDS = 2.0
# One that was given up is looked at again as often, until nothing of it is left.
MAX_TIDY_SECONDS = 30.0
MAX_ERROR_CHARACTERS = 500
# What a pull tells is written down that often.
COPIED_SECONDS = 1.0

# With these an element says that a file is not for it, now or ever.
_TAKES_IT_NO_MORE = frozenset({"NO_SPACE", "MODE"})

_log = structlog.stdlib.get_logger(__name__)


class _Waits(Unavailable):
    """Nothing is wrong: it goes on when a minute is over."""


class _Ended(FailedPrecondition):
    """Trying again can't help: the file is no more, or has gone elsewhere."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Works on transfers that it has claimed.

    Attributes:
        retry_seconds: the pause after the first failure; it doubles, to a quarter of an hour.
    """

    queue: TransferQueue
    table: TransferTable
    settling: Settling
    targets: Targets
    retry_seconds: float

    async def work(self, claim: Claim) -> None:
        """See a claim to its end, or to its next attempt. Raises nothing but being cancelled."""
        try:
            if claim.transfer.is_open:
                await self._while_owned(claim, self._attempt(claim))
            else:
                await self._tidy(claim)
        except LeaseLost:
            await self._leave(claim)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(claim))
            raise
        except Exception as exc:
            await self._put_off(claim, exc)

    async def _while_owned(self, claim: Claim, work: Coroutine[Any, Any, None]) -> None:
        """Do it while the lease is renewed; no longer than it is known to be ours."""
        task = asyncio.create_task(work, name=f"transfer {claim.transfer.transfer_id}")
        pause = self.queue.lease_seconds / 3
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=pause)
                if done:
                    return task.result()
                try:
                    await self.queue.renew(claim)
                except Unavailable:
                    # The database is down: it is ours until the lease ends, less some.
                    if time.monotonic() > claim.until - pause:
                        raise LeaseLost("the lease could not be renewed") from None
        finally:
            await cancel_and_wait(task)

    async def _attempt(self, claim: Claim) -> None:
        transfer = claim.transfer
        told_at = 0.0

        async def copied(size_bytes: int) -> None:
            nonlocal told_at
            if size_bytes and time.monotonic() - told_at >= COPIED_SECONDS:
                told_at = time.monotonic()
                await self.queue.copied(claim, size_bytes)

        async def before(step: Step, looked: Looked) -> None:
            self._require_possible(transfer, looked.home)
            if isinstance(step, Pull):
                await self.queue.copies(claim)
            elif isinstance(step, MarkMoved):
                await self.queue.switches(claim)

        settled = await self.settling.settle(
            transfer.file_id, wanted=transfers, before=before, copied=copied
        )
        home = settled.looked.home
        self._require_possible(transfer, home)
        if home is None or home.element_id != transfer.target:
            raise _why_it_waits(transfer, settled.looked)
        await self.queue.completed(claim, await self._change_token(settled, home))
        _log.info(
            "transfer completed",
            transfer_id=transfer.transfer_id,
            file_id=transfer.file_id,
            kind=transfer.kind.value,
            source=transfer.source,
            target=transfer.target,
        )

    @staticmethod
    def _require_possible(transfer: Transfer, home: Copy | None) -> None:
        if home is None:
            return
        if home.state is not CopyState.ACTIVE:
            raise _Ended(f"the file is {home.state.value}")
        if home.element_id not in (transfer.source, transfer.target):
            raise _Ended(f"the file's home is storage element {home.element_id} by now")

    async def _change_token(self, settled: Settled, home: Copy) -> str:
        """Of the Activate that was taken; one whose answer was lost is answered once more."""
        if settled.activated is not None:
            return settled.activated.change_token
        again = Activate(
            element_id=home.element_id,
            digest=home.digest,
            home_since=home.home_since,
            revision=home.revision,
            state=CopyState.ACTIVE,
        )
        taken: Taken = await self.settling.stepping.take(again, settled.looked)
        return taken.change_token

    async def _tidy(self, claim: Claim) -> None:
        """What a transfer that was given up left at its target goes, unless another one goes there.

        What has come of its file, or what is on the way there without a sidecar yet.
        """
        transfer = claim.transfer
        if not await self._goes_there(transfer):
            looked = await self.settling.look(transfer.file_id)
            looked.require_answer(transfer.target)
            step = _left_there(transfer, looked)
            # What another one has brought there since is its own.
            if step is not None and not await self._goes_there(transfer):
                with suppress(InvalidArgument):
                    # An element of before keeps what was on its way for a while.
                    await self.settling.stepping.take(step, looked)
        await self.queue.tidied(claim)

    async def _goes_there(self, transfer: Transfer) -> bool:
        """Whether another transfer brings the file there."""
        other = await self.table.open_of(transfer.file_id)
        return other is not None and other.target == transfer.target

    async def _leave(self, claim: Claim) -> None:
        """It is somebody else's, or was cancelled: then what is left of it goes."""
        transfer_id = claim.transfer.transfer_id
        _log.info("transfer left", transfer_id=transfer_id)
        try:
            if (await self.table.get(transfer_id)).state is State.CANCELLED:
                await self._tidy(claim)
        except ArtStoreError as exc:
            # It is looked for again when the lease has ended.
            _log.info("cancelled transfer not tidied yet", reason=exc.message)

    async def _put_off(self, claim: Claim, error: Exception) -> None:
        transfer = claim.transfer
        if isinstance(error, ArtStoreError):
            message = error.message
            log = _log.info if isinstance(error, _Waits) else _log.warning
            log(
                "transfer put off",
                transfer_id=transfer.transfer_id,
                file_id=transfer.file_id,
                attempts=transfer.attempts,
                reason=message,
            )
        else:
            message = "an error of admin itself; its log says more"
            _log.error("transfer failed", exc_info=error, transfer_id=transfer.transfer_id)
        message = message[:MAX_ERROR_CHARACTERS]
        limit = min(self.retry_seconds * 2.0 ** max(transfer.attempts - 1, 0), MAX_RETRY_SECONDS)
        pause = limit * (1 + random.random()) / 2
        try:
            if not transfer.is_open:
                await self.queue.tidy_later(claim, min(pause, MAX_TIDY_SECONDS))
            elif isinstance(error, _Waits):
                await self.queue.wait(claim, message, min(pause, WAIT_SECONDS))
            elif isinstance(error, _Ended) or transfer.attempts >= MAX_ATTEMPTS:
                # What one that may be tried again has brought is gone on from.
                await self.queue.failed(claim, message, over=isinstance(error, _Ended))
            elif other := await self._another(transfer, error):
                await self.queue.retarget(claim, other, message, pause)
            else:
                await self.queue.put_off(claim, message, pause)
        except LeaseLost:
            _log.info("transfer left to others", transfer_id=transfer.transfer_id)
        except Unavailable as exc:
            # Its lease ends by itself.
            _log.warning("transfer not written down", reason=exc.message)

    async def _another(self, transfer: Transfer, error: Exception) -> str:
        """The element that takes the file where its target does not any more; empty for none.

        Only where the caller named none, and the source was not told of it.
        """
        if transfer.target_named or not isinstance(error, ArtStoreError):
            return ""
        if error.reason not in _TAKES_IT_NO_MORE:
            return ""
        try:
            looked = await self.settling.look(transfer.file_id)
            if looked.home is None or looked.home.element_id != transfer.source:
                return ""
            file = looked.files[transfer.source]
            return self.targets.chosen(
                self.targets.mode_for(transfer.kind, file),
                size_bytes=file.size_bytes,
                but={transfer.source, transfer.target},
            )
        except ArtStoreError:
            # There is no other: the one it has may have room again.
            return ""

    async def _give_back(self, claim: Claim) -> None:
        try:
            await self.queue.give_back(claim)
        except ArtStoreError as exc:
            _log.info("lease left to time", reason=exc.message)


def _left_there(transfer: Transfer, looked: Looked) -> Collect | None:
    """The step that takes from its target what a transfer that was given up has left.

    Raises:
        Unavailable: what has come may be needed.
    """
    there, home = looked.on(transfer.target), looked.home
    if there is None or there.state is CopyState.GONE:
        digest = "" if there is None else there.digest
        return Collect(element_id=transfer.target, digest=digest, step=Collected.GIVE_UP)
    if there.state is not CopyState.INCOMING:
        return None
    if home is None:
        raise silence(sorted(looked.seen.silent) or [transfer.source])
    return Collect(
        element_id=there.element_id,
        digest=there.digest,
        step=Collected.TO_GONE,
        moved_to=home.element_id,
    )


def _why_it_waits(transfer: Transfer, looked: Looked) -> Unavailable:
    """Nothing could be done, and it is not where it shall be."""
    silent = [one for one in (transfer.source, transfer.target) if one in looked.seen.silent]
    if silent or looked.seen.silent:
        return silence(sorted(silent or looked.seen.silent))
    if looked.seen.making_home:
        return _Waits(looked.on_record.why_it_waits)
    there = looked.on(transfer.target)
    state = "nothing" if there is None else there.state.value
    return Unavailable(f"storage element {transfer.target} has {state} of the file, and waits")
