"""What the audit is told where its place in the feed is lost, and the feed is trimmed just then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mesh.elements.feed_cursor import FeedCursor
from storage_server.catalog.feed import Change, Place, Tail
from storage_server.domain.kinds import ChangeKind
from storage_server.feed import ChangeBatch, FeedEvent, SnapshotEnds
from storage_server.feed.history import History

EPOCH = "e1"


class FeedTrimmed:
    """Changes 1 to `head`; each time it was asked what is kept, the oldest goes."""

    def __init__(self, head: int, *, times: int) -> None:
        self._kept = [_change(sequence) for sequence in range(1, head + 1)]
        self._head = head
        self._times = times

    async def place(self, sequence: int) -> Place:
        kept = self._kept
        if self._times:
            self._times -= 1
            self._kept = kept[1:]
        return Place(
            EPOCH,
            self._head,
            kept[0].sequence,
            next((one.change_id for one in kept if one.sequence == sequence), ""),
            next((one.sequence for one in kept if one.sequence > sequence), None),
        )

    async def history(self, after: int, *, limit: int) -> Tail:
        return Tail(EPOCH, self._head, [one for one in self._kept if one.sequence > after][:limit])


def _change(sequence: int) -> Change:
    now = datetime.now(UTC)
    return Change(sequence, f"c{sequence}", ChangeKind.CREATED, "a file", now, None)


async def _told(feed: Any, cursor: FeedCursor) -> tuple[list[FeedCursor], Sequence[Change]]:
    """Where it goes on after something is missing, and the first changes."""
    jumps: list[FeedCursor] = []
    events = History(feed).follow(cursor)
    try:
        event: FeedEvent
        async for event in events:
            if isinstance(event, SnapshotEnds):
                jumps.append(FeedCursor(event.epoch, event.head, event.change_id))
            if isinstance(event, ChangeBatch):
                return jumps, event.changes
    finally:
        await events.aclose()
    raise AssertionError


async def test_a_trim_between_a_jump_and_its_first_changes_is_no_other_jump() -> None:
    of_another_history = FeedCursor(EPOCH, 9, "restored since")
    jumps, changes = await _told(FeedTrimmed(8, times=2), of_another_history)
    assert jumps == [FeedCursor(EPOCH, 2)]
    assert [one.sequence for one in changes] == [3, 4, 5, 6, 7, 8]


async def test_a_cursor_whose_next_changes_are_kept_makes_no_jump() -> None:
    jumps, changes = await _told(FeedTrimmed(8, times=2), FeedCursor(EPOCH, 5, "c5"))
    assert jumps == []
    assert [one.sequence for one in changes] == [6, 7, 8]


async def test_what_is_missing_after_a_cursor_is_one_jump_over_all_of_it() -> None:
    trimmed = FeedTrimmed(8, times=3)
    for _ in range(3):
        await trimmed.place(0)
    jumps, changes = await _told(trimmed, FeedCursor(EPOCH, 2, "c2"))
    assert jumps == [FeedCursor(EPOCH, 3)]
    assert [one.sequence for one in changes] == [4, 5, 6, 7, 8]
