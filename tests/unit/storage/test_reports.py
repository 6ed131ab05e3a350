"""What an element announces about itself, over a Valkey and a description of the test's own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from artstore.v1 import elements_pb2
from mesh.concurrency.bell import Bell
from mesh.concurrency.watched import cancel_and_wait
from mesh.elements.discovery import REPORT_CHANNEL
from storage_server.reporting.reports import Reports


class Valkey:
    """Notes what is published; `reported` counts the reports."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.reported = asyncio.Semaphore(0)

    async def set(self, key: str, value: str, *, ex: int) -> None:
        self.reported.release()

    async def publish(self, channel: str, message: str) -> None:
        self.published.append(channel)


class Healthy:
    """The description of an element that nothing is wrong with."""

    endpoint = "a:1"
    unwritable_reason = ""

    async def look(self) -> None:
        return

    def report(self) -> elements_pb2.StorageElementReport:
        return elements_pb2.StorageElementReport(storage_element_id="se-01", endpoint="a:1")


def reports_of(element: Any, valkey: Valkey) -> Reports:
    description: Any = Healthy()
    nobody: Any = SimpleNamespace(unary_unary=lambda *_, **__: None)
    nobody.unary_stream = nobody.unary_unary
    return Reports(element, description, redis=valkey, admin=nobody, account=nobody)


async def test_a_healthy_element_is_announced_as_it_starts_and_then_only_when_it_changes() -> None:
    element = SimpleNamespace(element_id="se-01", is_writer=True, changed=Bell())
    # It opened its store before anybody listened.
    element.changed.ring()
    valkey = Valkey()
    telling = asyncio.create_task(reports_of(element, valkey).to_redis())
    async with asyncio.timeout(5):
        await valkey.reported.acquire()
        await asyncio.sleep(0)
        assert valkey.published == [REPORT_CHANNEL]
        element.changed.ring()
        await valkey.reported.acquire()
        await asyncio.sleep(0)
    assert valkey.published == [REPORT_CHANNEL] * 2
    await cancel_and_wait(telling)
