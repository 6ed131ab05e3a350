"""Whose change a feed entry is: what its intent says, taken over in the row's transaction."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mesh.errors import Unavailable
from mesh.postgres.database import Database
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.feed import Change
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import OF_REPAIR, Origin
from storage_server.domain.sidecar import Sidecar, digest
from storage_server.domain.sidecar_changes import tombstoned, updated
from tests.integration.catalog.back_door import on_both
from tests.integration.catalog.conftest import TABLES
from tests.integration.catalog.files import (
    AnyCatalog,
    a_sidecar,
    commit,
    lazy,
    merge,
    now,
    rebuild_fence,
    upload,
)
from tests.support.origins import BY_ALICE, BY_BOB


async def intend(catalog: AnyCatalog, sidecar: Sidecar, by: Origin) -> None:
    """As a change does, that knows all it will write."""
    await catalog.pending.begin_write(
        sidecar.file_id,
        "path",
        ChangeKind.UPDATED,
        by=by,
        revision=sidecar.revision,
        digest=digest(sidecar),
    )


async def told(catalog: AnyCatalog) -> list[tuple[int | None, Origin | None]]:
    return [_told(change) for change in await catalog.feed.read(0)]


def _told(change: Change) -> tuple[int | None, Origin | None]:
    return change.revision, change.origin


@on_both
async def test_an_entry_is_of_the_intent_that_wrote_its_sidecar(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar(request_id="of the upload")
    await upload(catalog, sidecar)
    changed = updated(sidecar, {"version": "2"}, now())
    await intend(catalog, changed, BY_BOB)
    await commit(catalog, changed, ChangeKind.UPDATED)
    assert await told(catalog) == [(1, BY_ALICE), (2, BY_BOB)]
    assert [change.row and change.row.sidecar for change in await catalog.feed.read(0)] == [
        changed,
        changed,
    ]


@on_both
async def test_a_repeat_of_a_write_is_nobodys_change(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await commit(catalog, sidecar, ChangeKind.CREATED)
    assert await told(catalog) == [(1, BY_ALICE), (1, OF_REPAIR)]


@on_both
@pytest.mark.parametrize("first", [BY_ALICE, BY_BOB])
async def test_of_several_intents_it_is_the_one_that_meant_this_sidecar(
    catalog: AnyCatalog, first: Origin
) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    at = now()
    lost = updated(sidecar, {"version": "lost"}, at)
    made = updated(sidecar, {"version": "made"}, at + timedelta(seconds=1))
    for one in (lost, made) if first is BY_ALICE else (made, lost):
        await intend(catalog, one, BY_BOB if one is made else BY_ALICE)
    await commit(catalog, made, ChangeKind.UPDATED)
    assert (await told(catalog))[1:] == [(2, BY_BOB)]


@on_both
@pytest.mark.parametrize("by", [(BY_BOB, OF_REPAIR), (OF_REPAIR, BY_BOB)])
async def test_an_upload_is_of_who_sent_it_and_not_of_what_looks_after_its_bytes(
    catalog: AnyCatalog, by: tuple[Origin, Origin]
) -> None:
    sidecar = a_sidecar()
    for one in by:
        await catalog.pending.begin_write(
            sidecar.file_id, "path", ChangeKind.CREATED, by=one, revision=1
        )
    await commit(catalog, sidecar, ChangeKind.CREATED)
    assert await told(catalog) == [(1, BY_BOB)]


@on_both
async def test_an_intent_that_was_not_carried_out_is_nobodys_change(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await intend(catalog, updated(sidecar, {"version": "2"}, now()), BY_BOB)
    await commit(catalog, sidecar, ChangeKind.UPDATED)
    assert (await told(catalog))[1:] == [(1, OF_REPAIR)]


@on_both
async def test_a_refresh_tells_the_upload_that_it_ends_and_leaves_changes_to_the_replay(
    catalog: AnyCatalog,
) -> None:
    sidecar = a_sidecar()
    await catalog.pending.begin_write(
        sidecar.file_id, "path", ChangeKind.CREATED, by=BY_ALICE, revision=1
    )
    changed = updated(sidecar, {"version": "2"}, now())
    await intend(catalog, changed, BY_BOB)
    await commit(catalog, sidecar, ChangeKind.CREATED, guarded=await lazy(catalog, None))
    await commit(catalog, changed, ChangeKind.UPDATED, guarded=await lazy(catalog, 1))
    await commit(catalog, changed, ChangeKind.UPDATED)
    assert await told(catalog) == [(1, BY_ALICE), (2, OF_REPAIR), (2, BY_BOB)]


@on_both
async def test_an_intent_gives_back_whose_it_is(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await intend(catalog, sidecar, BY_BOB)
    (intent,) = await catalog.pending.of_file(sidecar.file_id)
    assert (intent.revision, intent.digest, intent.origin) == (1, digest(sidecar), BY_BOB)


async def test_what_a_rebuild_writes_and_drops_is_a_repair(catalog: Catalog) -> None:
    first, second = a_sidecar(), a_sidecar()
    await upload(catalog, first)
    await merge(catalog, updated(first, {"version": "2"}, now()), second)
    await merge(catalog, tombstoned(second, now()))
    fence = await rebuild_fence(catalog)
    await catalog.merge.drop([first.file_id], s0=100, fence=fence)
    repairs = (await told(catalog))[1:]
    assert sorted(repairs[:2]) == [(1, OF_REPAIR), (2, OF_REPAIR)]
    assert repairs[2:] == [(2, OF_REPAIR), (None, OF_REPAIR)]


async def test_what_an_earlier_version_wrote_has_no_origin_and_it_may_write_again(
    catalog: Catalog,
) -> None:
    sidecar = a_sidecar()
    await catalog.database.execute(
        f"INSERT INTO {TABLES.pending} (file_id, path, kind, request_id)"
        f" VALUES ('{sidecar.file_id}', 'path', 'created', '')"
    )
    await commit(catalog, sidecar, ChangeKind.CREATED)
    await catalog.database.execute(
        f"UPDATE {TABLES.feed_head} SET seq = 2;"
        f"INSERT INTO {TABLES.feed} (sequence, kind, file_id)"
        f" VALUES (2, 'updated', '{sidecar.file_id}')"
    )
    assert await told(catalog) == [(1, None), (None, None)]


async def test_causes_and_kinds_that_only_a_later_version_knows_stop_neither_feed_nor_replay(
    catalog: Catalog,
) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await intend(catalog, updated(sidecar, {"version": "2"}, now()), BY_BOB)
    for table in (TABLES.feed, TABLES.pending):
        await catalog.database.execute(f"UPDATE {table} SET cause = 'moon', kind = 'eclipsed'")
    (change,) = await catalog.feed.read(0)
    assert (change.kind, change.origin) == (ChangeKind.UPDATED, None)
    (intent,) = await catalog.pending.list_pending()
    assert (intent.kind, intent.origin) == (ChangeKind.UPDATED, None)


async def test_tables_of_an_earlier_version_get_their_columns_without_being_written_anew(
    own_catalog: Catalog, database: Database
) -> None:
    await upload(own_catalog, a_sidecar())
    for table, columns in (
        (TABLES.feed, "revision cause actor request_id reason"),
        (TABLES.pending, "revision digest cause actor call_request_id reason"),
    ):
        drops = ", ".join(f"DROP COLUMN {column}" for column in columns.split())
        await database.execute(f"ALTER TABLE {table} {drops}")
    await database.execute(f"UPDATE {TABLES.version} SET version_num = '0001'")
    with pytest.raises(Unavailable, match="start the element's writer anew"):
        await told(own_catalog)
    before = await _files_of_tables(database)
    await own_catalog.open()
    assert await _files_of_tables(database) == before
    await upload(own_catalog, a_sidecar())
    assert await told(own_catalog) == [(None, None), (1, BY_ALICE)]


async def _files_of_tables(database: Database) -> dict[str, int]:
    return {
        table: await database.fetchval("SELECT pg_relation_filenode($1::text::regclass)", table)
        for table in TABLES.all()
    }
