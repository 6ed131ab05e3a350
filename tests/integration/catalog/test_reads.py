"""Rows are read as they were written; pages stay right while files come and go."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings

from mesh.errors import InvalidArgument
from storage_server.catalog import rows
from storage_server.catalog.catalog import Catalog
from storage_server.domain.fields import SIDECAR_COLUMNS, WRITTEN_WHEN_SET
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import Sidecar, decode, encode
from storage_server.domain.sidecar_changes import tombstoned
from storage_server.store.port import Identity
from tests.integration.catalog.back_door import on_both
from tests.integration.catalog.files import AnyCatalog, a_sidecar, commit, lazy, now, renew, upload
from tests.support.origins import BY_ALICE
from tests.support.sidecars import AT, any_sidecar


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sidecar=any_sidecar)
async def test_a_sidecar_goes_through_its_row_without_loss(
    catalog: Catalog, sidecar: Sidecar
) -> None:
    read = decode(encode(sidecar))
    await commit(catalog, read, ChangeKind.CREATED)
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert row.sidecar == sidecar
    assert encode(row.sidecar) == encode(sidecar)
    summary = (await catalog.summaries.rows_by_id([sidecar.file_id]))[sidecar.file_id]
    assert summary.intact
    assert summary.digest == row.digest == rows.digest(row.sidecar)


@on_both
@pytest.mark.parametrize(
    "identity",
    [
        Identity(size=900, mtime_ns=1_700_000_000_123_456_789, inode=(1 << 64) - 1),
        Identity(size=0, mtime_ns=-5, inode=1 << 63),
        Identity(size=900, etag='"abc-1"'),
    ],
)
async def test_an_identity_is_kept_whole(catalog: AnyCatalog, identity: Identity) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar, identity)
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert row.identity == identity


@on_both
async def test_a_file_with_an_intent_reads_as_expired(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    intent = await catalog.pending.begin_write(
        sidecar.file_id, "path", ChangeKind.UPDATED, by=BY_ALICE, revision=1
    )
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert row.pending
    assert row.cache_expired(now())
    await catalog.pending.end_pending(intent)
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert not row.cache_expired(now())


async def test_many_are_read_at_once_and_strangers_left_out(catalog: Catalog) -> None:
    first, second = a_sidecar(), a_sidecar()
    await upload(catalog, first)
    await upload(catalog, second)
    found = await catalog.reads.get_many([first.file_id, "nobody", second.file_id])
    assert {file_id: row.sidecar for file_id, row in found.items()} == {
        first.file_id: first,
        second.file_id: second,
    }


async def test_pages_are_stable_while_files_are_added_and_deleted(catalog: Catalog) -> None:
    start = now() - timedelta(hours=1)
    files = [a_sidecar(at=start + timedelta(seconds=n)) for n in range(10)]
    for sidecar in reversed(files):
        await upload(catalog, sidecar)
    first = await catalog.reads.list_files(page_size=4)
    assert [row.sidecar for row in first.rows] == files[:4]
    assert first.total_size == 10
    await upload(catalog, a_sidecar(at=start - timedelta(seconds=5)))
    await commit(catalog, tombstoned(files[3], now()), ChangeKind.DELETED)
    await commit(catalog, tombstoned(files[5], now()), ChangeKind.DELETED)
    second = await catalog.reads.list_files(page_size=4, page_token=first.next_page_token)
    assert [row.sidecar for row in second.rows] == [files[n] for n in (4, 6, 7, 8)]
    assert second.total_size == 9
    third = await catalog.reads.list_files(page_size=4, page_token=second.next_page_token)
    assert [row.sidecar for row in third.rows] == files[9:]
    assert third.next_page_token == ""


async def test_files_of_one_moment_are_all_listed(catalog: Catalog) -> None:
    moment = now()
    files = {sidecar.file_id for sidecar in (a_sidecar(at=moment) for _ in range(7))}
    for file_id in files:
        await upload(catalog, a_sidecar(at=moment, file_id=file_id))
    listed: list[str] = []
    token = ""
    while True:
        page = await catalog.reads.list_files(page_size=2, page_token=token)
        listed += [row.sidecar.file_id for row in page.rows]
        token = page.next_page_token
        if not token:
            break
    assert listed == sorted(files)


async def test_only_the_allowed_namespaces_are_listed(catalog: Catalog) -> None:
    mine, other = a_sidecar(namespace="mine"), a_sidecar(namespace="other")
    await upload(catalog, mine)
    await upload(catalog, other)
    page = await catalog.reads.list_files(namespaces=["mine", "default"])
    assert ([row.sidecar for row in page.rows], page.total_size) == ([mine], 1)
    assert (await catalog.reads.list_files(namespaces=[])).total_size == 0
    assert (await catalog.reads.list_files()).total_size == 2


@pytest.mark.parametrize("token", ["x", "AAAA", "ÿ", "MTIz", "OTk5OTk5OTk5OTk5OTk5OTk5OTkuYQ"])
async def test_a_strange_page_token_is_refused(catalog: Catalog, token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await catalog.reads.list_files(page_token=token)
    assert refused.value.field == "page_token"


async def test_a_page_over_the_maximum_is_lowered(catalog: Catalog) -> None:
    assert (await catalog.reads.list_files(page_size=1_000_000)).total_size == 0
    with pytest.raises(InvalidArgument):
        await catalog.reads.list_files(page_size=-1)


@on_both
async def test_a_repeated_request_finds_the_first_file(catalog: AnyCatalog) -> None:
    first = a_sidecar(at=now() - timedelta(minutes=1), request_id="r-1")
    for sidecar in (first, a_sidecar(request_id="r-1"), a_sidecar(request_id="")):
        await upload(catalog, sidecar)
    week_ago = now() - timedelta(days=7)
    found = await catalog.reads.find_by_request("alice", "r-1", since=week_ago)
    assert found is not None
    assert found.sidecar == first
    assert await catalog.reads.find_by_request("bob", "r-1", since=week_ago) is None
    assert await catalog.reads.find_by_request("alice", "r-1", since=now()) is None
    assert await catalog.reads.find_by_request("alice", "", since=week_ago) is None


def damage_of(column: str) -> str:
    words = {"state": "'moved'", "retention_policy": "'permanent'"}
    return (
        words.get(column)
        or {
            "text": f"{column} || 'x'",
            "bigint": f"coalesce({column}, 0) + 1",
            "integer": f"coalesce({column}, 0) + 1",
            "timestamptz": f"coalesce({column}, now()) + interval '1 microsecond'",
            "text[]": f"{column} || 'x'::text",
            "jsonb": f"""{column} || '{{"x": "y"}}'""",
            "boolean": f"NOT {column}",
        }[SIDECAR_COLUMNS[column]]
    )


HASHED_BY_VERSION_1 = (
    "file_id, schema_version, revision, state, namespace, original_filename, storage_filename,"
    " storage_path, size_bytes, content_type, sha256, crc32c, created_at, created_by, updated_at,"
    " request_id, description, version, tags, attributes, retention_policy, retention_days,"
    " expires_at, finalized_at, finalized_to, legal_hold, unknown_fields, digest"
)


async def test_a_row_of_an_earlier_version_keeps_its_hash(catalog: Catalog) -> None:
    await upload(catalog, a_sidecar())
    assert await catalog.database.fetchval(
        f"SELECT row_hash = hash_record_extended(ROW({HASHED_BY_VERSION_1}), 0)"
        f" FROM {catalog.tables.files}"
    )


@pytest.mark.parametrize("column", WRITTEN_WHEN_SET)
async def test_a_value_that_a_row_has_lost_is_missed(catalog: Catalog, column: str) -> None:
    """Columns of later versions are hashed where one of them has a value."""
    fields = {
        "home_since": 5,
        "moved_to": "se-02",
        "copies": 2,
        "updated_by": "a",
        "deleted_at": AT,
    }
    sidecar = a_sidecar(**{column: fields[column]})
    await upload(catalog, sidecar)
    (found,) = (await catalog.summaries.rows_by_id([sidecar.file_id])).values()
    assert found.intact
    await catalog.database.execute(f"UPDATE {catalog.tables.files} SET {column} = DEFAULT")
    (found,) = (await catalog.summaries.rows_by_id([sidecar.file_id])).values()
    assert not found.intact


async def test_a_change_of_any_column_behind_our_back_is_found(catalog: Catalog) -> None:
    damaged = {a_sidecar().file_id: column for column in SIDECAR_COLUMNS}
    for file_id, column in damaged.items():
        await upload(catalog, a_sidecar(file_id=file_id))
        if column != "file_id":
            await catalog.database.execute(
                f"UPDATE {catalog.tables.files} SET {column} = {damage_of(column)}"
                " WHERE file_id = $1",
                file_id,
            )
    found = await catalog.summaries.rows_by_id(list(damaged))
    assert [damaged[one.file_id] for one in found.values() if one.intact] == ["file_id"]
    folders = (await catalog.summaries.folders()).values()
    assert sum(folder.damaged for folder in folders) == len(damaged) - 1


async def test_a_renewal_is_no_damage(catalog: Catalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await catalog.database.execute(
        f"UPDATE {catalog.tables.files} SET cache_updated_at = now() - interval '1 day'"
    )
    assert await renew(catalog, sidecar, await lazy(catalog, 1), 9)
    assert (await catalog.summaries.rows_by_id([sidecar.file_id]))[sidecar.file_id].intact


async def test_a_row_damaged_beyond_its_types_stays_readable(catalog: Catalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await catalog.database.execute(
        f"""UPDATE {catalog.tables.files} SET attributes = '{{"a": [1]}}', tags = '{{NULL}}'"""
    )
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert (row.sidecar.attributes, row.sidecar.tags) == ({"a": "[1]"}, ("",))
