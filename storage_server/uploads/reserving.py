"""Room for uploads, as far as their account may hold it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from mesh.errors import ArtStoreError, ResourceExhausted, Unavailable
from mesh.identity.limits import Limits
from storage_server.domain.allowance import (
    LEFT_TO_OTHERS_PERCENT,
    Holding,
    Verdict,
    Word,
    is_beyond_share,
    judge,
    word_of_others,
)
from storage_server.element.space import Space

# Where an account's limit is small it is kept to the letter; else the last part of it.
ASKED_OF_ALL_BELOW = 100
UNASKED_PART = 4
# Of two elements that ask at the same moment one waits for the other to decide.
ASK_AGAIN_SECONDS = 0.05
DECIDE_SECONDS = 2.0
# An account that others were asked about in vain is not asked about again for so long.
REFUSED_SECONDS = 1.0
RETRY_SECONDS = 60.0
LISTED = "`artstore uploads` lists them"


class Elsewhere(Protocol):
    """What the other elements say of an account."""

    async def holdings(self, account: str) -> Mapping[str, Holding]:
        """What its open uploads hold at each other element of the mesh, by the element's id.

        Raises:
            Unavailable: it is not known which elements there are, or one does not answer.
        """


class Reserving:
    """Keeps the limits of accounts. What an upload holds is counted before others are asked, in
    the one process that writes the element, so no two calls can both be the last that fits.

    Args:
        element_id: this one's.
        elsewhere: asked only beyond an account's share of this element.
    """

    def __init__(self, element_id: str, space: Space, elsewhere: Elsewhere) -> None:
        self._element_id = element_id
        self._space = space
        self._elsewhere = elsewhere
        self._undecided: Counter[str] = Counter()
        self._refused_until: dict[str, float] = {}

    def holding(self, account: str) -> Holding:
        """What an account holds here, for other elements that ask."""
        return replace(self._space.holding(account), undecided=self._undecided[account] > 0)

    async def take(
        self, upload_id: str, size_bytes: int | None, *, account: str, limits: Limits
    ) -> int:
        """Reserve room for a new upload and answer how much it holds.

        Args:
            size_bytes: None when it was not declared; then it holds a step of 64 MiB.

        Raises:
            ResourceExhausted: reason TOO_MANY_UPLOADS or UPLOAD_SHARE, the account's limits; else
                there is no room. Nothing is reserved.
        """
        before = self._space.holding(account)
        if before.open_uploads >= limits.open_uploads:
            raise _too_many(account, limits)
        was_beyond = is_beyond_share(before, limits.reserved_percent)
        held = self._space.take(upload_id, size_bytes, account=account)
        try:
            others = await self._allow(account, limits, was_beyond=was_beyond)
            await self._require_few(account, limits, others)
        except BaseException:
            self._space.release(upload_id)
            raise
        return held

    async def extend(
        self,
        upload_id: str,
        written_bytes: int,
        *,
        size_bytes: int | None,
        account: str,
        limits: Limits,
    ) -> None:
        """Make sure that an upload holds at least `written_bytes`.

        Args:
            size_bytes: what was declared of the whole.

        Raises:
            ResourceExhausted: as `take`; what it holds stays.
        """
        before = self._space.held(upload_id)
        if written_bytes <= before:
            return
        was_beyond = is_beyond_share(self._space.holding(account), limits.reserved_percent)
        self._space.extend(upload_id, written_bytes, size_bytes=size_bytes, account=account)
        try:
            await self._allow(account, limits, was_beyond=was_beyond)
        except BaseException:
            self._space.cut(upload_id, before)
            raise

    # --- inside ----------------------------------------------------------------------

    async def _require_few(
        self, account: str, limits: Limits, others: Mapping[str, Holding] | None
    ) -> None:
        """Raise ResourceExhausted if the uploads at other elements make too many of those here.

        Args:
            others: what they have just answered, if they were asked.
        """
        here, limit = self._space.holding(account).open_uploads, limits.open_uploads
        if here <= (limit // UNASKED_PART if limit >= ASKED_OF_ALL_BELOW else 0):
            return
        if others is None:
            try:
                others = await self._elsewhere.holdings(account)
            except Unavailable:
                # Of no use to anybody who wants room, so nobody waits for an element that is down.
                return
        if here + sum(one.open_uploads for one in others.values()) > limit:
            raise _too_many(account, limits)

    async def _allow(
        self, account: str, limits: Limits, *, was_beyond: bool
    ) -> Mapping[str, Holding] | None:
        """What the other elements say, where they had to be asked.

        Args:
            was_beyond: it was beyond its share before, so others were asked then, or are now: what
                waits for their word may go again, and is nothing to build on.

        Raises:
            ResourceExhausted: the account may not hold what it holds now.
        """
        verdict = judge(self._space.holding(account), limits.reserved_percent)
        if verdict is Verdict.TOO_MUCH:
            raise _beyond_share(account, limits, "")
        if verdict is Verdict.WITHIN_SHARE:
            return None
        if was_beyond and not self._undecided[account]:
            return None
        self._undecided[account] += 1
        try:
            return await self._be_the_only_one(account, limits)
        finally:
            self._undecided[account] -= 1
            if not self._undecided[account]:
                del self._undecided[account]

    async def _be_the_only_one(self, account: str, limits: Limits) -> Mapping[str, Holding]:
        now = time.monotonic()
        if self._refused_until.get(account, now) > now:
            raise _beyond_share(account, limits, " (another element said so a moment ago)")
        word, others = Word.REFUSED, dict[str, Holding]()
        try:
            async with asyncio.timeout(DECIDE_SECONDS):
                word, others = await self._ask(account, limits)
                while word is Word.ASK_AGAIN:
                    await asyncio.sleep(ASK_AGAIN_SECONDS)
                    word, others = await self._ask(account, limits)
        except TimeoutError:
            raise _beyond_share(account, limits, " (other elements do not answer)") from None
        except ArtStoreError as exc:
            raise _beyond_share(account, limits, f" ({exc.message})") from exc
        if word is Word.REFUSED:
            self._refused_until = {
                name: until for name, until in self._refused_until.items() if until > now
            } | {account: time.monotonic() + REFUSED_SECONDS}
            raise _beyond_share(account, limits, " (at another element)")
        return others

    async def _ask(self, account: str, limits: Limits) -> tuple[Word, dict[str, Holding]]:
        others = dict(await self._elsewhere.holdings(account))
        word = word_of_others(self._element_id, others.items(), limits.reserved_percent)
        return word, others


def _too_many(account: str, limits: Limits) -> ResourceExhausted:
    return ResourceExhausted(
        f"account {account} has {limits.open_uploads} uploads open, which is its limit: finish or"
        f" abort some, {LISTED}",
        reason="TOO_MANY_UPLOADS",
        metadata={"open_uploads": str(limits.open_uploads)},
        retry_after_seconds=RETRY_SECONDS,
    )


def _beyond_share(account: str, limits: Limits, why: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"too much room would be reserved for account {account} and not sent yet{why}: beside one"
        f" upload of any size, at one element, it may hold {limits.reserved_percent} per cent of"
        f" the free room, and it leaves {LEFT_TO_OTHERS_PERCENT} to others. Send or abort some,"
        f" {LISTED}",
        reason="UPLOAD_SHARE",
        metadata={"reserved_percent": str(limits.reserved_percent)},
        retry_after_seconds=RETRY_SECONDS,
    )
