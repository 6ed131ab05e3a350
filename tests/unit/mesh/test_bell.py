"""A bell wakes all who listen, and nobody misses a ring while it looks."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from mesh.concurrency.bell import Bell, Listener
from mesh.concurrency.watched import cancel_and_wait


async def test_all_who_wait_are_woken() -> None:
    bell = Bell()
    waiting = [asyncio.create_task(bell.listen().wait()) for _ in range(3)]
    await asyncio.sleep(0)
    bell.ring()
    assert await asyncio.gather(*waiting) == [True, True, True]


async def test_a_ring_while_one_looks_ends_the_next_wait_at_once() -> None:
    bell = Bell()
    listener = bell.listen()
    listener.take()
    bell.ring()
    assert await listener.wait(60)
    assert listener.take()
    assert not await listener.wait(0.001)


async def test_what_one_takes_the_others_still_hear() -> None:
    bell = Bell()
    one, other = bell.listen(), bell.listen()
    bell.ring()
    assert one.take()
    assert await other.wait(60)
    assert not one.take()


async def test_a_burst_is_taken_at_once() -> None:
    bell = Bell()
    listener = bell.listen()
    waiting = asyncio.create_task(listener.wait(burst_seconds=0.02))
    for _ in range(3):
        bell.ring()
        await asyncio.sleep(0.001)
    assert not waiting.done()
    assert await waiting
    assert listener.take()
    assert not listener.take()


async def test_one_who_leaves_takes_nobody_along() -> None:
    bell = Bell()
    leaving, staying = (asyncio.create_task(bell.listen().wait()) for _ in range(2))
    await asyncio.sleep(0)
    await cancel_and_wait(leaving)
    bell.ring()
    assert await staying


class Listening(RuleBasedStateMachine):
    """Each listener knows exactly whether it rang since it took last."""

    def __init__(self) -> None:
        super().__init__()
        self.bell = Bell()
        self.listeners: list[tuple[Listener, list[bool]]] = []

    @rule()
    def begin_to_listen(self) -> None:
        self.listeners.append((self.bell.listen(), [False]))

    @rule()
    def ring(self) -> None:
        self.bell.ring()
        for _, rung in self.listeners:
            rung[0] = True

    @rule(number=st.integers(0, 5))
    def take(self, number: int) -> None:
        if number < len(self.listeners):
            listener, rung = self.listeners[number]
            assert listener.take() is rung[0]
            rung[0] = False


TestListening = Listening.TestCase
TestListening.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
