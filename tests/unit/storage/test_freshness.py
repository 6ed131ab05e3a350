"""What admin decided on behalf of a user is as short-lived as its own steps, at the lock too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh.errors import Aborted
from storage_server.domain.freshness import Freshness
from storage_server.files.erasing import Erasure
from tests.support.memory_element import ALICE, MemoryElement
from tests.support.origins import BY_ALICE
from tests.unit.storage.stepping import a_minute_at_the_lock

Take = Callable[[MemoryElement, str, Freshness], Awaitable[Any]]


async def hold(element: MemoryElement, file_id: str, freshness: Freshness) -> Any:
    return await element.changes.hold(file_id, True, ALICE, by=BY_ALICE, freshness=freshness)


async def make_permanent(element: MemoryElement, file_id: str, freshness: Freshness) -> Any:
    return await element.changes.make_permanent(
        file_id, ALICE, by=BY_ALICE, expected_digest=None, freshness=freshness
    )


async def erase(element: MemoryElement, file_id: str, freshness: Freshness) -> Any:
    return await element.erasing.erase(Erasure(file_id, BY_ALICE, freshness=freshness))


every_call = pytest.mark.parametrize("take", [hold, make_permanent, erase])


@pytest.fixture
def element() -> MemoryElement:
    return MemoryElement()


async def a_file(element: MemoryElement) -> str:
    view = await element.upload(b"hello")
    assert view.sidecar.expires_at is not None
    return view.sidecar.file_id


def decided(*, age: float = 0.0, life: float | None = None) -> Freshness:
    at = datetime.now(UTC) - timedelta(seconds=age)
    return Freshness(at, None if life is None else at + timedelta(seconds=life))


@every_call
async def test_decided_too_long_ago_or_from_now_it_is_refused(
    element: MemoryElement, take: Take
) -> None:
    file_id = await a_file(element)
    before = element.sidecar(file_id)
    for freshness in (
        decided(age=61),
        decided(age=-6),
        decided(age=3, life=2),
        decided(age=61, life=3600),
    ):
        with pytest.raises(Aborted) as refused:
            await take(element, file_id, freshness)
        assert refused.value.reason == "STALE"
    assert element.sidecar(file_id) == before
    await take(element, file_id, decided(age=55))
    assert element.sidecar(file_id) != before


@every_call
async def test_having_waited_a_minute_for_the_lock_it_is_refused(
    element: MemoryElement, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await a_file(element)
    before = element.sidecar(file_id)
    await a_minute_at_the_lock(element, file_id, monkeypatch, take(element, file_id, decided()))
    assert element.sidecar(file_id) == before
    assert element.tables.intents == {}


@every_call
async def test_its_age_is_told_by_the_clocks_that_agree(element: MemoryElement, take: Take) -> None:
    """This machine's is an hour behind."""
    file_id = await a_file(element)
    asked_at = element.clock.monotonic()
    element.clock.heard("PostgreSQL", datetime.now(UTC).timestamp() + 3600, asked_at=asked_at)
    with pytest.raises(Aborted):
        await take(element, file_id, decided())
    await take(element, file_id, decided(age=-3600))
