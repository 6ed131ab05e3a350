from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from mesh.server.loop_lag import timed


def in_a_loop_of_its_own(work: Callable[[Any], Any]) -> None:
    async def run() -> None:
        await work(asyncio.get_running_loop())

    asyncio.run(run())


def test_the_longest_turn_is_known_whenever_it_was() -> None:
    async def work(loop: Any) -> None:
        with timed(loop) as turn:
            await asyncio.sleep(0.001)
            time.sleep(0.05)  # noqa: ASYNC251 - the fault that is to be seen
            for _ in range(10):
                await asyncio.sleep(0)
            assert turn.take() >= 0.05
            await asyncio.sleep(0)
            assert turn.take() < 0.05

    in_a_loop_of_its_own(work)


def test_waiting_for_events_is_no_turn() -> None:
    async def work(loop: Any) -> None:
        with timed(loop) as turn:
            await asyncio.sleep(0)
            turn.take()
            await asyncio.sleep(0.2)
            assert turn.take() < 0.2

    in_a_loop_of_its_own(work)


def test_two_who_ask_hear_of_the_same_turn() -> None:
    async def work(loop: Any) -> None:
        with timed(loop) as first, timed(loop) as second:
            time.sleep(0.02)  # noqa: ASYNC251 - the fault that is to be seen
            await asyncio.sleep(0)
            assert first.take() >= 0.02
            assert second.take() >= 0.02

    in_a_loop_of_its_own(work)


def test_a_loop_that_nobody_asks_about_is_as_it_was() -> None:
    async def work(loop: Any) -> None:
        before = loop._selector
        with timed(loop):
            with timed(loop):
                assert loop._selector is not before
            assert loop._selector is not before
            await asyncio.sleep(0)
        assert loop._selector is before
        await asyncio.sleep(0)

    in_a_loop_of_its_own(work)


def test_a_loop_without_a_selector_has_no_turns() -> None:
    with timed(object()) as turn:
        assert turn.take() == 0.0
