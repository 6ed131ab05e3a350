"""How much is done in a round of the event loop, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mesh.concurrency.rounds import Rounds


async def test_few_do_not_wait() -> None:
    rounds = Rounds(steps=2)
    for _ in range(2):
        turn = rounds.turn("anna")
        try:
            turn.send(None)
        except StopIteration:
            continue
        raise AssertionError("it waited")


async def test_a_round_has_so_many_steps_whoever_wants_how_many() -> None:
    rounds, done = Rounds(steps=2), Counter[str]()

    async def work(owner: str) -> None:
        for _ in range(20):
            await rounds.turn(owner)
            done[owner] += 1

    tasks = [asyncio.create_task(work(owner)) for owner in ["eve"] * 10 + ["anna"]]
    before = 0
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        assert done.total() - before <= 2
        before = done.total()
    # Had they taken turns by their number, she would have waited for ten times as many.
    assert done == {"eve": 200, "anna": 20}
    assert not rounds._waiting


async def test_owners_take_turns() -> None:
    rounds, order = Rounds(steps=1), list[str]()

    async def one(owner: str) -> None:
        await rounds.turn(owner)
        order.append(owner)

    await asyncio.gather(*(one(owner) for owner in ["eve"] * 6 + ["anna", "bert"]))
    assert order[:5] == ["eve", "eve", "anna", "bert", "eve"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_whoever_leaves_keeps_nobody_from_his_turn(wanted: list[tuple[str, bool]]) -> None:
    async def main() -> None:
        rounds = Rounds(steps=1)
        tasks = [asyncio.create_task(rounds.turn(owner)) for owner, _ in wanted]
        await asyncio.sleep(0)
        for task, (_, leaves) in zip(tasks, wanted, strict=True):
            if leaves:
                task.cancel()
        ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        stayed = [end for end, (_, leaves) in zip(ends, wanted, strict=True) if not leaves]
        assert stayed == [None] * len(stayed)
        assert not rounds._waiting

    asyncio.run(main())
