"""A mesh whose PostgreSQL and Valkey are reached by TLS, and in no other way."""

from __future__ import annotations

from pathlib import Path

from tests.integration.feed.small_mesh import small_mesh
from tests.support.certificates import Authority
from tests.support.tls_proxy import tls_proxy
from tests.support.waiting import until


async def test_all_servers_stand_on_both(database_url: str, redis_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    certificate = authority.issue()
    async with (
        tls_proxy(database_url, *certificate) as postgres,
        tls_proxy(redis_url, *certificate) as valkey,
    ):
        database, redis = (one.verified(authority.file) for one in (postgres, valkey))
        async with small_mesh(tmp_path, database, redis) as mesh:
            await mesh.start_ingest()
            node = mesh.elements["se-01"]
            written = await node.upload(b"bytes", original_filename="proved.txt")
            assert await node.download(written.file.file_id) == b"bytes"

            async def is_found() -> bool:
                return await mesh.found("proved") == ["proved.txt"]

            await until(is_found, 20)
        assert postgres.encrypted > 10
        assert valkey.encrypted > 3
        assert postgres.plain == valkey.plain == 0
