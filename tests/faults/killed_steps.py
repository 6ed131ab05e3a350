"""One file moved, with a death at one step of it, to its end."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg

from artstore.v1 import lifecycle_pb2, types_pb2
from artstore_client import Client
from artstore_client.errors import ArtStoreError, Unavailable
from mesh.postgres.urls import database_name
from tests.faults.second_admin import PORT, SecondAdmin
from tests.faults.stops import Stop, Stops, go_on
from tests.faults.stores import sidecars_of
from tests.faults.whole_mesh import (
    Expected,
    callers_find_all,
    checked_clean,
    quiet,
    searches_find_each_once,
    stores_are_whole,
)
from tests.support.caller import Caller
from tests.support.mesh import MeshProcess, wait_gone
from tests.support.waiting import until, until_answered

SOURCE, ADMIN, SECOND = "se-01", "admin", f"admin-{PORT}"
# Of a move, and of a finalization.
TARGET, KEEPER = "se-02", "se-03"
ADMINS = (ADMIN, SECOND)
# Some messages of a download, so that there is a middle.
SIZE = 5_000_000
BACK_SECONDS = 60.0
# What a killed admin had is taken up by the next one soon.
TAKEN_UP_SOON = {
    "ARTSTORE_TRANSFER_LEASE_SECONDS": "1.5",
    "ARTSTORE_TRANSFER_RETRY_SECONDS": "0.2",
}
SOON = {
    **TAKEN_UP_SOON,
    "ARTSTORE_SWEEP_SECONDS": "1",
    # The source goes two seconds after the move.
    "ARTSTORE_MOVED_KEEP_HOURS": "0.00056",
    "ARTSTORE_COLLECTION_SECONDS": "1",
    "ARTSTORE_COLLECTION_FILES_PER_SECOND": "0",
}

AT_THE_TARGET = {
    "before-bytes": ("before Pulling._bytes", 1),
    "stage-open": ("after Arriving.open", 1),
    "amid-bytes": ("before ArrivingStage.append", 3),
    "before-commit": ("before Pulling._commit", 1),
    "blob-in-place": ("before Recording.write_sidecar", 1),
    "incoming-sidecar": ("after Recording.write_sidecar", 1),
    "incoming-row": ("after Recording.write_row", 1),
    "off-record": ("after Arriving.end", 1),
    "before-activate": ("before Recording.write_sidecar", 2),
    "active-sidecar": ("after Recording.write_sidecar", 2),
    "active-row": ("after Recording.write_row", 2),
}
AT_THE_SOURCE = {
    "before-moved": ("before Recording.write_sidecar", 1),
    "moved-sidecar": ("after Recording.write_sidecar", 1),
    "moved-row": ("after Recording.write_row", 1),
    "before-gone": ("before Recording.write_sidecar", 2),
    "gone-sidecar": ("after Recording.write_sidecar", 2),
    "bytes-gone": ("after LocalStore.delete_blob", 1),
    "gone-row": ("after Recording.write_row", 2),
}
AT_ADMIN = {
    "not-yet-asked": ("before TransferTable.add", 1),
    "asked-for": ("after TransferTable.add", 1),
    "before-pull": ("before TransferQueue.copies", 1),
    "before-mark-moved": ("after TransferQueue.switches", 1),
    "activate-on-record": ("after HomeSteps.begin", 1),
    "activate-answered": ("before HomeSteps.end", 1),
    "before-completed": ("before TransferQueue.completed", 1),
    "completed": ("after TransferQueue.completed", 1),
}
# Of the text that was changed between pull and switch.
OF_THE_SYNC = {
    "before-synced": ("before Recording.write_sidecar", 1),
    "synced-sidecar": ("after Recording.write_sidecar", 1),
    "synced-row": ("after Recording.write_row", 1),
}
# Before a finalization becomes a transfer.
OF_A_FINALIZATION = {
    "before-permanent": ("before Recording.write_sidecar", 1),
    "permanent-sidecar": ("after Recording.write_sidecar", 1),
    "permanent-row": ("after Recording.write_row", 1),
}
STEPS = [*AT_ADMIN, *AT_THE_TARGET, *OF_THE_SYNC, *AT_THE_SOURCE]
VICTIMS = {
    "admin": (ADMIN,),
    "source": (SOURCE,),
    "target": (TARGET,),
    "both-admins": ADMINS,
    "ingest": ("ingest",),
}


@dataclass
class Moves:
    """Files that were moved through deaths, one after the other, in one mesh.

    Attributes:
        second: another admin, while it runs.
        finalizes: files are finalized, by callers who ask again when they were not answered.
        expected: all files that were moved.
    """

    mesh: MeshProcess
    client: Client
    caller: Caller
    stops: Stops
    second: SecondAdmin | None = None
    finalizes: bool = False
    expected: dict[str, Expected] = field(default_factory=dict)
    _is_hurt: bool = False

    async def through_death(self, step: str, victim: str) -> None:
        """Move a file, kill `victim` at `step`, and see that it ends as if nothing had been."""

        async def kill(stopped: str) -> None:
            victims = VICTIMS[victim]
            await self._kill((self.target,) if victims == (TARGET,) else victims, stopped)

        file_id = await self._put()
        await self._interrupted(file_id, step, kill)
        await self._whole(file_id, has_moved=await self._ended(file_id))

    async def through_loss_of_tables(self, step: str, *, goes_on: bool) -> None:
        """Move a file, drop admin's database at `step`, and have admin begin with none.

        Args:
            goes_on: the admin that is there goes on, and sees by itself that it has none.
        """

        async def drop(stopped: str) -> None:
            await drop_admin_database(self.mesh)
            if not goes_on:
                await self._kill((ADMIN,), stopped)
                return
            pid = self._pid(ADMIN)
            go_on(self._pid(stopped))
            await asyncio.to_thread(self.mesh.wait_restarted, ADMIN, pid, BACK_SECONDS)

        file_id = await self._put()
        await self._interrupted(file_id, step, drop)

    async def ended_without_tables(self) -> None:
        """Wait until what was begun is over, and see that it is whole."""
        has_moved: dict[str, bool] = {}

        async def is_over() -> bool:
            there = [
                await asyncio.to_thread(sidecars_of, self.mesh, one) for one in (SOURCE, TARGET)
            ]
            for file_id in self.expected:
                at_source, at_target = (
                    found[file_id]["state"] if file_id in found else "" for found in there
                )
                has_moved[file_id] = at_target == "active"
                if {at_source, at_target} not in ({"active", ""}, {"active", "gone"}):
                    return False
            return True

        await until(is_over, BACK_SECONDS)
        for file_id, moved in has_moved.items():
            await self._whole(file_id, has_moved=moved)

    @property
    def target(self) -> str:
        """Where files go."""
        return KEEPER if self.finalizes else TARGET

    # --- inside ------------------------------------------------------------------------

    async def _interrupted(
        self, file_id: str, step: str, interrupt: Callable[[str], Awaitable[None]]
    ) -> None:
        """Begin a move, and do that while a server stands at the step."""
        if step in OF_THE_SYNC:
            moving = await self._changed_when_pulled(file_id, step)
        else:
            self.stops.ask(self._stop(step))
            moving = asyncio.create_task(self._begin(file_id))
        try:
            stopped = await asyncio.to_thread(self.stops.reached, self._pids(step), step)
            self._is_hurt = True
            await interrupt(stopped)
        except BaseException:
            if moving.done():
                await moving
            moving.cancel()
            raise
        # Its caller may have been answered, or not.
        with suppress(Unavailable):
            await moving
        if self.finalizes:
            await until_answered(
                lambda: self._asked_again(file_id), BACK_SECONDS, "it is finalized"
            )

    async def _begin(self, file_id: str) -> lifecycle_pb2.Transfer:
        """Ask for it, as often as it takes until somebody is hurt: earlier deaths may be felt."""
        while True:
            try:
                if self.finalizes:
                    return await self.client.finalize(file_id)
                return await self.client.move(file_id, target=TARGET)
            except Unavailable:
                if self._is_hurt:
                    raise
            await asyncio.sleep(0.2)

    async def _asked_again(self, file_id: str) -> bool:
        try:
            await self.client.finalize(file_id)
        except Unavailable:
            return False
        return True

    async def _put(self) -> str:
        content = os.urandom(SIZE)
        name = f"{random.getrandbits(40):x}"

        async def ready() -> bool:
            reports = await self.client.elements()
            return all(one.element is not None and one.element.writable for one in reports)

        await until_answered(ready, BACK_SECONDS, "all elements take files")
        file = await self.caller.put(
            content,
            f"{name}.bin",
            target=SOURCE,
            request_id=name,
            description="as it was",
            tags=["a", "b"],
            attributes={"k": name},
            version="7",
            retention_days=9,
        )
        self.expected[file.file_id] = Expected(file, {"as it was"})
        return file.file_id

    async def _changed_when_pulled(
        self, file_id: str, step: str
    ) -> asyncio.Task[lifecycle_pb2.Transfer]:
        """The text moves on while the bytes have come and nothing else was said."""
        self.stops.ask(Stop((TARGET,), *AT_THE_TARGET["incoming-row"]))
        moving = asyncio.create_task(self._begin(file_id))
        pid = self.mesh.pid_of(TARGET)
        await asyncio.to_thread(self.stops.reached, {TARGET: pid}, "incoming-row")
        text = f"{random.getrandbits(40):x}"
        await self.client.update(file_id, description=text)
        self.expected[file_id].descriptions = {text}
        self.stops.ask(self._stop(step))
        go_on(pid)
        return moving

    def _stop(self, step: str) -> Stop:
        for server, steps in (
            (self.target, AT_THE_TARGET | OF_THE_SYNC),
            (SOURCE, AT_THE_SOURCE | OF_A_FINALIZATION),
            ("", AT_ADMIN),
        ):
            if step in steps:
                point, times = steps[step]
                if "ARTSTORE_S3_BUCKET" in self.mesh.environment:
                    point = point.replace("LocalStore", "S3Store")
                return Stop((server,) if server else self._admins(), point, times)
        raise KeyError(step)

    def _admins(self) -> tuple[str, ...]:
        return (ADMIN, SECOND) if self.second is not None else (ADMIN,)

    def _pids(self, step: str) -> Mapping[str, int]:
        return {name: self._pid(name) for name in self._stop(step).servers}

    def _pid(self, name: str) -> int:
        if name == SECOND:
            assert self.second is not None
            return self.second.pid
        return self.mesh.pid_of(name)

    async def _kill(self, victims: tuple[str, ...], stopped: str) -> None:
        """Kill them together; whoever stopped and lives goes on then."""
        pids = {name: self._pid(name) for name in victims if name != SECOND}
        survivor = 0 if stopped in victims else self._pid(stopped)
        for name in victims:
            if name == SECOND:
                assert self.second is not None
                self.second.kill()
            else:
                self.mesh.kill_one(name)
        await asyncio.to_thread(wait_gone, list(pids.values()))
        if survivor:
            go_on(survivor)
        if SECOND in victims and self.second is not None:
            self.second.start()
        for name, pid in pids.items():
            await asyncio.to_thread(self.mesh.wait_restarted, name, pid, BACK_SECONDS)

    async def _ended(self, file_id: str) -> bool:
        """Wait until it ends; whether it had begun."""
        await until(self._all_listed, BACK_SECONDS)
        found = [one async for one in self.client.transfers.list(file_id=file_id)]
        for transfer in found:
            ended = await self.client.transfers.wait(transfer)
            assert ended.state == lifecycle_pb2.TRANSFER_STATE_COMPLETED, ended
        return bool(found)

    async def _all_listed(self) -> bool:
        try:
            async for _ in self.client.transfers.list():
                pass
        except ArtStoreError:
            return False
        return True

    async def _whole(self, file_id: str, *, has_moved: bool) -> None:
        async def is_gone() -> bool:
            found = await asyncio.to_thread(sidecars_of, self.mesh, SOURCE)
            return bool(found[file_id]["state"] == "gone")

        if has_moved and "ARTSTORE_MOVED_KEEP_HOURS" in self.mesh.environment:
            await until(is_gone, BACK_SECONDS)
        await quiet(self.mesh, self.client)
        await checked_clean(self.client)
        homes = await stores_are_whole(self.mesh, self.expected, others=True)
        assert homes[file_id] == (self.target if has_moved else SOURCE)
        if self.finalizes:
            file = await self.client.stat(file_id)
            assert file.retention_policy == types_pb2.RETENTION_POLICY_PERMANENT
            assert not file.HasField("expires_at")
            assert (file.HasField("finalized_at"), file.finalized_to) == (True, KEEPER)
        mine = {file_id: self.expected[file_id]}
        await callers_find_all(self.client, mine, homes)
        # Followers are late while admin's tables, and its keys, are new.
        told = self.caller.change_tokens[-1:]
        await searches_find_each_once(self.client, mine, change_tokens=told)


async def drop_admin_database(mesh: MeshProcess) -> None:
    """As somebody does who may do everything."""
    url = mesh.file.database_url
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'DROP DATABASE "{database_name(url)}_admin" WITH (FORCE)')
    finally:
        await connection.close()
