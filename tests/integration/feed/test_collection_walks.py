"""Random walks of users, time and failures through a real mesh, collected from again and again.

After each collection all that may go has gone, and nothing else: `what_may_go` tells what that is.
A failure prints the walk that led to it; its seed walks the same way again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage_server.catalog.tables import folder_of
from storage_server.domain.sidecar import FileState
from storage_server.upkeep import maintenance
from storage_server.uploads import keeping
from tests.integration.feed.checked_collections import OFF_SECONDS, Checked
from tests.integration.feed.walked_mesh import AGES, ELEMENTS, FREE, OK, Walked, now, walked_mesh
from tests.integration.feed.what_may_go import goings, home_of
from tests.support.backdoor import S3Backdoor
from tests.support.services import S3Account, S3Process
from tests.support.waiting import until

USERS = ("update", "keep", "delete", "undelete", "hold", "release", "finalize", "move")
REASONS = {"EXPIRED", "MOVED", "SURPLUS", "TRASH", "IDLE_UPLOAD", "ORPHAN_BLOB"}
MANY = 12
# Of these a walk of hundreds of steps needs some, and each takes seconds.
SELDOM = ("silent", "doubt", "wrong clock", "unread", "drop tables")
OFTEN = (
    *("upload", "uploads", "users", "age", "beside", "rot", "lose rows"),
    *("orphans", "collect", "collect", "amid"),
)


@pytest.fixture(autouse=True)
def kept_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements empty their trash, and forget uploads that rest, all the time."""
    monkeypatch.setattr(maintenance, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(keeping, "IDLE_CLOSE_SECONDS", 0.0)


class Walk:
    """Steps of a walk, by name."""

    def __init__(self, walked: Walked) -> None:
        self.walked = walked
        self.dice = walked.dice
        self.checked = Checked(walked)
        self.steps: dict[str, Callable[[], Awaitable[object]]] = {
            "one of each": self.one_of_each,
            "upload": self.upload,
            "uploads": self.uploads,
            "users": self.users,
            "age": self.age,
            "beside": self.beside,
            "rot": self.rot,
            "lose rows": self.lose_rows,
            "orphans": self.orphans,
            "collect": self.collect,
            "amid": self.amid,
            "silent": self.silent,
            "doubt": self.doubt,
            "wrong clock": self.wrong_clock,
            "unread": self.unread,
            "drop tables": self.drop_tables,
        }

    async def take(self, name: str) -> None:
        self.walked.trace.append(f"--- {name}")
        await self.steps[name]()

    def any_element(self) -> str:
        return self.dice.choice(list(ELEMENTS))

    def some_files(self, most: int = MANY) -> list[str]:
        known = sorted(self.walked.facts)
        return self.dice.sample(known, min(len(known), self.dice.randint(1, most)))

    async def one_of_each(self) -> None:
        """Something to be collected for each reason, and the same that is not due yet."""
        walked = self.walked
        expired, fresh, moved, stays, deleted, copied = [
            await walked.upload("se-01") for _ in range(6)
        ]
        for file_id in (moved, stays):
            assert await walked.finalize(file_id, "se-01") == OK
        assert await walked.delete(deleted, "se-01") == OK
        await walked.settled()
        walked.beside(copied, walked.stores()[copied], FileState.COPY)
        walked.grow_old(expired, timedelta(days=31, hours=1))
        walked.grow_old(fresh, timedelta(hours=13))
        walked.grow_old(moved, timedelta(hours=25))
        walked.grow_old(stays, timedelta(hours=13))
        walked.grow_old(deleted, timedelta(days=31))
        await walked.grown_old()
        await self.uploads()
        await self.orphans()
        await self.checked.quiet()
        await self.checked.all_is_well()
        assert set(self.checked.taken) == REASONS

    # --- users and time ----------------------------------------------------------------------

    async def upload(self) -> None:
        for at_once in (True, True, True, False):
            await self.walked.upload(self.any_element(), at_once=at_once)
        await self.walked.settled()

    async def uploads(self) -> None:
        """Some are left open, some are idle, some become files after all."""
        walked = self.walked
        for _ in range(2):
            await walked.open_upload(self.any_element())
        fresh = [one for one in walked.uploads if not one.idle]
        await walked.idle_uploads(fresh[: len(fresh) // 2])
        if self.dice.random() < 0.3:
            await walked.commit_upload(fresh[-1])
            await walked.settled()

    async def users(self) -> None:
        """One after the other."""
        stores = self.walked.stores()
        for file_id in self.some_files():
            await self._user(file_id, home_of(stores[file_id]))
        await self.walked.settled()

    async def _user(self, file_id: str, home: str) -> str:
        """What somebody may always do must be done."""
        walked = self.walked
        fact = walked.facts[file_id]
        name = self.dice.choice(USERS)
        if fact.rotten and name in ("finalize", "move"):
            name = "update"
        is_found, held, deleted = fact.is_found(now()), fact.held, fact.deleted
        told = await getattr(walked, name)(file_id, home)
        walked.trace.append(f"{name} {file_id} on {home}: {told}")
        if is_found and name in ("update", "hold", "release"):
            assert told == (FREE if name == "release" else OK), (name, told)
        if name == "delete" and is_found:
            assert told == ("MODE" if home == "se-02" else "LEGAL_HOLD" if held else OK), told
        elif name == "delete":
            assert told != OK
        if deleted and name != "undelete":
            assert told not in (OK, FREE), (name, told)
        return told

    async def age(self) -> None:
        for file_id in self.some_files():
            by = self.dice.choice(AGES)
            self.walked.grow_old(file_id, by)
            self.walked.trace.append(f"aged {file_id} by {by}")
        await self.walked.grown_old()

    async def beside(self) -> None:
        stores = self.walked.stores()
        for file_id in self.some_files(4):
            state = self.dice.choice((FileState.COPY, FileState.COPY, FileState.INCOMING))
            if self.walked.beside(file_id, stores[file_id], state):
                self.walked.trace.append(f"{state.value} of {file_id}")
        await self.walked.told()

    async def rot(self) -> None:
        stores = self.walked.stores()
        for file_id in self.some_files():
            if self.walked.rot(file_id, stores[file_id]):
                self.walked.trace.append(f"rotten {file_id}")
                return

    async def orphans(self) -> None:
        for hours in (1, 24 * 8, 24 * 20):
            self.walked.orphan(self.any_element(), timedelta(hours=hours))

    # --- collections -------------------------------------------------------------------------

    async def collect(self) -> None:
        ratio = self.dice.choice((None, None, None, 0.0, 0.1, 0.5))
        await self.checked.quiet(ratio=ratio)
        await self.checked.all_is_well()

    async def amid(self) -> None:
        """Users change files that are due as well as others, and store new ones."""
        stores = self.walked.stores()

        async def user(file_id: str) -> str:
            await asyncio.sleep(self.dice.random() * 0.15)
            return await self._user(file_id, home_of(stores[file_id]))

        async def newcomer() -> str:
            await asyncio.sleep(self.dice.random() * 0.1)
            await self.walked.upload(self.any_element(), at_once=self.dice.random() < 0.5)
            return OK

        due = sorted({one.file_id for one in goings(stores, now())})
        due = self.dice.sample(due, len(due) // 2)
        files = sorted({*due, *self.some_files()})
        work = [(file_id, user(file_id)) for file_id in files]
        work += [(f"new {number}", newcomer()) for number in range(2)]
        await self.checked.amid(work)
        await self.walked.trash_emptied()
        await self.checked.all_is_well()
        await self.collect()

    async def lose_rows(self) -> None:
        """A cache that lacks files hides none from admin."""
        files, stores = self.some_files(), self.walked.stores()
        for element_id in ELEMENTS:
            mine = [file_id for file_id in files if element_id in stores[file_id]]
            await self.walked.lose_rows(element_id, mine)
        self.walked.trace.append(f"rows lost of {files}")
        await self.checked.quiet()
        await self.walked.told()
        await self.checked.all_is_well()

    async def silent(self) -> None:
        element_id = self.any_element()
        await self.walked.mesh.stop(element_id)
        await self.checked.quiet(silent={element_id})
        await self.walked.start(element_id)
        await self.walked.trash_emptied()
        await self.checked.all_is_well()

    async def doubt(self) -> None:
        element_id = self.any_element()
        wall, node = self.walked.walls[element_id], self.walked.node(element_id)

        async def is_in_doubt() -> bool:
            return not (await node.element()).writable

        wall.ahead = self.dice.choice((-1, 1)) * 24 * 3600.0 * 3
        try:
            await until(is_in_doubt, 20)
            await self.checked.quiet(doubting={element_id})
        finally:
            wall.ahead = 0.0
        await self.checked.all_is_well()

    async def wrong_clock(self) -> None:
        await self.checked.by_a_wrong_clock(self.dice.choice(OFF_SECONDS))
        await self.checked.all_is_well()

    async def unread(self) -> None:
        await self.checked.of_a_registry_that_lacks_files(self.any_element())
        await self.checked.all_is_well()

    async def drop_tables(self) -> None:
        await self.walked.drop_tables(self.any_element())
        await self.checked.all_is_well()


@asynccontextmanager
async def walking(*place: Any, **settings: Any) -> AsyncIterator[Walk]:
    """What has been done is told when something is not as it must be."""
    async with walked_mesh(*place, **settings) as walked:
        walk = Walk(walked)
        try:
            yield walk
        except BaseException:
            print(f"seed {place[-1]}:", *walked.trace, sep="\n")
            raise


async def test_a_collection_takes_all_that_may_go_and_nothing_else(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with walking(tmp_path, database_url, redis_url, 14) as walk:
        for name in ("one of each", "upload", "users", "age", "beside", "amid", "age", "amid"):
            await walk.take(name)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
async def test_a_long_walk(tmp_path: Path, database_url: str, redis_url: str, seed: int) -> None:
    async with walking(tmp_path, database_url, redis_url, seed) as walk:
        for name in ("one of each", "upload", "upload"):
            await walk.take(name)
        for number in range(150):
            seldom = number % 10 == 9
            await walk.take(walk.dice.choice(SELDOM if seldom else OFTEN))


@pytest.mark.full
@pytest.mark.timeout(600)
async def test_a_walk_on_s3(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    s3: S3Account,
    s3_server: S3Process,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Objects have no age of their own: every blob without a sidecar is due at once."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", s3.region)
    client = s3_server.client()
    settings = {
        "bucket": lambda element_id: S3Backdoor(client, s3.bucket, folder_of(element_id)),
        "s3_endpoint_url": s3.endpoint_url,
        "s3_bucket": s3.bucket,
        "orphan_days": 0.0,
    }
    async with walking(tmp_path, database_url, redis_url, 3, **settings) as walk:
        for name in ("upload", "upload", "uploads", "orphans", "users", "beside"):
            await walk.take(name)
        for _ in range(20):
            await walk.take(walk.dice.choice(OFTEN))
        assert "ORPHAN_BLOB" in walk.checked.taken
