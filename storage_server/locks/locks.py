"""Taking, renewing, giving back and listing the locks of one element.

The fence is drawn from PostgreSQL before the script that takes the lock; drawn after it, a
paused holder would get a newer fence than its successor. A rebuild raises `rebuild_fence` in
PostgreSQL before its work starts, so whoever it pre-empted can write no more, also when
Valkey was flushed in between (correctness 13).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError

from mesh.concurrency.backoff import Backoff
from mesh.concurrency.unbroken import Unbroken
from mesh.errors import Aborted, Unavailable
from mesh.redis import translated
from storage_server.locks import scripts
from storage_server.locks.entry import LockEntry, entry_of, loss, refusal
from storage_server.locks.held import HeldLock
from storage_server.locks.kinds import LockKind, field_of

log = structlog.get_logger("storage_server.locks")

FENCE_MEMORY_SECONDS = 3600
FIRST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 0.25
RENEW_AGAIN_SECONDS = 0.2
FENCED = b"FENCED"

ACQUIRE_SECONDS = Histogram(
    "artstore_lock_acquire_seconds", "Time to take a lock, waits included", ["kind"]
)
HOLD_SECONDS = Histogram("artstore_lock_hold_seconds", "Time a lock was held", ["kind"])
RELEASE_SECONDS = Histogram("artstore_lock_release_seconds", "Time to give a lock back", ["kind"])
OUTCOMES = Counter(
    "artstore_lock_outcomes_total",
    "Locks by outcome: acquired, waited, refused, takeover, timeout, lost",
    ["kind", "outcome"],
)
# A connection that broke is found out by the command that fails on it; the next one is new.
RELEASE_AGAIN_SECONDS = 0.2
HELD = Gauge("artstore_locks_held", "Locks held by this process", ["kind"])


class FenceSource(Protocol):
    """The fences in PostgreSQL."""

    async def draw(self) -> int:
        """The next fence."""

    async def setval_at_least(self, fence: int) -> None:
        """Make sure that the next fence is above `fence`."""

    async def raise_rebuild(self, fence: int) -> None:
        """From now on only work with a fence above this one may write (a rebuild: with it)."""

    async def raise_cleanup(self, fence: int) -> None:
        """The same among cleanups."""


class ElementLocks:
    """The locks of one element.

    Args:
        redis: a client without retries of its own.
        fences: the element's fences in PostgreSQL.
        element_id: se-01.
        holder: names this process to others: host:pid.
        ttl_seconds: a lock that is not renewed ends after this; it is renewed at a third.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        fences: FenceSource,
        element_id: str,
        holder: str,
        ttl_seconds: float = 15.0,
    ) -> None:
        self._redis = redis
        self._fences = fences
        self._holder = holder
        self._ttl = ttl_seconds
        self._locks_key = f"artstore:{{{element_id}}}:locks"
        self._fences_key = f"artstore:{{{element_id}}}:fences"
        self._fence_prefix = f"artstore:{{{element_id}}}:fence:"
        self._mine: dict[str, HeldLock] = {}
        self._releases = Unbroken()

    @asynccontextmanager
    async def hold(
        self,
        kind: LockKind,
        *,
        operation_id: str,
        file_id: str = "",
        wait_seconds: float = 0.0,
    ) -> AsyncIterator[HeldLock]:
        """Hold a lock around a piece of work of the present task.

        The work is cancelled when the lock is lost, and that cancellation leaves as `Aborted`.

        Raises:
            Aborted: LOCK_HELD by an equal or higher kind, for longer than `wait_seconds`;
                PREEMPTED or LOCK_LOST while the work ran.
            Unavailable: Valkey or PostgreSQL is down or silent.
        """
        held, deadline = await self._acquire(kind, file_id, operation_id, wait_seconds)
        started = time.monotonic()
        self._mine[held.owner] = held
        HELD.labels(kind.name).inc()
        renewal = asyncio.create_task(self._renew(held, deadline), name=f"renew {kind.name}")
        try:
            with held.stopping_its_work():
                await self._announce(held)
                held.check()
                yield held
        finally:
            renewal.cancel()
            self._mine.pop(held.owner, None)
            HELD.labels(kind.name).dec()
            HOLD_SECONDS.labels(kind.name).observe(time.monotonic() - started)
            await self._releases.run(self._release(held))

    def require_no_rebuild_here(self) -> None:
        """Spare a lazy refresh to ask, while this process itself has the element for a rebuild.

        Raises:
            Aborted: it has (LOCK_HELD).
        """
        kinds = (one.kind for one in self._mine.values() if not one.lost)
        if LockKind.MANUAL_REBUILD in kinds:
            OUTCOMES.labels(LockKind.LAZY_REBUILD.name, "refused").inc()
            raise Aborted("a rebuild has the element", reason="LOCK_HELD")

    async def list_locks(self) -> list[LockEntry]:
        """The locks held on the element, highest priority first."""
        found = await self._run(scripts.LIST, [self._locks_key], [])
        return sorted(
            (entry_of(raw) for raw in found[1:]), key=lambda lock: (lock.kind, lock.file_id)
        )

    async def seize(self, kind: LockKind, *, file_id: str = "", fence: int = 0) -> bool:
        """Take a lock away from its holder and move its fence on.

        Returns False when nobody held it (or not with this fence).
        """
        field, raw = field_of(kind, file_id), FENCED
        while raw == FENCED:
            # Somebody who drew later may have taken the lock before the script ran.
            new = await self._fences.draw()
            raw = await self._run(
                scripts.SEIZE,
                [self._locks_key, self._fences_key, self._fence_prefix + field],
                [field, fence, new, FENCE_MEMORY_SECONDS * 1000],
            )
        if not raw:
            return False
        entry = entry_of(raw)
        log.warning("lock taken away", kind=kind.name, file_id=file_id, holder=entry.holder)
        # Before the fence, which waits for the transactions that the loser has open.
        self._tell_loser(entry.owner, None)
        # A successor with a higher fence may be on record already; it shuts the loser out, too.
        with suppress(Aborted):
            if kind is LockKind.MANUAL_REBUILD:
                await self._fences.raise_rebuild(new)
            elif kind is LockKind.BACKGROUND_CLEANUP:
                await self._fences.raise_cleanup(new)
        return True

    async def _acquire(
        self, kind: LockKind, file_id: str, operation_id: str, wait_seconds: float
    ) -> tuple[HeldLock, float]:
        started = time.monotonic()
        backoff, waited = Backoff(FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS), False
        owner = secrets.token_hex(16)
        while True:
            asked = time.monotonic()
            try:
                result = await self._try(kind, file_id, owner, operation_id)
            except BaseException:
                # It may have been taken all the same: the answer was lost, or nobody waits.
                self._release_later(field_of(kind, file_id), owner)
                raise
            if isinstance(result, HeldLock):
                ACQUIRE_SECONDS.labels(kind.name).observe(time.monotonic() - started)
                OUTCOMES.labels(kind.name, "waited" if waited else "acquired").inc()
                return result, asked + self._ttl
            left = started + wait_seconds - time.monotonic()
            if left <= 0:
                OUTCOMES.labels(kind.name, "timeout" if waited else "refused").inc()
                raise refusal(result)
            waited = True
            await asyncio.sleep(min(backoff.delay(), left))

    async def _try(
        self, kind: LockKind, file_id: str, owner: str, operation_id: str
    ) -> HeldLock | LockEntry:
        field = field_of(kind, file_id)
        while True:
            fence = await self._fences.draw()
            answer = await self._run(
                scripts.ACQUIRE,
                [self._locks_key, self._fences_key, self._fence_prefix + field],
                [
                    field,
                    int(kind),
                    file_id,
                    owner,
                    fence,
                    int(self._ttl * 1000),
                    self._holder,
                    operation_id,
                    FENCE_MEMORY_SECONDS * 1000,
                ],
            )
            verdict = answer[0].decode()
            if verdict == "REFUSED":
                return entry_of(answer[1])
            if verdict == "FENCED":
                # The element's tables were made anew and its fences start again.
                await self._fences.setval_at_least(int(answer[1]))
                continue
            entry = entry_of(answer[1])
            self._note_takeovers(entry, orjson.loads(answer[2]))
            return HeldLock(kind, file_id, entry.fence, owner, operation_id)

    def _note_takeovers(self, winner: LockEntry, losers: list[dict[str, str]]) -> None:
        for loser in losers:
            OUTCOMES.labels(winner.kind.name, "takeover").inc()
            log.info("lock taken over", kind=winner.kind.name, loser=loser["field"])
            self._tell_loser(loser["owner"], winner)

    def _tell_loser(self, owner: str, winner: LockEntry | None) -> None:
        held = self._mine.get(owner)
        if held is not None:
            self._lose(held, winner)

    def _lose(self, held: HeldLock, winner: LockEntry | None) -> None:
        if not held.lost:
            OUTCOMES.labels(held.kind.name, "lost").inc()
            held.lose(loss(held.kind, winner))

    async def _announce(self, held: HeldLock) -> None:
        if held.kind is LockKind.MANUAL_REBUILD:
            await self._fences.raise_rebuild(held.fence)
        elif held.kind is LockKind.BACKGROUND_CLEANUP:
            await self._fences.raise_cleanup(held.fence)
        if held.kind is not LockKind.LAZY_REBUILD:
            log.info(
                "lock taken", kind=held.kind.name, fence=held.fence, operation_id=held.operation_id
            )

    async def _renew(self, held: HeldLock, deadline: float) -> None:
        keys = [self._locks_key]
        arguments: list[str | int] = [
            field_of(held.kind, held.file_id),
            held.owner,
            int(self._ttl * 1000),
            int(held.kind),
        ]
        pause = self._ttl / 3
        while not held.lost:
            await asyncio.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            asked = time.monotonic()
            if asked >= deadline:
                log.error("lock lost, it could not be renewed", kind=held.kind.name)
                self._lose(held, None)
                return
            try:
                async with asyncio.timeout(deadline - asked):
                    answer = await self._run(scripts.RENEW, keys, arguments)
            except Exception as error:
                # Whatever it was: the lock ends at its deadline, and the work with it.
                log.warning("lock not renewed", kind=held.kind.name, reason=repr(error))
                pause = RENEW_AGAIN_SECONDS
                continue
            if answer[0] == b"HELD":
                deadline, pause = asked + self._ttl, self._ttl / 3
            else:
                self._lose(held, entry_of(answer[1]) if answer[1] else None)

    async def _release(self, held: HeldLock) -> None:
        started = time.monotonic()
        await self._give_back(field_of(held.kind, held.file_id), held.owner)
        RELEASE_SECONDS.labels(held.kind.name).observe(time.monotonic() - started)
        if held.kind is not LockKind.LAZY_REBUILD:
            log.info("lock given back", kind=held.kind.name, fence=held.fence, lost=held.lost)

    async def _give_back(self, field: str, owner: str) -> None:
        """Ask once; as long as nobody answers again in the background, where nobody waits."""
        try:
            await self._run(scripts.RELEASE, [self._locks_key], [field, owner])
        except Unavailable as error:
            log.warning("lock not given back yet", lock=field, reason=error.message)
            self._release_later(field, owner)
        except Exception:
            # The work is done, and the lock expires by itself.
            log.exception("lock not given back, it will expire", lock=field)

    def _release_later(self, field: str, owner: str) -> None:
        self._releases.begin(self._give_back_until_it_expires(field, owner))

    async def _give_back_until_it_expires(self, field: str, owner: str) -> None:
        expires, backoff = time.monotonic() + self._ttl, Backoff(RELEASE_AGAIN_SECONDS)
        while time.monotonic() < expires:
            try:
                await self._run(scripts.RELEASE, [self._locks_key], [field, owner])
                return
            except Unavailable:
                await backoff.pause()
        log.warning("lock not given back, it has expired", lock=field)

    async def _run(self, script: str, keys: list[str], arguments: list[str | int]) -> Any:
        run: Callable[..., Awaitable[Any]] = self._redis.eval
        with translated():
            try:
                return await run(script, len(keys), *keys, *arguments)
            except (OutOfMemoryError, ReadOnlyError) as error:
                raise Unavailable(f"the lock store takes no writes: {error}") from error
