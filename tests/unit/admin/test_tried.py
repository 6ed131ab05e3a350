"""Who waits for a transfer is told of its try, also of one that ends before the wait begins."""

from __future__ import annotations

import asyncio

from admin_server.transfers.tried import Tried


async def test_all_who_wait_for_a_transfer_are_told_and_no_others() -> None:
    tried = Tried()
    with (
        tried.listening("one") as first,
        tried.listening("one") as second,
        tried.listening("two") as other,
    ):
        tried.note("one")
        async with asyncio.timeout(1):
            await asyncio.gather(first.wait(), second.wait())
        assert not other.is_set()


async def test_who_comes_after_a_try_waits_for_the_next_one() -> None:
    tried = Tried()
    with tried.listening("one"):
        tried.note("one")
        with tried.listening("one") as later:
            assert not later.is_set()
            tried.note("one")
            assert later.is_set()


async def test_who_leaves_takes_nothing_from_those_who_still_wait() -> None:
    tried = Tried()
    with tried.listening("one") as waiting:
        with tried.listening("one"):
            pass
        tried.note("one")
        assert waiting.is_set()
    # A try that nobody waits for is told to nobody.
    tried.note("one")
    with tried.listening("one") as new:
        assert not new.is_set()
