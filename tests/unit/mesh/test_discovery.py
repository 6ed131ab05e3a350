"""Which elements a server knows: heard of in Valkey, listed by admin, forgotten by both."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from artstore.v1.elements_pb2 import StorageElement
from mesh.elements import discovery
from mesh.elements.discovery import ElementDirectory
from mesh.errors import Unavailable


class Sources:
    """Reports of Valkey and admin's list; None is down."""

    def __init__(self) -> None:
        self.reports: dict[str, str] | None = {}
        self.listed: dict[str, str] | None = {}

    @staticmethod
    def _answer(elements: dict[str, str] | None) -> list[StorageElement]:
        if elements is None:
            raise Unavailable("down")
        return [
            StorageElement(storage_element_id=name, endpoint=place)
            for name, place in elements.items()
        ]

    async def in_redis(self, _: Any) -> list[StorageElement]:
        return self._answer(self.reports)

    async def of_admin(self, *_: Any) -> list[StorageElement]:
        return self._answer(self.listed)


class Account:
    def metadata(self) -> tuple[()]:
        return ()


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    made = Sources()
    monkeypatch.setattr(discovery, "reports_in_redis", made.in_redis)
    monkeypatch.setattr(discovery, "reports_of_admin", made.of_admin)
    monkeypatch.setattr(discovery, "StorageElementServiceStub", lambda _: None)
    return made


@pytest.fixture
def directory(sources: Sources) -> ElementDirectory:
    nobody: Any = None
    account: Any = Account()
    return ElementDirectory(redis=nobody, admin=nobody, account=account)


async def test_an_element_that_is_down_is_known_from_admin(
    sources: Sources, directory: ElementDirectory
) -> None:
    sources.reports, sources.listed = {"se-01": "a:1"}, {"se-01": "a:1", "se-02": "a:2"}
    await directory.look()
    assert directory.endpoints() == {"se-01": "a:1", "se-02": "a:2"}
    assert directory.knows_all


async def test_one_whose_row_is_gone_is_forgotten_once_it_reports_no_more(
    sources: Sources, directory: ElementDirectory
) -> None:
    sources.reports = {"se-01": "a:1", "se-04": "a:4"}
    sources.listed = dict(sources.reports)
    await directory.look()
    del sources.listed["se-04"]
    await directory.look()
    assert "se-04" in directory.endpoints()
    del sources.reports["se-04"]
    await directory.look()
    assert directory.endpoints() == {"se-01": "a:1"}


@pytest.mark.parametrize("down", ["reports", "listed"])
async def test_while_either_is_down_nothing_is_forgotten(
    sources: Sources, directory: ElementDirectory, down: str
) -> None:
    sources.reports = sources.listed = {"se-01": "a:1", "se-04": "a:4"}
    await directory.look()
    sources.reports = sources.listed = {"se-01": "a:1"}
    setattr(sources, down, None)
    await directory.look()
    assert set(directory.endpoints()) == {"se-01", "se-04"}


async def test_without_admin_nobody_knows_all(
    sources: Sources, directory: ElementDirectory
) -> None:
    sources.reports, sources.listed = {"se-01": "a:1"}, None
    await directory.look()
    assert directory.endpoints() == {"se-01": "a:1"}
    assert not directory.knows_all


async def test_those_who_look_at_the_same_time_share_one_look(
    sources: Sources, directory: ElementDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources.reports = sources.listed = {"se-01": "a:1"}
    looks = 0

    async def in_redis(_: Any) -> list[StorageElement]:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return await sources.in_redis(_)

    monkeypatch.setattr(discovery, "reports_in_redis", in_redis)
    await asyncio.gather(*(directory.look() for _ in range(20)))
    assert looks == 2
