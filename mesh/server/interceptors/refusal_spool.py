"""Calls that this server refused for role, namespace or token, until admin has them on record.

Equal ones of a minute are one entry with a count. What is kept is bounded, and so is what admin
gets to keep: whoever is refused again and again adds to counts, and beyond the rate below to the
number of those that were dropped.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from artstore.v1.audit_pb2 import RecordRefusalsRequest, Refusal
from mesh.errors import ArtStoreError

MOST_KEPT = 500
# Entries that may be made at once, and those that are added each minute.
MOST_AT_ONCE = 200
EACH_MINUTE = 10.0
LAST_WORDS_SECONDS = 1.0

Tell = Callable[[RecordRefusalsRequest], Awaitable[None]]

_log = structlog.stdlib.get_logger(__name__)


class RefusalSpool:
    """Counts refusals; what it holds is lost with the process.

    Args:
        server: name of this server.
        minute_seconds: within so long equal ones are one entry.
        now: seconds since 1970.
    """

    def __init__(
        self, server: str, *, minute_seconds: float = 60.0, now: Callable[[], float] = time.time
    ) -> None:
        self._server = server
        self.minute_seconds = minute_seconds
        self._now = now
        self._ends_at = 0.0
        self._open: dict[tuple[str, str, str], Refusal] = {}
        self._due: list[Refusal] = []
        self._dropped = 0
        self._left = float(MOST_AT_ONCE)
        self._sending: RecordRefusalsRequest | None = None

    def note(self, actor: str, action: str, reason: str) -> None:
        """A call was refused.

        Args:
            actor: account of the token; empty when the token did not say.
            action: the RPC.
            reason: as in ErrorInfo.
        """
        self._turn()
        key = (actor[:64], action[:100], reason[:64])
        known = self._open.get(key)
        if known is not None:
            known.count += 1
            return
        kept = len(self._open) + len(self._due)
        # The number of those that were dropped travels with an entry.
        if kept and (kept >= MOST_KEPT or self._left < 1):
            self._dropped += 1
            return
        self._left -= 1
        entry = Refusal(
            refusal_id=str(uuid.uuid4()), actor=key[0], action=key[1], reason=key[2], count=1
        )
        entry.occurred_at.FromNanoseconds(int(self._now() * 1e9))
        self._open[key] = entry

    def next(self) -> RecordRefusalsRequest | None:
        """What is to be told now: the same until it is `told`. None while there is nothing."""
        self._turn()
        if self._sending is None and self._due:
            self._sending = RecordRefusalsRequest(
                server=self._server,
                refusals=self._due[:MOST_KEPT],
                dropped_count=self._dropped,
            )
            del self._due[:MOST_KEPT]
            self._dropped = 0
        return self._sending

    def told(self) -> None:
        """Admin has `next` on record."""
        self._sending = None

    def end(self) -> None:
        """End the minute now."""
        self._due += self._open.values()
        self._open.clear()

    def _turn(self) -> None:
        now = self._now()
        if now < self._ends_at and self._ends_at - now <= self.minute_seconds:
            return
        self.end()
        passed = (now - self._ends_at) / self.minute_seconds + 1 if self._ends_at else 0.0
        self._left = min(self._left + max(passed, 0.0) * EACH_MINUTE, MOST_AT_ONCE)
        self._ends_at = now + self.minute_seconds


async def tell_refusals(spool: RefusalSpool, tell: Tell) -> None:
    """Tell admin of refusals, minute by minute, until cancelled; then once more.

    Args:
        tell: raises ArtStoreError when admin has not got them; it is told the same again.
    """
    told = ""
    try:
        while True:
            await asyncio.sleep(spool.minute_seconds / 4)
            try:
                await _tell_all(spool, tell)
                told = ""
            except ArtStoreError as exc:
                if exc.message != told:
                    _log.info("refusals not told", reason=exc.message)
                told = exc.message
    except asyncio.CancelledError:
        spool.end()
        with suppress(ArtStoreError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await _tell_all(spool, tell)
        raise


async def _tell_all(spool: RefusalSpool, tell: Tell) -> None:
    while (request := spool.next()) is not None:
        await tell(request)
        spool.told()
