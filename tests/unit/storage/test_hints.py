"""Every change is followed by a hint, also one that comes while an earlier hint goes out."""

from __future__ import annotations

import asyncio

import pytest

from mesh.concurrency.bell import Bell
from mesh.concurrency.watched import cancel_and_wait
from mesh.elements.discovery import CHANGES_CHANNEL
from storage_server.feed import hints


class Valkey:
    """Takes hints, and lets a test do something meanwhile."""

    def __init__(self) -> None:
        self.published: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.on_publish = asyncio.Event()

    async def publish(self, channel: str, message: str) -> None:
        self.published.put_nowait((channel, message))
        self.on_publish.set()
        await asyncio.sleep(0.001)


async def test_a_change_while_a_hint_goes_out_has_a_hint_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hints, "DEBOUNCE_SECONDS", 0.001)
    valkey, bell = Valkey(), Bell()
    telling = asyncio.create_task(hints.publish_hints(valkey, bell, "se-01"))
    await asyncio.sleep(0)
    bell.ring()
    await valkey.on_publish.wait()
    bell.ring()
    async with asyncio.timeout(5):
        told = [await valkey.published.get() for _ in range(2)]
    assert told == [(CHANGES_CHANNEL, "se-01")] * 2
    await asyncio.sleep(0.005)
    assert valkey.published.empty()
    await cancel_and_wait(telling)
