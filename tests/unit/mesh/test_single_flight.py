"""One computation for each key, shared; who leaves takes nobody along, and errors are not kept."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.concurrency.single_flight import SingleFlight
from mesh.concurrency.watched import cancel_and_wait
from mesh.errors import Unavailable


class Work:
    """Computations that end when they are told to."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[int]] = []

    async def __call__(self) -> int:
        ending = asyncio.get_running_loop().create_future()
        self.begun.append(ending)
        return await ending


async def test_all_who_ask_meanwhile_share_one() -> None:
    flights, work = SingleFlight[str, int](), Work()
    callers = [asyncio.create_task(flights.run("a", work)) for _ in range(3)]
    await asyncio.sleep(0.001)
    (only,) = work.begun
    only.set_result(7)
    assert await asyncio.gather(*callers) == [7, 7, 7]
    assert len(flights) == 0


async def test_the_first_who_asked_may_leave() -> None:
    flights, work = SingleFlight[str, int](), Work()
    first, second = (asyncio.create_task(flights.run("a", work)) for _ in range(2))
    await asyncio.sleep(0.001)
    await cancel_and_wait(first)
    work.begun[0].set_result(7)
    assert await second == 7
    assert first.cancelled()


async def test_when_all_have_left_it_still_ends_and_its_error_is_nobodys() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    flights, work = SingleFlight[str, int](), Work()
    caller = asyncio.create_task(flights.run("a", work))
    await asyncio.sleep(0.001)
    await cancel_and_wait(caller)
    assert "a" in flights
    work.begun[0].set_exception(Unavailable("down"))
    await asyncio.sleep(0.001)
    assert "a" not in flights
    assert complaints == []


async def test_an_error_is_told_to_all_and_not_kept() -> None:
    flights, work = SingleFlight[str, int](), Work()
    callers = [asyncio.create_task(flights.run("a", work)) for _ in range(2)]
    await asyncio.sleep(0.001)
    work.begun[0].set_exception(Unavailable("down"))
    for caller in callers:
        with pytest.raises(Unavailable):
            await caller
    again = asyncio.create_task(flights.run("a", work))
    await asyncio.sleep(0.001)
    work.begun[1].set_result(8)
    assert await again == 8


async def test_who_was_told_and_asks_again_gets_a_new_one() -> None:
    flights = SingleFlight[str, int]()
    counted = iter(range(10))

    async def count() -> int:
        await asyncio.sleep(0)
        return next(counted)

    assert [await flights.run("a", count) for _ in range(3)] == [0, 1, 2]


async def test_stopping_ends_all_even_those_that_have_not_begun() -> None:
    flights, work = SingleFlight[str, int](), Work()
    flights.join("a", work)
    await asyncio.sleep(0.001)
    flights.join("b", work)
    await flights.stop()
    assert len(flights) == 0


class Flights(RuleBasedStateMachine):
    """Whatever comes when: at most one per key, and each caller has what he joined."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.flights = SingleFlight[str, int]()
        # Key -> its computation that runs; each caller with the one that he joined.
        self.running: dict[str, asyncio.Future[int]] = {}
        self.callers: list[tuple[asyncio.Task[int], asyncio.Future[int]]] = []

    def teardown(self) -> None:
        self.loop.run_until_complete(self.flights.stop())
        self.settle()
        for caller, _ in self.callers:
            if not caller.cancelled():
                caller.exception()
        self.loop.close()

    def settle(self) -> None:
        for _ in range(6):
            self.loop.run_until_complete(asyncio.sleep(0))

    @rule(key=st.sampled_from("ab"))
    def ask(self, key: str) -> None:
        async def work() -> int:
            assert key not in self.running
            self.running[key] = self.loop.create_future()
            return await self.running[key]

        caller = self.loop.create_task(self.flights.run(key, work))
        self.settle()
        self.callers.append((caller, self.running[key]))

    @rule(key=st.sampled_from("ab"), value=st.integers(0, 9), fails=st.booleans())
    def end(self, key: str, value: int, fails: bool) -> None:
        ending = self.running.pop(key, None)
        if ending is not None:
            if fails:
                ending.set_exception(Unavailable("down"))
            else:
                ending.set_result(value)
            self.settle()

    @rule(number=st.integers(0, 9))
    def leave(self, number: int) -> None:
        if number < len(self.callers):
            self.callers[number][0].cancel()
            self.settle()

    @invariant()
    def each_caller_has_what_he_joined(self) -> None:
        for caller, joined in self.callers:
            if caller.cancelled():
                continue
            assert caller.done() is joined.done()
            if joined.done():
                assert caller.exception() is joined.exception()
                assert joined.exception() or caller.result() == joined.result()

    @invariant()
    def only_those_under_way_are_kept(self) -> None:
        assert len(self.flights) == len(self.running)
        assert all(key in self.flights for key in self.running)


TestFlights = Flights.TestCase
TestFlights.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
