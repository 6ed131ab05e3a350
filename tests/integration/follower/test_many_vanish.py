"""Thousands of sidecars vanish at once: a follower asks about them in batches, slowly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from artstore.v1 import cache_pb2, cache_pb2_grpc
from mesh.follower.lookups import BATCH, FileLookups
from storage_server.domain.file_id import new_file_id
from storage_server.domain.naming import home_of
from storage_server.domain.sidecar import FileState
from storage_server.files.lookup import Lookup
from storage_server.store.name_index import NameIndex
from tests.support.following import Following, replica_rows
from tests.support.storage_rig import Node

FILES = 2000
HOURS = 3


async def _planted(node: Node, count: int) -> list[Path]:
    """Sidecars of `count` more files, in a few folders of last year; no rows yet."""
    made = (await node.upload(b"hello")).file
    source = node.rig.root / made.storage_path / f"{made.storage_filename}.attr.json"
    content, blob = json.loads(source.read_bytes()), source.with_name(made.storage_filename)
    paths = []
    for number in range(count):
        at = datetime.now(UTC) - timedelta(days=300, hours=number % HOURS)
        file_id = new_file_id(at)
        folder = home_of(file_id) or ""
        name = f"a_alice_{at:%Y%m%dT%H%M%S}_{file_id}.txt"
        place = node.rig.root / folder
        place.mkdir(parents=True, exist_ok=True)
        moment = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        sidecar = content | {
            "file_id": file_id,
            "storage_path": folder,
            "storage_filename": name,
            "created_at": moment,
        }
        (place / name).write_bytes(blob.read_bytes())
        paths.append(place / f"{name}.attr.json")
        paths[-1].write_text(json.dumps(sidecar))
    return paths


def _cache(node: Node) -> Any:
    return cache_pb2_grpc.CacheServiceStub(node.channel)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What the element has been asked, and how often it has listed a folder."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str, label: str) -> None:
        real = getattr(owner, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            counted[label] += 1
            return await real(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    count(Lookup, "get", "GetFile")
    count(Lookup, "get_many", "BatchGetFiles")
    count(NameIndex, "_list", "listing")
    return counted


@pytest.mark.parametrize("told_by", ["feed", "snapshot"])
async def test_a_follower_asks_in_batches_and_removes_only_what_is_gone(
    own_element: Node, follow: Callable[..., Following], calls: Counter[str], told_by: str
) -> None:
    paths = await _planted(own_element, FILES)
    metadata = own_element.bearer()
    cache = _cache(own_element)
    await cache.RebuildCacheIncremental(
        cache_pb2.RebuildCacheIncrementalRequest(), metadata=metadata, timeout=60
    )
    follower = follow(own_element, reconcile_seconds=3600)
    async with follower.running():
        await follower.agrees(30)
        assert len(await replica_rows(follower.table)) == FILES + 1
        if told_by == "feed":
            await _vanish(own_element, paths[10:])
            await follower.agrees(60)
    if told_by == "snapshot":
        await _vanish(own_element, paths[10:])
        # As after a restored database: the cursor is no place in the feed any more.
        await follower.table.database.execute("DELETE FROM follow_cursors")
        async with follower.running():
            await follower.agrees(60)
    left = {row[0] for row in await replica_rows(follower.table)}
    assert len(left) == 11
    assert left >= {path.name.split("_")[-1].removesuffix(".txt.attr.json") for path in paths[:10]}
    batches = FILES // BATCH
    assert calls["GetFile"] == 0
    assert batches <= calls["BatchGetFiles"] <= 3 * batches
    assert calls["listing"] <= HOURS * calls["BatchGetFiles"]


async def _vanish(node: Node, paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
    answer = await _cache(node).RebuildCache(
        cache_pb2.RebuildCacheRequest(max_delete_ratio=1.0), metadata=node.bearer(), timeout=60
    )
    assert answer.result.statistics.entries_deleted == len(paths)


async def test_files_whose_rows_are_gone_are_not_taken_for_gone(own_element: Node) -> None:
    paths = await _planted(own_element, 60)
    ids = [path.name.split("_")[-1].removesuffix(".txt.attr.json") for path in paths]
    unknown = new_file_id(datetime.now(UTC) - timedelta(days=300))

    async def metadata() -> Any:
        return own_element.bearer()

    answers = await FileLookups(own_element.stub, metadata).look_up([*ids, unknown])
    assert {file.file_id for file in answers.found} == set(ids)
    assert answers.gone == [unknown]


async def test_a_file_in_any_state_is_found_while_it_has_a_sidecar(own_element: Node) -> None:
    """NOT_FOUND makes a follower forget the file, and with it what it must stop elsewhere."""
    planted = dict(zip(FileState, await _planted(own_element, len(FileState)), strict=True))
    for state, path in planted.items():
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"state": state}))
    ids = {path.name.split("_")[-1].removesuffix(".txt.attr.json") for path in planted.values()}

    async def metadata() -> Any:
        return own_element.bearer(role="SERVICE")

    answers = await FileLookups(own_element.stub, metadata).look_up(sorted(ids))
    assert {file.file_id for file in answers.found} == ids
    assert len({file.state for file in answers.found}) == len(FileState)
    assert answers.gone == []
