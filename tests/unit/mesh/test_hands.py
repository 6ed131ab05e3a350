"""Few streams are read at a time, and a silent one keeps no other from it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from mesh.concurrency.hands import SILENT_SECONDS, Hands

PATIENCE = 10.0


async def asking(hand: object) -> asyncio.Task[None]:
    task = asyncio.ensure_future(hand.ask())  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    return task


async def test_beyond_the_most_one_waits_until_another_has_written_what_it_had() -> None:
    hands = Hands(2)
    first, second, third = hands.begin(), hands.begin(), hands.begin()
    for hand in (first, second):
        await hand.ask()
        hand.hold()
    turn = await asking(third)
    await asyncio.sleep(2 * SILENT_SECONDS)
    assert not turn.done()
    again = await asking(first)
    async with asyncio.timeout(PATIENCE):
        await turn
    assert not again.done()
    third.close()
    async with asyncio.timeout(PATIENCE):
        await again


async def test_turns_are_in_the_order_of_asking() -> None:
    hands = Hands(1)
    holder = hands.begin()
    await holder.ask()
    holder.hold()
    waiting = [hands.begin() for _ in range(3)]
    turns = [await asking(hand) for hand in waiting]
    came = []
    holder.close()
    for hand, turn in zip(waiting, turns, strict=True):
        async with asyncio.timeout(PATIENCE):
            await turn
        came.append([one.done() for one in turns].count(True))
        hand.close()
    assert came == [1, 2, 3]


async def test_a_silent_sender_keeps_nobody_from_reading() -> None:
    hands = Hands(1)
    silent, other = hands.begin(), hands.begin()
    await silent.ask()
    async with asyncio.timeout(PATIENCE):
        await other.ask()


async def test_who_is_stuck_with_a_message_keeps_nobody_from_reading_for_long() -> None:
    hands = Hands(1)
    stuck, other = hands.begin(), hands.begin()
    await stuck.ask()
    stuck.hold()
    async with asyncio.timeout(PATIENCE):
        await other.ask()


async def test_who_is_called_off_takes_nobodys_turn() -> None:
    hands = Hands(1)
    holder, gone, other = hands.begin(), hands.begin(), hands.begin()
    await holder.ask()
    holder.hold()
    turn, next_turn = await asking(gone), await asking(other)
    turn.cancel()
    with suppress(asyncio.CancelledError):
        await turn
    gone.close()
    holder.close()
    async with asyncio.timeout(PATIENCE):
        await next_turn


async def test_who_gives_up_waits_no_longer() -> None:
    hands = Hands(1)
    holder, other = hands.begin(), hands.begin()
    await holder.ask()
    holder.hold()
    turn = await asking(other)
    other.give_up()
    async with asyncio.timeout(PATIENCE):
        await turn


async def test_a_message_is_asked_for_ahead_while_there_is_room_for_all() -> None:
    hands = Hands(4)
    streams = [hands.begin() for _ in range(3)]
    for hand in streams[:2]:
        await hand.ask()
        hand.hold()
    assert streams[0].may_ask_ahead
    await streams[2].ask()
    assert not streams[0].may_ask_ahead
