"""The view of the elements, over sources that a test holds in its hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mesh.concurrency.watched import cancel_and_wait
from mesh.elements.seen import SeenElement
from mesh.elements.view import (
    REDIS_INTERVAL_SECONDS,
    WALK_INTERVAL_SECONDS,
    ElementView,
    follow_hints,
)
from mesh.errors import Unavailable
from mesh.follower.fleet import DISCOVERY_SECONDS, GONE_SECONDS
from tests.support.elements import an_element


class Source:
    """Reports of both kinds; `down` raises, `asked` counts."""

    def __init__(self, *elements: SeenElement) -> None:
        self.elements = {e.element_id: e for e in elements}
        self.down = False
        self.asked = 0
        self.walks = 0

    def _answer(self, names: Collection[str]) -> list[SeenElement]:
        self.asked += 1
        if self.down:
            raise Unavailable("down")
        return [e for e in self.elements.values() if e.element_id in names]


class Reports(Source):
    async def read(self, element_ids: Collection[str]) -> list[SeenElement]:
        return self._answer(element_ids)

    async def find_ids(self) -> set[str]:
        self.walks += 1
        return set(self.elements)


class Registry(Source):
    async def read(self) -> list[SeenElement]:
        return self._answer(self.elements)


class Subscription:
    """A channel that nothing is published on."""

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def subscribe(self, channel: str) -> None:
        return

    async def get_message(self, timeout: float) -> None:
        await asyncio.sleep(timeout)


@asynccontextmanager
async def following(reports: Reports, registry: Registry) -> AsyncIterator[ElementView]:
    elements = ElementView(reports, registry)
    tasks = [
        asyncio.create_task(elements.follow_registry()),
        asyncio.create_task(elements.follow_reports()),
    ]
    try:
        yield elements
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hinted(elements: ElementView, reports: Reports, element_id: str = "") -> None:
    before = reports.asked
    elements.hint(element_id)
    async with asyncio.timeout(2):
        while reports.asked == before:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_the_younger_report_wins_whichever_source_has_it() -> None:
    now = time.time()
    reports = Reports(an_element(used_bytes=1, reported_at=now - 5))
    registry = Registry(an_element(used_bytes=2, reported_at=now - 2))
    async with following(reports, registry) as elements:
        await elements.ready()
        assert [e.used_bytes for e in elements.all()] == [2]
        reports.elements["se-01"] = an_element(used_bytes=3, reported_at=now)
        await _hinted(elements, reports)
        assert [e.used_bytes for e in elements.all()] == [3]


@pytest.mark.parametrize("ahead", [-250, -20, 20, 250])
async def test_an_element_with_another_clock_is_believed_from_its_second_report_on(
    ahead: int,
) -> None:
    now = time.time()
    reports = Reports(an_element(reported_at=now + ahead))
    registry = Registry(an_element(reported_at=0.0, healthy=False))
    async with following(reports, registry) as elements:
        await elements.ready()
        await _hinted(elements, reports)
        assert elements.count_fresh() == 0
        reports.elements["se-01"] = an_element(reported_at=now + ahead + 2, used_bytes=3)
        await _hinted(elements, reports)
        assert elements.count_fresh() == 1
        assert [e.used_bytes for e in elements.all()] == [3]


async def test_what_admin_heard_of_a_moment_ago_takes_uploads_though_the_clocks_differ() -> None:
    registry = Registry(an_element(reported_at=time.time() - 100, healthy=True))
    async with following(Reports(), registry) as elements:
        await elements.ready()
        assert elements.count_fresh() == 1


async def test_admin_decides_the_priority() -> None:
    now = time.time()
    reports = Reports(an_element(priority=100, reported_at=now))
    registry = Registry(an_element(priority=7, reported_at=now - 3))
    async with following(reports, registry) as elements:
        await elements.ready()
        await _hinted(elements, reports)
        assert [e.priority for e in elements.all()] == [7]


async def test_without_admin_elements_are_found_by_walking_redis_once() -> None:
    reports, registry = Reports(an_element(reported_at=time.time())), Registry()
    registry.down = True
    async with following(reports, registry) as elements:
        await elements.ready()
        await _hinted(elements, reports)
        assert [e.element_id for e in elements.all()] == ["se-01"]
        assert reports.walks == 1


async def test_an_element_that_nobody_names_is_found_by_the_next_walk() -> None:
    reports, registry = Reports(), Registry(an_element(reported_at=time.time()))
    now = 1000.0
    elements = ElementView(reports, registry, clock=lambda: now)
    await elements._read_registry()
    await elements._read_reports()
    reports.elements["se-02"] = an_element("se-02", reported_at=time.time())
    now += WALK_INTERVAL_SECONDS - 1
    await elements._read_reports()
    assert set(elements.endpoints()) == {"se-01"}
    now += 2
    await elements._read_reports()
    assert set(elements.endpoints()) == {"se-01", "se-02"}


async def test_one_that_admin_lists_and_redis_has_is_joined_by_those_that_only_redis_has() -> None:
    now = time.time()
    reports = Reports(an_element(reported_at=now), an_element("se-02", reported_at=now))
    elements = ElementView(reports, Registry(an_element(reported_at=now)))
    elements._registry_works = await elements._read_registry()
    await elements._read_reports()
    assert set(elements.endpoints()) == {"se-01", "se-02"}


async def test_a_new_subscription_brings_what_was_announced_before_it() -> None:
    now = time.time()
    reports, registry = Reports(an_element(reported_at=now)), Registry(an_element())
    async with following(reports, registry) as elements:
        await elements.ready()
        await _hinted(elements, reports)
        reports.elements["se-02"] = an_element("se-02", reported_at=now)
        client: Any = SimpleNamespace(pubsub=lambda **_: Subscription())
        listening = asyncio.create_task(follow_hints(client, elements))
        async with asyncio.timeout(2):
            while "se-02" not in elements.endpoints():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await cancel_and_wait(listening)


def test_files_are_dropped_only_after_a_walk_has_not_found_their_element() -> None:
    turns = REDIS_INTERVAL_SECONDS + DISCOVERY_SECONDS
    assert WALK_INTERVAL_SECONDS + turns < GONE_SECONDS


async def test_a_hint_brings_an_element_that_nobody_listed() -> None:
    now = time.time()
    reports, registry = Reports(an_element(reported_at=now)), Registry(an_element())
    async with following(reports, registry) as elements:
        await elements.ready()
        reports.elements["se-02"] = an_element("se-02", reported_at=now)
        await _hinted(elements, reports, "se-02")
        assert {e.element_id for e in elements.all()} == {"se-01", "se-02"}


async def test_hints_that_name_nothing_do_not_pile_up() -> None:
    reports, registry = Reports(), Registry()
    elements = ElementView(reports, registry)
    for number in range(10_000):
        elements.hint(f"x-{number}")
    elements.hint("not an id \0")
    async with asyncio.timeout(1):
        task = asyncio.create_task(elements.follow_reports())
        while not reports.asked:  # noqa: ASYNC110
            await asyncio.sleep(0)
    task.cancel()
    assert len(elements._hinted) <= 100


async def test_an_element_without_reports_keeps_its_address() -> None:
    old = an_element(reported_at=time.time() - 3600, endpoint="localhost:77")
    async with following(Reports(), Registry(old)) as elements:
        found = await elements.find("se-01")
        assert found is not None
        assert found.endpoint == "localhost:77"
        assert elements.count_fresh() == 0
        assert await elements.find("se-02") is None


async def test_an_unknown_element_is_no_verdict_while_admin_is_away() -> None:
    reports, registry = Reports(an_element(reported_at=time.time())), Registry()
    registry.down = True
    async with following(reports, registry) as elements:
        with pytest.raises(Unavailable):
            await elements.find("se-02")


async def test_nothing_known_is_unavailable_after_a_moment() -> None:
    with pytest.raises(Unavailable):
        await ElementView(Reports(), Registry()).ready(0.05)


async def test_a_new_address_replaces_the_old_one() -> None:
    now = time.time()
    reports, registry = Reports(), Registry(an_element(reported_at=now - 1))
    async with following(reports, registry) as elements:
        await elements.ready()
        moved = replace(registry.elements["se-01"], endpoint="localhost:2", reported_at=now)
        reports.elements["se-01"] = moved
        await _hinted(elements, reports)
        found = await elements.find("se-01")
        assert found is not None
        assert found.endpoint == "localhost:2"


async def test_an_element_that_nobody_listed_yet_is_asked_for_at_admin() -> None:
    now = time.time()
    reports, registry = Reports(), Registry(an_element(reported_at=now))
    async with following(reports, registry) as elements:
        await elements.ready()
        registry.elements["se-04"] = an_element("se-04", reported_at=now)
        before = registry.asked
        found = await asyncio.gather(*(elements.find("se-04") for _ in range(20)))
        assert all(found)
        assert registry.asked == before + 1


async def test_unknown_ids_do_not_make_admin_busy() -> None:
    reports, registry = Reports(), Registry(an_element(reported_at=time.time()))
    async with following(reports, registry) as elements:
        await elements.ready()
        before = registry.asked
        found = await asyncio.gather(*(elements.find(f"se-1{number}") for number in range(500)))
        assert not any(found)
        assert registry.asked <= before + 3


async def test_what_admin_does_not_list_takes_no_upload_while_admin_is_there() -> None:
    now = time.time()
    reports = Reports(an_element(reported_at=now), an_element("se-04", reported_at=now))
    registry = Registry(an_element(reported_at=now))
    async with following(reports, registry) as elements:
        await elements.ready()
        await _hinted(elements, reports, "se-04")
        await elements.look()
        assert {e.element_id for e in elements.all()} == {"se-01", "se-04"}
        assert [e.element_id for e in elements.placeable()] == ["se-01"]
        registry.elements["se-04"] = reports.elements["se-04"]
        await elements.look()
        assert {e.element_id for e in elements.placeable()} == {"se-01", "se-04"}


async def test_an_element_whose_row_is_gone_is_forgotten_once_it_is_silent() -> None:
    now = time.time()
    silent, lively = an_element(reported_at=now - 60), an_element("se-02", reported_at=now)
    reports, registry = Reports(), Registry(silent, lively)
    elements = ElementView(reports, registry)
    await elements._read_registry()
    assert {e.element_id for e in elements.all()} == {"se-01", "se-02"}
    registry.elements.clear()
    await elements._read_registry()
    assert [e.element_id for e in elements.all()] == ["se-02"]


async def test_an_element_that_admin_could_not_be_asked_about_takes_uploads() -> None:
    now = time.time()
    reports, registry = Reports(an_element(reported_at=now)), Registry(an_element(reported_at=now))
    async with following(reports, registry) as elements:
        await elements.ready()
        registry.down = True
        reports.elements["se-04"] = an_element("se-04", reported_at=now)
        await _hinted(elements, reports, "se-04")
        await elements.look()
        assert {e.element_id for e in elements.placeable()} == {"se-01", "se-04"}


async def test_that_admin_lists_nothing_is_known_after_a_moment() -> None:
    async with following(Reports(), Registry()) as elements:
        await elements.ready(0.05)
        assert elements.all() == []
        assert elements.listed


async def test_what_admin_lists_is_not_known_while_it_is_away() -> None:
    reports, registry = Reports(an_element(reported_at=time.time())), Registry()
    registry.down = True
    async with following(reports, registry) as elements:
        await elements.ready()
        assert not elements.listed
