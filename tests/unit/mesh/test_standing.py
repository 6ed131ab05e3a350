"""Calls under way, and what ends them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from mesh.errors import Unauthenticated
from mesh.identity.caller import Caller, Role
from mesh.identity.suspensions import Suspension, SuspensionList, Suspensions
from mesh.server.interceptors.standing import Standing


def call_of(name: str) -> Any:
    caller = Caller(name, Role.USER, token="t", issued_at=1000.0)
    return SimpleNamespace(caller=caller, peer=caller, method="/x", cut=False)


async def test_a_suspension_that_came_while_the_token_was_looked_at_counts() -> None:
    suspensions, ran = Suspensions(), False
    suspensions.take(SuspensionList(1.0, (Suspension("mallory", 1.0),)))
    standing: Any = Standing(SimpleNamespace(suspensions=suspensions))  # type: ignore[arg-type]

    async def proceed(call: Any, request: Any) -> None:
        nonlocal ran
        ran = True

    with pytest.raises(Unauthenticated):
        await standing(call_of("mallory"), None, proceed=proceed)
    assert not ran
    await standing(call_of("alice"), None, proceed=proceed)
    assert ran


async def test_a_call_that_cannot_be_judged_ends_and_the_others_are_still_watched() -> None:
    suspensions, started = Suspensions(), asyncio.Semaphore(0)
    good = suspensions.require_good

    def require_good(caller: Caller) -> None:
        if caller.subject == "odd" and len(suspensions):
            raise OverflowError
        good(caller)

    suspensions.require_good = require_good  # type: ignore[method-assign]
    standing: Any = Standing(SimpleNamespace(suspensions=suspensions))  # type: ignore[arg-type]

    async def proceed(call: Any, request: Any) -> None:
        started.release()
        await asyncio.Event().wait()

    async def held(name: str) -> None:
        await standing(call_of(name), None, proceed=proceed)

    calls = [asyncio.create_task(held(name)) for name in ("odd", "mallory")]
    watch = asyncio.create_task(standing.watch())
    for _ in calls:
        await started.acquire()
    suspensions.take(SuspensionList(1.0, (Suspension("mallory", 1.0),)))
    async with asyncio.timeout(5):
        for call in calls:
            with pytest.raises(Unauthenticated):
                await call
    assert not watch.done()
    watch.cancel()
