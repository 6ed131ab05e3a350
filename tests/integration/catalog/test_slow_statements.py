"""What a repair asks of PostgreSQL may take longer than the deadline of other calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mesh.errors import Unavailable
from mesh.postgres.database import Database
from storage_server.catalog.catalog import Catalog
from tests.integration.catalog.conftest import TABLES
from tests.integration.catalog.files import a_sidecar, merge, now, rebuild_fence

SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
CREATE TRIGGER slow BEFORE INSERT OR UPDATE OR DELETE ON {files}
    FOR EACH STATEMENT EXECUTE FUNCTION slow()
"""


@pytest.fixture
async def impatient(database_url: str) -> AsyncIterator[Catalog]:
    """A catalog whose calls wait for a fraction of a second."""
    database = Database(database_url, timeout_seconds=0.3)
    catalog = Catalog(database, TABLES)
    await catalog.open()
    yield catalog
    await database.close()


async def test_a_slow_server_ends_no_statement_of_a_repair(impatient: Catalog) -> None:
    await impatient.database.execute(SLOW.format(files=impatient.tables.files))
    with pytest.raises(Unavailable):
        await impatient.database.execute(f"DELETE FROM {impatient.tables.files}")
    sidecars = [a_sidecar() for _ in range(3)]
    assert (await merge(impatient, *sidecars)).created == 3
    fence = await rebuild_fence(impatient)
    s0 = (await impatient.feed.head()).sequence
    page = await impatient.merge.renew_page(
        "", [], s0=s0, fence=fence, now=now(), cache_ttl_hours=24
    )
    assert page.renewed == 3
    dropped = await impatient.merge.drop([sidecars[0].file_id], s0=s0, fence=fence)
    assert dropped == [sidecars[0].file_id]
    assert await impatient.counters.recount(fence=fence) == 2
