"""What is below a part takes little memory, whatever the uploads are, and comes back whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.errors import ResourceExhausted
from storage_server.store import s3_tails
from storage_server.store.s3_tails import Tails
from storage_server.store.threads import Threads
from tests.support.open_files import open_files
from tests.support.waiting import until

MOST = 10_000


@pytest.fixture
async def tails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tails]:
    monkeypatch.setattr(s3_tails, "MEMORY_BYTES", MOST)
    monkeypatch.setattr(s3_tails, "LEAST_TO_FILE_BYTES", 100)
    threads = Threads("test", count=3, deadline_seconds=5)
    yield Tails(threads, tmp_path)
    threads.close()


async def test_beyond_the_memory_those_that_grew_longest_ago_go_to_files(
    tails: Tails, tmp_path: Path
) -> None:
    begun = [tails.begin() for _ in range(300)]
    for step in range(3):
        for n, tail in enumerate(begun):
            tail.add(bytes([n % 256]) * (200 + step))
            await tails.make_room()
            assert tails.memory_bytes <= MOST
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240
    for n, tail in enumerate(begun):
        assert tail.size_bytes == 603
        assert await tail.whole() == bytes([n % 256]) * 603
    for tail in begun:
        tail.drop()
    assert tails.memory_bytes == 0
    del begun, tail
    await until(lambda: not [one for one in open_files() if str(tmp_path) in one])


async def test_it_grows_is_read_and_dropped_while_it_goes(tails: Tails) -> None:
    grows, dropped = tails.begin(), tails.begin()
    grows.add(b"a" * 6000)
    dropped.add(b"b" * 6000)
    going = [grows.begin_to_go(), dropped.begin_to_go()]
    await asyncio.sleep(0)
    grows.add(b"c" * 50)
    dropped.drop()
    assert await grows.whole() == b"a" * 6000 + b"c" * 50
    await asyncio.wait(going)
    assert tails.memory_bytes == 50
    grows.drop()
    assert tails.memory_bytes == 0


async def test_a_disk_that_is_full_stops_who_brings_more_and_loses_nothing(
    tails: Tails, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    first, second = tails.begin(), tails.begin()
    first.add(b"a" * 6000)
    await tails.make_room()
    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", full)
        second.add(b"b" * 6000)
        with pytest.raises(ResourceExhausted):
            await tails.make_room()
    assert await first.whole() == b"a" * 6000
    await tails.make_room()
    assert tails.memory_bytes <= MOST
    assert (await first.whole(), await second.whole()) == (b"a" * 6000, b"b" * 6000)


async def test_parts_wait_until_others_are_sent(
    tails: Tails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_tails, "SENDING_BYTES", 20)
    under_way, most = 0, 0

    async def send(size: int) -> None:
        nonlocal under_way, most
        async with tails.sending(size):
            under_way += size
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= size

    await asyncio.gather(*(send(8) for _ in range(50)))
    assert most == 16
    # One that is larger than all goes alone.
    await asyncio.wait_for(asyncio.gather(send(30), send(8), send(30)), 5)
