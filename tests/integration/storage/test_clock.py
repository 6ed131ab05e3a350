"""An element whose machine has a wrong clock, and files that one of those has made."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import structlog

from artstore.v1 import cache_pb2, cache_pb2_grpc, storage_pb2
from storage_server.domain.file_id import new_file_id
from storage_server.domain.naming import home_of
from storage_server.element import clock_watch
from storage_server.upkeep import maintenance
from storage_server.uploads.keeping import UploadKeeping
from tests.support.caller import Ending, ended
from tests.support.storage_rig import Node, Rig
from tests.support.waiting import until

DAY = 86_400.0
Code = grpc.StatusCode


class WrongClock:
    """A machine's clock."""

    def __init__(self, wrong_by: float = 0.0) -> None:
        self.wrong_by = wrong_by

    def __call__(self) -> float:
        return time.time() + self.wrong_by


async def _refusals(node: Node) -> list[Ending]:
    return [await ended(node.upload()), await ended(node.start_upload())]


def _is_refused_for_its_clock(ending: Ending) -> bool:
    return (ending.code, ending.reason, ending.has_retry_info) == (
        Code.UNAVAILABLE,
        "CLOCK",
        True,
    )


@pytest.mark.parametrize("wrong_by", [7 * DAY, -50 * 365 * DAY], ids=["next week", "long ago"])
async def test_an_element_with_a_wrong_clock_makes_no_ids_and_reads_on(
    local_rig: Rig, wrong_by: float
) -> None:
    clock = WrongClock()
    async with local_rig.running(wall=clock) as node:
        opened = await node.start_upload()
        file_id = (await node.upload(b"kept")).file.file_id
        clock.wrong_by = wrong_by
        endings = await _refusals(node)
        assert all(map(_is_refused_for_its_clock, endings)), endings
        assert f"{abs(wrong_by):.0f} s {'ahead of' if wrong_by > 0 else 'behind'} PostgreSQL's" in (
            endings[0].text
        )
        assert "set the clock" in endings[0].text
        element = await node.element()
        assert not element.writable
        assert abs(element.reported_at.seconds - time.time()) < 60
        assert await node.download(file_id) == b"kept"
        # What has its id already is none the worse for the clock.
        assert await node.write_upload(opened, b"12345") == 5
        assert (await node.commit_upload(opened)).file.size_bytes == 5
        clock.wrong_by = 0
        assert (await node.upload()).file.file_id
        assert (await node.element()).writable


async def test_an_element_that_starts_with_a_wrong_clock_refuses_from_the_first_call(
    local_rig: Rig,
) -> None:
    async with local_rig.running(wall=WrongClock(7 * DAY)) as node:
        assert all(map(_is_refused_for_its_clock, await _refusals(node)))


async def test_postgresql_alone_is_enough(local_rig: Rig) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    async with local_rig.running(wall=WrongClock(7 * DAY), redis_url=nowhere) as node:
        endings = await _refusals(node)
        assert all(map(_is_refused_for_its_clock, endings)), endings
        assert "Redis" not in endings[0].text


async def test_the_tolerance_is_a_setting(local_rig: Rig) -> None:
    async with local_rig.running(wall=WrongClock(100), clock_tolerance_seconds=50) as node:
        assert all(map(_is_refused_for_its_clock, await _refusals(node)))
    async with local_rig.running(wall=WrongClock(100)) as node:
        assert (await node.upload()).file.file_id


