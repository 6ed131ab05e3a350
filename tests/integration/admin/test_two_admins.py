"""Two admins on one database: started at once on an empty one, and each as good as the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

from artstore.v1 import elements_pb2
from tests.support.running_admin import RunningAdmin, bearer, report, running_admin


async def ids_known_to(admin: RunningAdmin) -> set[str]:
    answer = await admin.elements.ListStorageElements(
        elements_pb2.ListStorageElementsRequest(), **await admin.as_("alice")
    )
    return {element.storage_element_id for element in answer.elements}


async def test_a_first_start_of_two_at_once_makes_one_mesh(
    database_url: str, tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    contexts = [running_admin(database_url, folder) for folder in folders]
    one, two = await asyncio.gather(*(context.__aenter__() for context in contexts))
    try:
        async with asyncio.timeout(10):
            # The same keys, so each takes the tokens that the other has issued.
            for first, second in ((one, two), (two, one)):
                assert await second.accepts(await first.issue("alice"))
            assert await one.jwks() == await two.jwks()
            assert len((await one.jwks())["keys"]) == 1
            token = bearer(await two.issue("storage-se-01"))
            request = elements_pb2.ReportStorageElementRequest(report=report())
            await two.elements.ReportStorageElement(request, metadata=token)
            while "se-01" not in await ids_known_to(one):  # noqa: ASYNC110 - read now and then
                await asyncio.sleep(0.05)
    finally:
        await asyncio.gather(*(context.__aexit__(None, None, None) for context in contexts))
