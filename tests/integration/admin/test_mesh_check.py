"""The check of the whole mesh: what it mends, what it tells, and ADMIN's word on a home."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import orjson
import pytest
import pytest_asyncio

from artstore.v1 import operations_pb2, operations_pb2_grpc, registry_pb2, registry_pb2_grpc
from mesh.follower.rows import to_row
from storage_server.domain.sidecar import FileState, Sidecar
from tests.integration.admin.transfers import FAST
from tests.support.outside import error_info
from tests.support.running_admin import (
    EVERYBODY,
    OTHER_ELEMENTS,
    RunningAdmin,
    admin_database,
    grown_old,
    running_admin,
)
from tests.support.stepping_elements import Mesh, stepping_mesh

SLOW = {**FAST, "sweep_seconds": 3600}
KIND = registry_pb2.FindingKind


@dataclasses.dataclass
class Checked:
    """An admin whose registry a test fills, and three elements."""

    admin: RunningAdmin
    mesh: Mesh
    database_url: str

    @property
    def stub(self) -> Any:
        return registry_pb2_grpc.FileRegistryServiceStub(self.admin.channel)

    async def register(self, file_id: str) -> None:
        """What the feeds would tell the registry of a file."""
        async with admin_database(self.database_url) as database:
            for element_id, element in self.mesh.elements.items():
                if element.state(file_id):
                    row = to_row(element.file(file_id), element_id, 1)
                    await database.execute(
                        "INSERT INTO file_registry SELECT * FROM"
                        " json_populate_record(NULL::file_registry, $1) ON CONFLICT DO NOTHING",
                        orjson.dumps(row).decode(),
                    )

    async def check(self, **fields: Any) -> registry_pb2.CheckMeshResponse:
        answer: registry_pb2.CheckMeshResponse = await self.stub.CheckMesh(
            registry_pb2.CheckMeshRequest(**fields), **await self.admin.as_("admin")
        )
        return answer

    async def findings(self, **fields: Any) -> list[registry_pb2.Finding]:
        answer = await self.stub.ListFindings(
            registry_pb2.ListFindingsRequest(**fields), **await self.admin.as_("admin")
        )
        return list(answer.findings)

    async def resolve(self, file_id: str, element_id: str) -> registry_pb2.ResolveHomeResponse:
        answer: registry_pb2.ResolveHomeResponse = await self.stub.ResolveHome(
            registry_pb2.ResolveHomeRequest(file_id=file_id, storage_element_id=element_id),
            **await self.admin.as_("admin"),
        )
        return answer

    def copied(self, file_id: str, source: str, target: str, **changes: Any) -> Sidecar:
        """Its sidecar and bytes copied to another element by hand."""
        sidecar = dataclasses.replace(self.mesh[source].sidecars[file_id], **changes)
        self.mesh[target].sidecars[file_id] = sidecar
        self.mesh[target].blobs[file_id] = self.mesh[source].blobs[file_id]
        return sidecar


@pytest_asyncio.fixture(loop_scope="session")
async def checked(database_url: str, tmp_path: Path) -> AsyncIterator[Checked]:
    async with stepping_mesh(se_01="edit", se_02="edit", se_03="rw") as mesh:
        accounts = (*EVERYBODY, *OTHER_ELEMENTS)
        async with running_admin(database_url, tmp_path, accounts=accounts, **SLOW) as admin:
            await grown_old(database_url)
            await mesh.report_to(admin)
            yield Checked(admin, mesh, database_url)


def kinds(findings: list[registry_pb2.Finding]) -> list[tuple[str, int, list[str]]]:
    return [(one.file_id, one.kind, list(one.storage_element_ids)) for one in findings]


async def test_of_two_homes_the_earlier_yields_and_both_are_told(checked: Checked) -> None:
    file_id = checked.mesh["se-01"].store()
    checked.copied(file_id, "se-01", "se-02")
    checked.mesh["se-02"].update(file_id, description="later")
    await checked.register(file_id)
    answer = await checked.check()
    assert [(one.kind, one.count) for one in answer.counts] == [(KIND.FINDING_KIND_TWO_HOMES, 1)]
    assert answer.file_count == 1
    assert checked.mesh["se-02"].state(file_id) == "active"
    assert checked.mesh["se-01"].state(file_id) in ("copy", "gone")
    expected = [(file_id, KIND.FINDING_KIND_TWO_HOMES, ["se-01", "se-02"])]
    assert kinds(await checked.findings()) == expected
    assert kinds(await checked.findings(storage_element_id="se-03")) == []
    assert kinds(await checked.findings(kinds=[KIND.FINDING_KIND_NO_HOME])) == []


async def test_what_was_set_aside_waits_until_an_admin_names_its_home(checked: Checked) -> None:
    file_id = checked.mesh["se-01"].store()
    checked.copied(
        file_id,
        "se-01",
        "se-02",
        state=FileState.COPY,
        moved_to="se-02",
        deleted_at=datetime.now(UTC),
    )
    del checked.mesh["se-01"].sidecars[file_id]
    await checked.register(file_id)
    first = await checked.check()
    assert [(one.kind, one.count) for one in first.counts] == [(KIND.FINDING_KIND_SET_ASIDE, 1)]
    (finding,) = await checked.findings()
    await checked.check()
    (again,) = await checked.findings()
    assert (again.finding_id, again.found_at) == (finding.finding_id, finding.found_at)
    answer = await checked.resolve(file_id, "se-02")
    assert answer.file.storage_element_id == "se-02"
    assert checked.mesh["se-02"].state(file_id) == "active"
    await checked.check()
    assert await checked.findings() == []


async def test_a_home_is_named_only_where_it_can_be(checked: Checked) -> None:
    file_id = checked.mesh["se-01"].store()
    home = await checked.resolve(file_id, "se-01")
    assert (home.file.storage_element_id, checked.mesh["se-01"].calls) == ("se-01", [])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await checked.resolve(file_id, "se-03")
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(refused.value).reason == "FILE_STATE"
    assert "has a home, on se-01" in str(refused.value.details())
    with pytest.raises(grpc.aio.AioRpcError) as nowhere:
        await checked.resolve(file_id, "se-09")
    assert nowhere.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await checked.resolve("0199aaaa-0000-7000-8000-000000000000", "se-01")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_admin_moves_the_home_to_a_copy_by_his_word(checked: Checked) -> None:
    file_id = checked.mesh["se-01"].store()
    checked.copied(file_id, "se-01", "se-02", state=FileState.COPY)
    await checked.resolve(file_id, "se-02")
    states = [checked.mesh[name].state(file_id) for name in ("se-01", "se-02")]
    assert states[1] == "active"
    assert states[0] in ("copy", "gone")


async def test_a_check_with_a_silent_element_says_that_it_may_have_missed_something(
    checked: Checked,
) -> None:
    file_id = checked.mesh["se-01"].store()
    checked.copied(file_id, "se-01", "se-02")
    await checked.register(file_id)

    async def silent() -> None:
        raise RuntimeError("as if it were down")

    checked.mesh["se-03"].before["GetFile"] = silent
    answer = await checked.check()
    assert not answer.complete


async def test_a_check_is_an_operation_that_can_be_seen(checked: Checked) -> None:
    answer = await checked.check(operation_id="nightly")
    assert answer.operation.operation_id == "nightly"
    operations: Any = operations_pb2_grpc.OperationServiceStub(checked.admin.channel)
    told = await operations.GetOperation(
        operations_pb2.GetOperationRequest(operation_id="nightly"),
        **await checked.admin.as_("admin"),
    )
    assert told.operation.kind == operations_pb2.OPERATION_KIND_MESH_CHECK
    assert told.operation.state == operations_pb2.OPERATION_STATE_SUCCEEDED