async def test_redis_with_another_clock_is_told_of_and_stops_nothing(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clock_watch.ClockWatch._redis_time

    async def next_week(watch: Any) -> float:
        return await real(watch) + 7 * DAY

    monkeypatch.setattr(clock_watch.ClockWatch, "_redis_time", next_week)
    with structlog.testing.capture_logs() as lines:
        async with local_rig.running() as node:
            assert (await node.upload()).file.file_id
    told = [line for line in lines if line["event"].startswith("clocks differ")]
    assert [line["seconds_ahead_of"] for line in told] == [{"Redis": -7 * DAY}]


async def test_maintenance_by_a_wrong_clock_throws_nothing_away(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "INTERVAL_SECONDS", 0.05)
    rounds = 0
    real = UploadKeeping.close_idle

    async def counted(uploads: UploadKeeping) -> None:
        nonlocal rounds
        rounds += 1
        await real(uploads)

    async with local_rig.running() as node:
        file = (await node.upload(b"kept")).file
        await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
    monkeypatch.setattr(UploadKeeping, "close_idle", counted)
    blob = local_rig.root / file.storage_path / file.storage_filename
    clock = WrongClock(60 * DAY)
    async with local_rig.running(wall=clock, trash_days=1e-7):
        await until(lambda: rounds > 3)
        assert blob.exists()
        clock.wrong_by = 0
        await until(lambda: not blob.exists())


async def test_a_tombstone_stays_however_old_it_is_by_this_clock(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(maintenance, "SELDOM_SECONDS", 0.0)
    rounds = 0
    real = UploadKeeping.drop_idle

    async def counted(uploads: UploadKeeping) -> None:
        nonlocal rounds
        rounds += 1
        await real(uploads)

    async with local_rig.running(trash_days=0) as node:
        file = (await node.upload(b"gone")).file
        await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
    path = local_rig.root / file.storage_path / f"{file.storage_filename}.attr.json"
    sidecar = json.loads(path.read_bytes())
    path.write_text(json.dumps(sidecar | {"updated_at": "2020-01-01T00:00:00.000000Z"}))
    monkeypatch.setattr(UploadKeeping, "drop_idle", counted)
    async with local_rig.running(trash_days=0):
        await until(lambda: rounds > 3)
        assert path.exists()


def _planted(node: Node, made: Any, at: datetime) -> str:
    """A file as an element with that clock would have made it: sidecar and bytes, no row."""
    path = node.rig.root / made.storage_path / f"{made.storage_filename}.attr.json"
    file_id = new_file_id(at)
    folder = home_of(file_id) or ""
    stamp = at.strftime("%Y%m%dT%H%M%S")
    name = f"a_alice_{stamp}_{file_id}.txt"
    sidecar = json.loads(path.read_bytes()) | {
        "file_id": file_id,
        "storage_path": folder,
        "storage_filename": name,
        "created_at": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "retention_policy": "permanent",
        "retention_days": None,
        "expires_at": None,
    }
    target = node.rig.root / folder
    target.mkdir(parents=True)
    (target / name).write_bytes((path.parent / made.storage_filename).read_bytes())
    (target / f"{name}.attr.json").write_text(json.dumps(sidecar))
    return file_id


async def test_files_with_absurd_ids_are_found_read_changed_and_counted(local: Node) -> None:
    made = (await local.upload(b"hello")).file
    moments = (
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, tzinfo=UTC),
        datetime.now(UTC).replace(microsecond=0) + timedelta(days=7),
        datetime(9998, 1, 1, tzinfo=UTC),
    )
    for at in moments:
        file_id = _planted(local, made, at)
        assert (await local.get(file_id)).file_id == file_id
        assert await local.download(file_id) == b"hello"
        request = storage_pb2.UpdateFileRequest(file_id=file_id)
        request.file.description = "d"
        assert (await local.call("UpdateFile", request)).file.revision == 2
    assert (await local.list()).total_size == 1 + len(moments)
    cache: Any = cache_pb2_grpc.CacheServiceStub(local.channel)
    check = await cache.CheckConsistency(
        cache_pb2.CheckConsistencyRequest(), metadata=local.bearer(), timeout=10
    )
    assert check.report.is_consistent


async def test_files_dated_ahead_of_every_clock_are_a_finding_and_prove_nothing(
    local_rig: Rig,
) -> None:
    async with local_rig.running() as node:
        made = (await node.upload(b"hello")).file
        file_id = _planted(node, made, datetime.now(UTC) + timedelta(days=7))
        await node.get(file_id)
    with structlog.testing.capture_logs() as lines:
        async with local_rig.running() as node:
            found = [line for line in lines if line["event"].startswith("files are dated")]
            assert [(line["files"], line["examples"]) for line in found] == [(1, [file_id])]
            assert (await node.upload()).file.file_id
