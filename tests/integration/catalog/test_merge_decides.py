"""The merge in SQL decides as `domain.decisions` says, which the exhaustive model walks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.postgres.database import Database
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.fences import Fence, Guard
from storage_server.catalog.rows import FileRow
from storage_server.catalog.tables import Tables
from storage_server.domain.decisions import Found, MergeAction, may_drop, merge_action
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import Sidecar
from storage_server.domain.sidecar_changes import tombstoned, updated
from tests.integration.catalog.files import a_sidecar, an_identity, commit, found, now, upload
from tests.support.origins import BY_ALICE


@dataclass(frozen=True)
class Case:
    """One file: what its row is, and what the repair has read of it.

    Attributes:
        row: none, or what the row says.
        damaged: the row was changed in the database.
        read: what the sidecar says now.
        uploading: an upload's intent is on record.
        after_s0: the row is written after the repair noted S0.
    """

    row: str
    read: str
    damaged: bool
    uploading: bool
    after_s0: bool


cases = st.builds(
    Case,
    row=st.sampled_from(["none", "first", "other", "tombstone"]),
    read=st.sampled_from(["first", "other", "tombstone"]),
    damaged=st.booleans(),
    uploading=st.booleans(),
    after_s0=st.booleans(),
)


def said(first: Sidecar, word: str) -> Sidecar:
    if word == "tombstone":
        return tombstoned(first, first.created_at)
    return first if word == "first" else updated(first, {"version": "2"}, first.created_at)


async def arrange(catalog: Catalog, case: Case, first: Sidecar) -> None:
    await upload(catalog, first)
    if case.row not in ("none", "first"):
        await commit(catalog, said(first, case.row), ChangeKind.UPDATED)
    table = catalog.tables.files
    if case.row == "none":
        await catalog.database.execute(f"DELETE FROM {table} WHERE file_id = $1", first.file_id)
    elif case.damaged:
        await catalog.database.execute(
            f"UPDATE {table} SET description = 'damaged' WHERE file_id = $1", first.file_id
        )
    if case.uploading:
        await catalog.pending.begin_write(
            first.file_id, "path", ChangeKind.CREATED, by=BY_ALICE, revision=1
        )


def expected(case: Case, row: FileRow | None, s0: int) -> MergeAction:
    return merge_action(
        None if row is None else row.sequence,
        s0,
        says_the_same=case.row == case.read and not case.damaged,
        uploading=case.uploading,
    )


def live(word: str) -> bool:
    return word in ("first", "other")


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batch=st.lists(cases, min_size=4, max_size=12))
def test_the_merge_does_to_each_row_what_the_decision_says(
    database_url: str, batch: list[Case]
) -> None:
    async def run() -> None:
        database = Database(database_url, max_size=2)
        try:
            catalog = Catalog(database, Tables("storage_elem_01_"))
            await catalog.open()
            await compare_merge(catalog, batch)
        finally:
            await database.close()

    asyncio.run(run())


async def compare_merge(catalog: Catalog, batch: list[Case]) -> None:
    files = [(case, a_sidecar()) for case in batch]
    for case, first in files:
        if not case.after_s0:
            await arrange(catalog, case, first)
    s0 = (await catalog.feed.head()).sequence
    for case, first in files:
        if case.after_s0:
            await arrange(catalog, case, first)
    head = (await catalog.feed.head()).sequence
    before = {first.file_id: await catalog.reads.get(first.file_id) for _, first in files}
    decided = {first.file_id: expected(case, before[first.file_id], s0) for case, first in files}
    fence = Fence(Guard.REBUILD, await catalog.fences.draw())
    await catalog.fences.raise_rebuild(fence.number)
    at = now()
    merged = await catalog.merge.merge(
        [found(said(first, case.read), 7, at=at) for case, first in files], s0=s0, fence=fence
    )

    written = (MergeAction.INSERT, MergeAction.WRITE)
    for case, first in files:
        was, row = before[first.file_id], await catalog.reads.get(first.file_id)
        action = decided[first.file_id]
        if action is MergeAction.LEAVE:
            assert row == was, case
        elif action is MergeAction.RENEW:
            assert was is not None
            assert row is not None
            assert (row.sequence, row.sidecar) == (was.sequence, was.sidecar)
            assert (row.identity, row.cache_updated_at) == (an_identity(7), at)
        else:
            assert row is not None, case
            assert row.sidecar == said(first, case.read)
            assert row.sequence > head
    told = [change.file_id for change in await catalog.feed.read(head)]
    assert sorted(told) == sorted(one for one, action in decided.items() if action in written)
    leaves = {one for one, action in decided.items() if action is MergeAction.LEAVE}
    assert set(merged.newer) == leaves
    changed = [case for case, first in files if decided[first.file_id] in written]
    assert merged.created == sum(live(one.read) and not live(one.row) for one in changed)
    assert merged.updated == sum(live(one.read) and live(one.row) for one in changed)
    assert merged.deleted == sum(live(one.row) and not live(one.read) for one in changed)
    assert merged.renewed == list(decided.values()).count(MergeAction.RENEW)


async def test_a_drop_in_sql_spares_what_the_decision_spares(catalog: Catalog) -> None:
    old, new = a_sidecar(), a_sidecar()
    await upload(catalog, old)
    s0 = (await catalog.feed.head()).sequence
    await upload(catalog, new)
    fence = Fence(Guard.REBUILD, await catalog.fences.draw())
    await catalog.fences.raise_rebuild(fence.number)
    sequences = {
        one.file_id: row.sequence
        for one in (old, new)
        if (row := await catalog.reads.get(one.file_id)) is not None
    }
    dropped = await catalog.merge.drop(list(sequences), s0=s0, fence=fence)
    assert list(dropped) == [
        one for one, sequence in sequences.items() if may_drop(sequence, s0, Found.ABSENT)
    ]
