"""An element that is no part of the mesh any more leaves cursor and rows behind, for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.follower import fleet as fleets
from tests.support.following import Following, replica_rows
from tests.support.storage_rig import Node
from tests.support.waiting import until

Follow = Callable[..., Following]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "GONE_SECONDS", 0.3)
    monkeypatch.setattr(fleets, "STATUS_AGE_SECONDS", 0.0)
    monkeypatch.setattr(fleets, "DISCOVERY_SECONDS", 0.1)


async def test_files_of_an_element_that_is_none_any_more_are_dropped_and_come_back_with_it(
    at_once: None, shared_element: Node, follow: Follow
) -> None:
    await shared_element.upload()
    follower = follow(shared_element, knows_all=lambda: True)
    known: dict[str, str] = {follower.element_id: follower.endpoint}
    follower.fleet._elements = lambda: known
    async with follower.running():
        await follower.agrees()
        assert await follower.fleet.complete()
        known.clear()
        await until(lambda: _forgotten(follower))
        assert await replica_rows(follower.table) == set()
        known[follower.element_id] = follower.endpoint
        await follower.agrees()


async def test_after_a_restart_they_are_dropped_too_and_by_one_of_two_processes(
    at_once: None, shared_element: Node, follow: Follow
) -> None:
    first = follow(shared_element)
    async with first.running():
        await first.agrees()
    others = [follow(shared_element, knows_all=lambda: True) for _ in range(2)]
    for other in others:
        other.fleet._elements = dict
    async with others[0].running(), others[1].running():
        await until(lambda: _forgotten(first))
    assert await replica_rows(first.table) == set()


async def test_as_long_as_it_is_not_known_which_there_are_nothing_is_dropped(
    at_once: None, shared_element: Node, follow: Follow
) -> None:
    follower = follow(shared_element)
    known: Any = {follower.element_id: follower.endpoint}
    follower.fleet._elements = lambda: known
    async with follower.running():
        await follower.agrees()
        before = await replica_rows(follower.table)
        known = {}
        await until(lambda: not follower.fleet._followers.running)
        await follower.fleet._forget_gone({})
        assert not follower.fleet._forgetting
    assert await replica_rows(follower.table) == before


async def _forgotten(follower: Following) -> bool:
    return await follower.status() is None
