"""On S3 what has not changed is not read, and what has is read side by side, some at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from storage_server.cache.report import Level
from storage_server.domain.sidecar import Sidecar
from storage_server.store.port import SIDECAR_SUFFIX
from storage_server.store.s3 import S3Store
from tests.integration.cache.conftest import FOLDER
from tests.support.cache_rig import CacheRig, path_of

FILES = 60
MOST_AT_ONCE = 16


@dataclass
class Reads:
    """Requests for sidecars.

    Attributes:
        paths: of the sidecars, in the bucket.
        at_once, most_at_once: how many had no answer yet, now and at most.
    """

    paths: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def began(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        path = unquote(params["url_path"])
        context["reads a sidecar"] = path.endswith(SIDECAR_SUFFIX)
        if context["reads a sidecar"]:
            self.paths.append(path)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)

    def ended(self, context: dict[str, Any], **_: Any) -> None:
        self.at_once -= context.get("reads a sidecar", False)

    def of(self, sidecars: Sequence[Sidecar]) -> bool:
        """Whether just these were read, each at most twice: a check looks again."""
        counts = Counter(path.partition(f"{FOLDER}/")[2] for path in self.paths)
        return counts.keys() == {path_of(one) for one in sidecars} and max(counts.values()) <= 2


@contextmanager
def counted(rig: CacheRig) -> Iterator[Reads]:
    """GetObject and HeadObject of sidecars, as the store's own clients send them."""
    assert isinstance(rig.store, S3Store)
    clients = (rig.store._client._quick.client, rig.store._client._patient.client)
    reads = Reads()
    hooks = [
        (client.meta.events, f"{when}-call.s3.{operation}", hook)
        for client in clients
        for operation in ("GetObject", "HeadObject")
        for when, hook in (("before", reads.began), ("after", reads.ended))
    ]
    for events, name, hook in hooks:
        events.register(name, hook)
    try:
        yield reads
    finally:
        for events, name, hook in hooks:
            events.unregister(name, hook)


async def test_no_sidecar_is_read_when_nothing_changed(s3_rig: CacheRig) -> None:
    made = await s3_rig.upload_many(8)
    await s3_rig.delete(made[0])
    with counted(s3_rig) as reads:
        for level in (Level.QUICK, Level.FULL):
            assert (await s3_rig.check(level)).is_consistent
        await s3_rig.incremental()
        assert (await s3_rig.full()).attr_files_scanned == 7
    assert reads.paths == []


async def test_only_what_changed_is_read(s3_rig: CacheRig) -> None:
    made = await s3_rig.upload_many(8)
    s3_rig.edit(made[0], description="by hand")
    await s3_rig.lose_row(made[1])
    await s3_rig.sql("UPDATE {files} SET version = 'x' WHERE file_id = $1", made[2].file_id)
    with counted(s3_rig) as reads:
        assert (await s3_rig.check()).findings == 3
    assert reads.of(made[:3])
    with counted(s3_rig) as reads:
        result = await s3_rig.incremental()
        assert (result.entries_created, result.entries_updated) == (1, 2)
        await s3_rig.full()
    assert reads.of(made[:3])


async def test_sidecars_are_read_side_by_side_and_not_all_at_once(s3_rig: CacheRig) -> None:
    made = await s3_rig.upload_many(FILES)
    for sidecar in made:
        s3_rig.edit(sidecar, description="by hand")
    for work in (s3_rig.check, s3_rig.full):
        with counted(s3_rig) as reads:
            await work()
        assert reads.of(made)
        assert 4 <= reads.most_at_once <= MOST_AT_ONCE
