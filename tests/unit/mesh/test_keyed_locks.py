"""Locks by key: one holder each, in the order of asking, nothing kept afterwards."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.concurrency.watched import cancel_and_wait


async def test_an_error_inside_and_a_caller_that_leaves_free_it() -> None:
    locks = KeyedLocks()
    inside = asyncio.Event()

    async def hold() -> None:
        async with locks.hold("a"):
            inside.set()
            await asyncio.sleep(60)

    holder, waiter = asyncio.create_task(hold()), asyncio.create_task(hold())
    await inside.wait()
    await cancel_and_wait(waiter)
    assert locks.is_held("a")
    await cancel_and_wait(holder)
    assert not locks.is_held("a")
    assert len(locks) == 0


class Locking(RuleBasedStateMachine):
    """Holders and those who wait come, leave and give up in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.locks = KeyedLocks()
        # By key, in the order of asking: the first one holds it.
        self.queues: dict[str, list[asyncio.Task[None]]] = {"a": [], "b": []}
        self.inside: dict[str, list[asyncio.Task[None]]] = {"a": [], "b": []}
        self.leaving: dict[asyncio.Task[None], asyncio.Event] = {}

    def teardown(self) -> None:
        everyone = [task for queue in self.queues.values() for task in queue]
        self.loop.run_until_complete(cancel_and_wait(*everyone))
        assert len(self.locks) == 0
        self.loop.close()

    def settle(self) -> None:
        for _ in range(6):
            self.loop.run_until_complete(asyncio.sleep(0))

    @rule(key=st.sampled_from("ab"))
    def ask(self, key: str) -> None:
        leave = asyncio.Event()

        async def hold() -> None:
            async with self.locks.hold(key):
                task = asyncio.current_task()
                assert task is not None
                self.inside[key].append(task)
                try:
                    await leave.wait()
                finally:
                    self.inside[key].remove(task)

        task = self.loop.create_task(hold())
        self.leaving[task] = leave
        self.queues[key].append(task)
        self.settle()

    @rule(key=st.sampled_from("ab"))
    def leave(self, key: str) -> None:
        if self.queues[key]:
            self.leaving[self.queues[key].pop(0)].set()
            self.settle()

    @rule(key=st.sampled_from("ab"), number=st.integers(0, 4))
    def give_up(self, key: str, number: int) -> None:
        if number < len(self.queues[key]):
            self.queues[key].pop(number).cancel()
            self.settle()

    @rule(key=st.sampled_from("ab"))
    def leave_while_the_next_gives_up(self, key: str) -> None:
        if len(self.queues[key]) > 1:
            self.leaving[self.queues[key].pop(0)].set()
            self.queues[key].pop(0).cancel()
            self.settle()

    @invariant()
    def the_first_who_asked_holds_it(self) -> None:
        for key, queue in self.queues.items():
            assert self.inside[key] == queue[:1]
            assert self.locks.is_held(key) is bool(queue)

    @invariant()
    def only_what_is_wanted_is_kept(self) -> None:
        assert len(self.locks) == sum(bool(queue) for queue in self.queues.values())


TestLocking = Locking.TestCase
TestLocking.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
