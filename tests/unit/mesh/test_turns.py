"""Whose calls begin when one account has many."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from mesh.identity.caller import ANONYMOUS, Caller, Role
from mesh.server.interceptors.turns import Turns
from tests.support.waiting import until

FOR_EVER = 3600.0


def a_call(subject: str, role: Role = Role.READONLY) -> Any:
    caller = Caller(subject, role)
    return SimpleNamespace(caller=caller, peer=caller, messages=SimpleNamespace(turn=None))


def without_a_token(address: str) -> Any:
    context = SimpleNamespace(peer=lambda: address)
    messages = SimpleNamespace(turn=None)
    return SimpleNamespace(caller=ANONYMOUS, peer=ANONYMOUS, context=context, messages=messages)


class Handlers:
    """Calls that have begun, and go on until they are told to end."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.begun: list[int] = []
        self._ends: dict[int, asyncio.Event] = {}

    def start(self, call: Any, number: int) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self._turns(call, number, proceed=self._handle))

    async def _handle(self, call: Any, number: int) -> int:
        self.begun.append(number)
        await self._ends.setdefault(number, asyncio.Event()).wait()
        return number

    def end(self, number: int) -> None:
        self._ends.setdefault(number, asyncio.Event()).set()


async def settled() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


def nothing_is_left(turns: Turns) -> bool:
    return not turns._places and not turns._waiting


async def test_calls_of_one_account_begin_some_at_a_time_in_their_order() -> None:
    turns = Turns(at_once=2, beginning_seconds=FOR_EVER)
    handlers = Handlers(turns)
    tasks = [handlers.start(a_call("eve"), number) for number in range(6)]
    await settled()
    assert handlers.begun == [0, 1]
    handlers.end(1)
    await settled()
    assert handlers.begun == [0, 1, 2]
    for number in range(6):
        handlers.end(number)
    assert await asyncio.gather(*tasks) == list(range(6))
    assert handlers.begun == list(range(6))
    assert nothing_is_left(turns)


async def test_others_do_not_wait_for_an_account_that_has_many() -> None:
    turns = Turns(at_once=1, beginning_seconds=FOR_EVER)
    handlers = Handlers(turns)
    anonymous = without_a_token("ipv4:127.0.0.1:5")
    others = [a_call("anna"), a_call("se-01", Role.SERVICE), a_call("root", Role.ADMIN), anonymous]
    tasks = [handlers.start(a_call("eve"), number) for number in range(3)]
    tasks += [handlers.start(call, 10 + number) for number, call in enumerate(others * 2)]
    await settled()
    assert sorted(handlers.begun) == [0, 10, 11, 12, 13, 15, 16, 17]
    for number in range(20):
        handlers.end(number)
    await asyncio.gather(*tasks)
    assert nothing_is_left(turns)


async def test_a_call_that_waits_for_something_lets_the_next_one_begin() -> None:
    turns = Turns(at_once=1, beginning_seconds=0.001)
    handlers = Handlers(turns)
    tasks = [handlers.start(a_call("eve"), number) for number in range(3)]
    await until(lambda: handlers.begun == [0, 1, 2])
    for number in range(3):
        handlers.end(number)
    await asyncio.gather(*tasks)
    await until(lambda: nothing_is_left(turns))


async def test_a_caller_that_leaves_before_or_at_his_turn_gives_it_to_the_next() -> None:
    turns = Turns(at_once=1, beginning_seconds=FOR_EVER)
    handlers = Handlers(turns)
    tasks = [handlers.start(a_call("eve"), number) for number in range(5)]
    await settled()
    tasks[1].cancel()
    await settled()
    tasks[0].cancel()
    await asyncio.sleep(0)
    # The third has its turn now, and has not gone on yet.
    tasks[2].cancel()
    await settled()
    assert handlers.begun == [0, 3]
    tasks[3].cancel()
    await settled()
    assert handlers.begun == [0, 3, 4]
    handlers.end(4)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert nothing_is_left(turns)


async def test_answers_of_an_account_that_has_many_streams_do_not_fill_the_rounds_of_the_loop() -> (
    None
):
    turns, written = Turns(), list[str]()

    async def stream(call: Any, count: int) -> None:
        for _ in range(count):
            await call.messages.turn()
            written.append(call.caller.subject)

    calls = [(a_call("eve"), 10) for _ in range(10)] + [(a_call("anna"), 5)]
    await asyncio.gather(*(turns(call, count, proceed=stream) for call, count in calls))
    last = max(number for number, subject in enumerate(written) if subject == "anna")
    assert last < 30


async def test_servers_and_administrators_wait_for_no_turn() -> None:
    turns = Turns()
    for role in (Role.SERVICE, Role.ADMIN):
        call = a_call("one", role)

        async def proceed(_: Any, __: Any) -> None:
            return None

        await turns(call, None, proceed=proceed)
        assert call.messages.turn is None
