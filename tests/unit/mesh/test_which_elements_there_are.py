"""Which elements a server knows: heard of in Valkey, listed by admin, forgotten by both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

import pytest

from mesh.contract import MAX_REPORT_AGE_SECONDS
from mesh.elements.seen import SeenElement
from mesh.elements.view import ElementView
from mesh.errors import Unavailable
from tests.support.elements import an_element


class Sources:
    """Reports of Valkey and admin's list, id to endpoint; None is down."""

    def __init__(self) -> None:
        self.reports: dict[str, str] | None = {}
        self.listed: dict[str, str] | None = {}
        self.now = 1000.0
        self.looks = 0

    def clock(self) -> float:
        return self.now

    async def pass_time(self, view: ElementView) -> None:
        """So long that what was reported before says nothing any more."""
        self.now += MAX_REPORT_AGE_SECONDS + 1
        await view._read_reports()

    def _answer(self, elements: dict[str, str] | None) -> list[SeenElement]:
        if elements is None:
            raise Unavailable("down")
        return [
            an_element(name, endpoint=place, reported_at=time.time())
            for name, place in elements.items()
        ]


class Reports:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def read(self, element_ids: Collection[str]) -> list[SeenElement]:
        return [
            e for e in self._sources._answer(self._sources.reports) if e.element_id in element_ids
        ]

    async def find_ids(self) -> set[str]:
        return {e.element_id for e in self._sources._answer(self._sources.reports)}


class Listing:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def read(self) -> list[SeenElement]:
        self._sources.looks += 1
        await asyncio.sleep(0)
        return self._sources._answer(self._sources.listed)


@pytest.fixture
def sources() -> Sources:
    return Sources()


@pytest.fixture
def view(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> ElementView:
    monkeypatch.setattr("mesh.elements.view.LOOK_SECONDS", 0.0)
    return ElementView(Reports(sources), Listing(sources), clock=sources.clock)


async def look(sources: Sources, view: ElementView) -> None:
    sources.now += 2
    await view.look()


async def test_an_element_that_is_down_is_known_from_admin(
    sources: Sources, view: ElementView
) -> None:
    sources.reports, sources.listed = {"se-01": "a:1"}, {"se-01": "a:1", "se-02": "a:2"}
    await look(sources, view)
    assert view.endpoints() == {"se-01": "a:1", "se-02": "a:2"}
    assert view.listed


async def test_one_whose_row_is_gone_is_forgotten_once_it_reports_no_more(
    sources: Sources, view: ElementView
) -> None:
    sources.reports = {"se-01": "a:1", "se-04": "a:4"}
    sources.listed = dict(sources.reports)
    await look(sources, view)
    del sources.listed["se-04"]
    await sources.pass_time(view)
    await look(sources, view)
    assert "se-04" in view.endpoints()
    del sources.reports["se-04"]
    await sources.pass_time(view)
    await look(sources, view)
    assert view.endpoints() == {"se-01": "a:1"}


@pytest.mark.parametrize("down", ["reports", "listed"])
async def test_while_either_is_down_nothing_is_forgotten(
    sources: Sources, view: ElementView, down: str
) -> None:
    sources.reports = sources.listed = {"se-01": "a:1", "se-04": "a:4"}
    await look(sources, view)
    sources.reports = sources.listed = {"se-01": "a:1"}
    setattr(sources, down, None)
    await sources.pass_time(view)
    await look(sources, view)
    assert set(view.endpoints()) == {"se-01", "se-04"}


async def test_one_that_only_admin_knew_is_forgotten_though_valkey_is_down(
    sources: Sources, view: ElementView
) -> None:
    sources.reports, sources.listed = {"se-01": "a:1"}, {"se-01": "a:1", "se-04": "a:4"}
    await look(sources, view)
    await view._read_reports()
    assert set(view.endpoints()) == {"se-01", "se-04"}
    del sources.listed["se-04"]
    sources.reports = None
    await sources.pass_time(view)
    await look(sources, view)
    assert set(view.endpoints()) == {"se-01"}


async def test_without_admin_nobody_knows_all(sources: Sources, view: ElementView) -> None:
    sources.reports, sources.listed = {"se-01": "a:1"}, None
    await look(sources, view)
    assert view.endpoints() == {"se-01": "a:1"}
    assert not view.listed


async def test_without_admin_a_look_finds_what_reported_a_moment_ago(
    sources: Sources, view: ElementView
) -> None:
    sources.reports, sources.listed = {"se-01": "a:1"}, None
    await look(sources, view)
    sources.reports["se-04"] = "a:4"
    await look(sources, view)
    assert view.endpoints() == {"se-01": "a:1", "se-04": "a:4"}


async def test_those_who_look_at_the_same_time_share_one_look(
    sources: Sources, view: ElementView
) -> None:
    sources.reports = sources.listed = {"se-01": "a:1"}
    sources.now += 2
    await asyncio.gather(*(view.look() for _ in range(20)))
    assert sources.looks == 1
