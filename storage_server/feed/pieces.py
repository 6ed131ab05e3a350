"""Pieces of the feed that several followers read at about the same time are read once.

After a rebuild all followers have the same to read. One whose place is within a piece that another
one has read is told the rest of that, so that they meet again whatever they read before.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from mesh.concurrency.single_flight import SingleFlight
from storage_server.catalog.feed import Feed, Tail
from storage_server.feed.events import BATCH, ChangeBatch

# A file is told as it was so long ago at most; a later change of it comes with the feed.
KEPT_SECONDS = 1.0
# Of 500 changes; each may take 2 MiB.
KEPT = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """Changes after a sequence, as far as there were any.

    Attributes:
        asked_at: monotonic seconds; it is of a later moment.
        is_full: what comes then cannot make it longer.
    """

    asked_at: float
    tail: Tail
    batch: ChangeBatch
    is_full: bool


class Pieces:
    """Reads the feed for followers."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._reading = SingleFlight[int, Piece]()
        self._kept = OrderedDict[int, Piece]()

    async def after(self, epoch: str, sequence: int, *, since: float) -> Piece:
        """Changes after a place in the feed, `BATCH` at most.

        Only what is full may be of a moment before the call: the end of the feed is read anew by
        each follower, which has listened since for what comes then.

        Args:
            since: when the follower's place was found to be one of this history, in monotonic
                seconds; nothing that was read before is told to it.

        Raises:
            Unavailable, TablesMissing: as `Feed.tail`.
        """

        def serves(piece: Piece) -> bool:
            return piece.is_full and piece.tail.epoch == epoch and piece.asked_at >= since

        self._let_go()
        for start, kept in self._kept.items():
            if start <= sequence < start + BATCH and serves(kept):
                return kept if sequence == start else _rest(kept, sequence - start)
        flight = self._reading.get(sequence)
        piece = await self._reading.run(sequence, lambda: self._read(sequence))
        return piece if flight is None or serves(piece) else await self._read(sequence)

    async def stop(self) -> None:
        """End what is being read."""
        await self._reading.stop()

    async def _read(self, sequence: int) -> Piece:
        asked_at = time.monotonic()
        tail = await self._feed.tail(sequence, limit=BATCH)
        batch = ChangeBatch(tail.epoch, tail.changes)
        piece = Piece(asked_at, tail, batch, is_full=len(tail.changes) == BATCH)
        if piece.is_full:
            self._kept[sequence] = piece
            self._kept.move_to_end(sequence)
            self._let_go()
        return piece

    def _let_go(self) -> None:
        oldest = time.monotonic() - KEPT_SECONDS
        while self._kept:
            sequence, piece = next(iter(self._kept.items()))
            if len(self._kept) <= KEPT and piece.asked_at > oldest:
                return
            del self._kept[sequence]


def _rest(piece: Piece, beyond: int) -> Piece:
    """It without so many changes at its beginning."""
    tail = replace(piece.tail, changes=piece.tail.changes[beyond:])
    return replace(piece, tail=tail, batch=ChangeBatch(tail.epoch, tail.changes))
