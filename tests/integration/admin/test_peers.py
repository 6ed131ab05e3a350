"""An admin that has lost its tables knows from the elements that report which others there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from artstore.v1 import elements_pb2, registry_pb2, registry_pb2_grpc
from mesh.calls.status import from_rpc_error
from storage_server.domain.sidecar import FileState
from tests.integration.admin.audited import EVERYBODY
from tests.integration.admin.transfers import FAST, register
from tests.support.running_admin import (
    OTHER_ELEMENTS,
    RunningAdmin,
    admin_database,
    grown_old,
    report,
    running_admin,
)
from tests.support.stepping_elements import stepping_mesh
from tests.support.waiting import until

ACCOUNTS = (*EVERYBODY, *OTHER_ELEMENTS)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Admin looks into its table of elements more often than every two seconds."""
    monkeypatch.setattr("admin_server.app.SYNC_SECONDS", 0.2)


async def told(admin: RunningAdmin, element_id: str, *peers: str) -> list[str]:
    """The others, as they are told to an element that names `peers`."""
    message = report(
        element_id,
        store_id=f"3f2b0c1e-7c65-4f9f-9b58-0d0a6d9c1a{element_id[-2:]}",
        peer_storage_element_ids=peers,
    )
    answer = await admin.elements.ReportStorageElement(
        elements_pb2.ReportStorageElementRequest(report=message),
        **await admin.as_(f"storage-{element_id}"),
    )
    return list(answer.peer_storage_element_ids)


async def test_each_element_is_told_of_the_others_until_an_operator_takes_one_out(
    database_url: str, tmp_path: Path
) -> None:
    async with running_admin(database_url, tmp_path, accounts=ACCOUNTS) as admin:
        assert await told(admin, "se-01") == []
        assert await told(admin, "se-02", "se-03") == ["se-01", "se-03"]
        assert await told(admin, "se-01") == ["se-02", "se-03"]
        assert await told(admin, "se-03") == ["se-01", "se-02"]
        async with admin_database(database_url) as database:
            await database.execute(
                "DELETE FROM storage_elements WHERE storage_element_id = 'se-03'"
            )

        async def is_out() -> bool:
            # One that was away names it still.
            return await told(admin, "se-02", "se-03") == ["se-01"]

        await until(is_out)
        await told(admin, "se-03")
        assert await told(admin, "se-01") == ["se-02", "se-03"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await told(admin, "se-02", "no name")
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_with_tables_that_were_lost_nothing_is_promoted_before_all_have_reported(
    database_url: str, tmp_path: Path
) -> None:
    looks = 0

    async def looked_at() -> None:
        nonlocal looks
        looks += 1

    async with (
        stepping_mesh(se_01="edit", se_02="edit", se_03="edit") as mesh,
        running_admin(database_url, tmp_path, accounts=ACCOUNTS, **FAST) as admin,
    ):
        home, copy = mesh["se-03"], mesh["se-02"]
        file_id = home.store()
        copy.sidecars[file_id] = replace(home.sidecars[file_id], state=FileState.COPY)
        copy.blobs[file_id] = b"bytes"
        copy.before["GetFile"] = looked_at
        await grown_old(database_url)
        names = ["se-01", "se-02", "se-03"]
        await mesh.report_to(admin, "se-01", "se-02", peer_storage_element_ids=names)
        async with admin_database(database_url) as database:
            files, home.sidecars = home.sidecars, {}
            await register(database_url, mesh, file_id)
            home.sidecars = files
            await until(lambda: looks >= 3)
            assert (copy.state(file_id), copy.calls) == ("copy", [])
            # Of what nobody knows it is not said that it is not there.
            stub = registry_pb2_grpc.FileRegistryServiceStub(admin.channel)
            unknown = "0199aaaa-0000-7000-8000-000000000001"
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.GetFile(
                    registry_pb2.FileRegistryServiceGetFileRequest(file_id=unknown),
                    **await admin.as_("admin"),
                )
            assert "se-03" in from_rpc_error(error.value).message
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            # An operator's word that it is no part of the mesh any more.
            await database.execute("INSERT INTO forgotten_elements VALUES ('se-03')")
            await until(lambda: copy.state(file_id) == "active")
