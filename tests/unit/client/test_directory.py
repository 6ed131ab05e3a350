"""Elements as the client knows them: configured, listed by admin, silent where they were."""

from __future__ import annotations

import asyncio

import pytest

from artstore.v1 import elements_pb2
from artstore_client import errors
from artstore_client.calls.directory import FRESH_SECONDS, REST_SECONDS, ElementDirectory


class Admin:
    """Lists what a test says; `fails` is raised instead."""

    def __init__(self, **endpoints: str) -> None:
        self.endpoints = {name.replace("_", "-"): place for name, place in endpoints.items()}
        self.fails: errors.ArtStoreError | None = None
        self.asked = 0
        self.now = 100.0
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self) -> list[elements_pb2.StorageElement]:
        self.asked += 1
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        return [
            elements_pb2.StorageElement(storage_element_id=name, endpoint=place)
            for name, place in self.endpoints.items()
        ]

    def directory(self, *, seeds: dict[str, str], pinned: dict[str, str]) -> ElementDirectory:
        return ElementDirectory(pinned=pinned, seeds=seeds, ask=self.ask, clock=lambda: self.now)


async def test_what_is_configured_is_known_without_asking() -> None:
    admin = Admin(se_01="a:1", se_02="a:2")
    directory = admin.directory(seeds={"se-01": "m:1"}, pinned={})
    assert await directory.known() == {"se-01": "m:1"}
    assert admin.asked == 0


async def test_admin_is_asked_when_nothing_is_configured() -> None:
    admin = Admin(se_01="a:1")
    assert await admin.directory(seeds={}, pinned={}).known() == {"se-01": "a:1"}


async def test_an_element_that_came_later_is_found_by_id_and_by_a_look() -> None:
    admin = Admin(se_01="a:1", se_04="a:4")
    directory = admin.directory(seeds={"se-01": "m:1"}, pinned={})
    assert await directory.find("se-04") == "a:4"
    assert await directory.known() == {"se-01": "a:1", "se-04": "a:4"}
    admin.endpoints["se-05"] = "a:5"
    admin.now += FRESH_SECONDS * 2
    await directory.look(FRESH_SECONDS)
    assert "se-05" in await directory.known()


async def test_what_the_caller_said_goes_before_admins_word_and_mesh_json_does_not() -> None:
    admin = Admin(se_01="a:1", se_02="a:2")
    directory = admin.directory(seeds={"se-02": "m:2"}, pinned={"se-01": "p:1"})
    await directory.look()
    assert await directory.known() == {"se-01": "p:1", "se-02": "a:2"}


async def test_an_element_that_admin_lists_no_more_is_forgotten_unless_configured() -> None:
    admin = Admin(se_01="a:1", se_04="a:4")
    directory = admin.directory(seeds={"se-01": "m:1"}, pinned={})
    await directory.look()
    admin.endpoints.clear()
    admin.now += 1
    await directory.look()
    assert await directory.known() == {"se-01": "m:1"}


async def test_a_silent_address_gives_way_to_the_other_one_and_back() -> None:
    admin = Admin(se_01="a:9")
    directory = admin.directory(seeds={"se-01": "m:1"}, pinned={})
    assert await directory.other_place("se-01", "m:1") == "a:9"
    assert directory.place("se-01") == "a:9"
    assert await directory.other_place("se-01", "a:9") == "m:1"
    alone = admin.directory(seeds={}, pinned={"se-02": "p:2"})
    assert await alone.other_place("se-02", "p:2") == ""
    assert alone.place("se-02") == "p:2"


async def test_many_that_want_the_list_at_once_ask_once() -> None:
    admin = Admin(se_01="a:1")
    admin.gate.clear()
    directory = admin.directory(seeds={}, pinned={})
    looks = [asyncio.ensure_future(directory.look(FRESH_SECONDS)) for _ in range(50)]
    await asyncio.sleep(0)
    admin.gate.set()
    await asyncio.gather(*looks)
    await asyncio.gather(*(directory.look(FRESH_SECONDS) for _ in range(50)))
    assert admin.asked == 1


async def test_while_admin_is_silent_what_is_known_stands_and_the_doubt_is_told() -> None:
    admin = Admin(se_04="a:4")
    directory = admin.directory(seeds={"se-01": "m:1"}, pinned={})
    await directory.look()
    admin.fails = errors.Unavailable("gone for a walk")
    admin.now += 60
    await directory.look()
    await directory.look()
    assert admin.asked == 2
    assert "gone for a walk" in directory.doubt
    assert await directory.known() == {"se-01": "m:1", "se-04": "a:4"}
    with pytest.raises(errors.Unavailable, match="se-05"):
        await directory.find("se-05")
    admin.fails = None
    admin.now += REST_SECONDS * 2
    await directory.look()
    assert directory.doubt == ""
    with pytest.raises(errors.ConfigurationError, match="se-05"):
        await directory.find("se-05")


async def test_a_wrong_account_is_told_as_such() -> None:
    admin = Admin()
    admin.fails = errors.Unauthenticated("who?")
    with pytest.raises(errors.Unauthenticated):
        await admin.directory(seeds={}, pinned={}).known()
