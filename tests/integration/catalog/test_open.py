"""An element's tables are there, all of them, or new under a new epoch."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import TablesMissing, Unavailable
from mesh.postgres.database import Database
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.open import tables_present
from storage_server.catalog.tables import Tables, folder_of, prefix_of
from tests.integration.catalog.files import a_sidecar, upload


async def test_a_second_start_finds_the_tables(database: Database) -> None:
    catalog = Catalog(database, Tables("storage_elem_01_"))
    first = await catalog.open()
    assert first.created
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    second = await catalog.open()
    assert not second.created
    assert second.epoch == first.epoch
    assert await catalog.reads.get(sidecar.file_id) is not None


async def test_elements_that_start_together_do_not_disturb_each_other(
    database_url: str,
) -> None:
    databases = [Database(database_url) for _ in range(3)]
    catalogs = [
        Catalog(database, Tables(f"storage_elem_0{number}_"))
        for number, database in zip((1, 2, 2), databases, strict=True)
    ]
    try:
        first, second, again = await asyncio.gather(*(catalog.open() for catalog in catalogs))
        assert first.epoch != second.epoch
        assert again.epoch == second.epoch
        await upload(catalogs[0], a_sidecar())
        assert (await catalogs[1].feed.head()).sequence == 0
    finally:
        for database in databases:
            await database.close()


@pytest.mark.parametrize("table", ["files", "feed_head", "feed", "pending_writes", "uploads"])
async def test_a_lost_table_means_new_tables_and_a_new_epoch(
    own_catalog: Catalog, table: str
) -> None:
    epoch = (await own_catalog.feed.head()).epoch
    await upload(own_catalog, a_sidecar())
    await own_catalog.database.execute(f"DROP TABLE public.storage_elem_01_{table}")
    assert not await tables_present(own_catalog.database, own_catalog.tables)
    opened = await own_catalog.open()
    assert opened.created
    assert opened.epoch != epoch
    assert await tables_present(own_catalog.database, own_catalog.tables)
    head = await own_catalog.feed.head()
    assert (head.sequence, head.used_bytes, head.complete) == (0, 0, False)
    assert (await own_catalog.reads.list_files()).total_size == 0


@pytest.mark.parametrize(
    "loss",
    [
        "DROP TABLE public.storage_elem_01_alembic_version",
        "DROP SEQUENCE public.storage_elem_01_fence_seq",
        "TRUNCATE public.storage_elem_01_feed_head",
        "DELETE FROM public.storage_elem_01_fences",
    ],
)
async def test_whatever_else_is_lost_is_made_again(own_catalog: Catalog, loss: str) -> None:
    epoch = (await own_catalog.feed.head()).epoch
    await own_catalog.database.execute(loss)
    opened = await own_catalog.open()
    assert opened.created
    assert opened.epoch != epoch
    await upload(own_catalog, a_sidecar())
    assert await own_catalog.fences.draw() >= 1


async def test_without_the_heads_row_tables_count_as_missing(own_catalog: Catalog) -> None:
    await own_catalog.database.execute(f"TRUNCATE {own_catalog.tables.feed_head}")
    assert not await own_catalog.is_there()
    for call in (
        own_catalog.feed.head(),
        own_catalog.feed.tail(0),
        upload(own_catalog, a_sidecar()),
    ):
        with pytest.raises(TablesMissing):
            await call


async def test_an_operator_may_truncate_the_rows(own_catalog: Catalog) -> None:
    await upload(own_catalog, a_sidecar())
    await own_catalog.database.execute(f"TRUNCATE {own_catalog.tables.files}")
    opened = await own_catalog.open()
    assert not opened.created
    assert await own_catalog.feed.rows_lost()


async def test_without_postgresql_opening_says_unavailable() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing", timeout_seconds=1.0)
    try:
        with pytest.raises(Unavailable):
            await Catalog(database, Tables("storage_elem_01_")).open()
    finally:
        await database.close()


def test_names_come_from_the_elements_id() -> None:
    assert prefix_of("se-01") == "storage_elem_01_"
    assert folder_of("se-01") == "storage_element_01"
    assert Tables(prefix_of("se-12")).files == "public.storage_elem_12_files"


@pytest.mark.parametrize("element_id", ["", "se-1", "se-01; DROP TABLE x", "SE-01", "se-01\n"])
def test_a_strange_element_id_is_refused(element_id: str) -> None:
    with pytest.raises(ValueError, match="se-01"):
        prefix_of(element_id)


@pytest.mark.parametrize("prefix", ["", "a-b_", "a b", 'a"b', "1a", "A_", "x" * 41])
def test_a_strange_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Tables(prefix)


async def test_the_epoch_is_known_to_whoever_opened_the_tables_read_the_head_or_wrote(
    database: Database,
) -> None:
    opening, reading, writing = (Catalog(database, Tables("storage_elem_01_")) for _ in range(3))
    assert opening.epoch == ""
    opened = await opening.open()
    assert opening.epoch == opened.epoch
    assert (await reading.feed.head()).epoch == reading.epoch == reading.feed.epoch == opened.epoch
    committed = await upload(writing, a_sidecar())
    assert committed.epoch == writing.epoch == opened.epoch
    await database.execute(f"DROP TABLE {opening.tables.files}")
    assert (await opening.open()).epoch == opening.epoch != opened.epoch
