"""One rule of expiry, in Python and in SQL."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta

from storage_server.catalog import expiry
from storage_server.catalog.catalog import Catalog
from storage_server.domain.file_id import new_file_id
from tests.integration.catalog.files import a_sidecar, now, upload

MICROSECOND = timedelta(microseconds=1)


async def test_python_and_sql_agree_to_the_microsecond(catalog: Catalog) -> None:
    chance = random.Random(7)
    moment = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    ids = [new_file_id(moment) for _ in range(300)] + [str(uuid.uuid4()) for _ in range(100)]
    ids += ["x", "short", "кириллица", "ends with ю"]
    cases = [
        (
            file_id,
            moment - timedelta(microseconds=chance.randrange(10**12)),
            chance.choice([0, 1, 24, 168, 10_000]),
        )
        for file_id in ids
    ]
    for file_id, updated_at, ttl in cases:
        at = expiry.expires_at(file_id, updated_at, ttl)
        sql = expiry.expired_sql("f", "$4::timestamptz")
        question = (
            f"SELECT {sql} FROM (SELECT $1::text AS file_id, $2::timestamptz AS cache_updated_at,"
            " $3::integer AS cache_ttl_hours) f"
        )
        database = catalog.database
        assert await database.fetchval(question, file_id, updated_at, ttl, at) is True
        before = await database.fetchval(question, file_id, updated_at, ttl, at - MICROSECOND)
        assert before is False


def test_rows_verified_together_expire_apart_and_never_later_than_their_ttl() -> None:
    verified = datetime(2026, 1, 1, tzinfo=UTC)
    at = [expiry.expires_at(new_file_id(verified), verified, 24) for _ in range(2000)]
    assert max(at) <= verified + timedelta(hours=24)
    assert min(at) >= verified + timedelta(hours=21.6)
    assert len(set(at)) > 80


async def test_counts_and_rows_say_the_same_of_expiry(catalog: Catalog) -> None:
    old, fresh = a_sidecar(), a_sidecar()
    await upload(catalog, old)
    await upload(catalog, fresh)
    await catalog.database.execute(
        f"UPDATE {catalog.tables.files} SET cache_updated_at = now() - interval '100 hours'"
        " WHERE file_id = $1",
        old.file_id,
    )
    counts = await catalog.reads.counts(now())
    assert (counts.rows, counts.expired) == (2, 1)
    assert await catalog.reads.expired_ids(now()) == [old.file_id]
    rows = await catalog.reads.get_many([old.file_id, fresh.file_id])
    assert rows[old.file_id].cache_expired(now())
    assert not rows[fresh.file_id].cache_expired(now())
