"""Many uploads at once take turns in having their file open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_server.store import open_stages as module
from storage_server.store.local import LocalStore
from tests.support.open_files import open_stages
from tests.support.waiting import until

MOST = 4
STAGES = 20


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalStore]:
    monkeypatch.setattr(module, "OPEN_FILES", MOST)
    store = await LocalStore.open(tmp_path / "element")
    yield store
    await store.close()


async def test_those_used_last_are_open_and_all_go_on(store: LocalStore) -> None:
    stages = [await store.open_stage(f"2026/01/01/00/{n}", key=str(n)) for n in range(STAGES)]
    for step in range(3):
        for n, stage in enumerate(stages):
            await stage.write(bytes([n]) * (step + 1))
            await stage.checkpoint()
            await until(lambda: len(open_stages()) <= MOST)
        assert sorted(Path(one).name for one in open_stages()) == ["16", "17", "18", "19"]
    for n, stage in enumerate(stages):
        blob = await stage.seal()
        assert blob.size_bytes == 6
        await stage.place()
        read = store.read_blob(f"2026/01/01/00/{n}", offset=0, length=6, chunk_size=100)
        assert [data async for data in read] == [bytes([n]) * 6]
    for stage in stages:
        await stage.close()
    await until(lambda: not open_stages())


async def test_all_at_once_lose_nothing(store: LocalStore) -> None:
    async def upload(n: int) -> bytes:
        stage = await store.open_stage(f"2026/01/01/00/{n}", key=str(n))
        for _ in range(10):
            await stage.write(bytes([n]) * 1000)
            await asyncio.sleep(0)
        await stage.seal()
        await stage.place()
        await stage.close()
        read = store.read_blob(f"2026/01/01/00/{n}", offset=0, length=10_000, chunk_size=10_000)
        return b"".join([data async for data in read])

    found = await asyncio.gather(*(upload(n) for n in range(STAGES)))
    assert found == [bytes([n]) * 10_000 for n in range(STAGES)]
    await until(lambda: not open_stages())
