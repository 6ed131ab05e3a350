"""Who is no element of the mesh gets nothing of it, and a token for one element is good there only.

The fake listens, writes down whatever it is sent, and says that it is an element: to admin by an
account of a server, and in Valkey, where elements say how they are.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import asyncpg
import grpc
import pytest
import redis as valkey
from google.protobuf import json_format

from artstore.v1 import (
    accounts_pb2,
    changes_pb2,
    elements_pb2,
    elements_pb2_grpc,
    query_pb2,
    storage_pb2,
    tokens_pb2,
    transfers_pb2,
    transfers_pb2_grpc,
    types_pb2,
    uploads_pb2,
)
from artstore_client import SyncClient
from artstore_client.cli.app import run
from mesh.elements.discovery import REPORT_CHANNEL, REPORT_KEY_PREFIX
from mesh.postgres.urls import with_database
from tests.support.call_recorder import CallRecorder, recording_calls
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside, error_info

ELEMENTS = ("se-01", "se-02", "se-03")
UNKNOWN = "0199aaaa-0000-7000-8000-000000000000"


class Fake:
    """A process that would like to be an element."""

    def __init__(self, mesh: MeshProcess, outside: Outside, recorder: CallRecorder) -> None:
        self.calls = recorder.calls
        self.endpoint = recorder.endpoint
        self.account = outside.account(accounts_pb2.ROLE_SERVICE)
        self._redis = valkey.Redis.from_url(mesh.file.redis_url)

    def report(self, element_id: str, store_id: str) -> elements_pb2.StorageElementReport:
        told = elements_pb2.StorageElementReport(
            storage_element_id=element_id,
            store_id=store_id,
            endpoint=self.endpoint,
            mode=types_pb2.ELEMENT_MODE_EDIT,
            priority=0,
            capacity_bytes=2**40,
            fill_level=types_pb2.FILL_LEVEL_OK,
            writable=True,
            is_writer=True,
            backend=types_pb2.STORAGE_BACKEND_LOCAL,
            epoch="e",
        )
        told.reported_at.GetCurrentTime()
        return told

    def tell_admin(self, told: elements_pb2.StorageElementReport) -> grpc.RpcError:
        """How admin refuses a report by the account of some server."""
        stub = elements_pb2_grpc.StorageElementServiceStub(self.account.channel("admin"))
        request = elements_pb2.ReportStorageElementRequest(report=told)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ReportStorageElement(request, **self.account.auth)
        return refused.value

    def tell_valkey(self, told: elements_pb2.StorageElementReport) -> None:
        text = json_format.MessageToJson(told, preserving_proto_field_name=True, indent=None)
        self._redis.set(REPORT_KEY_PREFIX + told.storage_element_id, text, ex=3)
        self._redis.publish(REPORT_CHANNEL, text)

    def close(self) -> None:
        self._redis.close()
        self.account.__exit__()


@pytest.fixture
def outside(mesh_local: MeshProcess) -> Iterator[Outside]:
    with Outside(mesh_local.file) as caller:
        yield caller


@pytest.fixture
def fake(mesh_local: MeshProcess, outside: Outside) -> Iterator[Fake]:
    with recording_calls() as recorder:
        found = Fake(mesh_local, outside, recorder)
        yield found
        found.close()


def admin_lists(outside: Outside) -> dict[str, elements_pb2.StorageElement]:
    stub = elements_pb2_grpc.StorageElementServiceStub(outside.channel("admin"))
    answer = stub.ListStorageElements(elements_pb2.ListStorageElementsRequest(), **outside.auth)
    return {element.storage_element_id: element for element in answer.elements}


def use_the_mesh(mesh: MeshProcess, outside: Outside) -> None:
    """What makes servers and clients call elements: uploads, reads, lists, unknown ids, holds."""
    file = outside.upload(b"of an honest user", f"{secrets.token_hex(4)}.txt")
    request = query_pb2.QueryServiceGetFileRequest(file_id=UNKNOWN)
    with pytest.raises(grpc.RpcError):
        outside.query.GetFile(request, **outside.auth)
    outside.hold(file.file_id)
    outside.hold(file.file_id, legal_hold=False)
    with pytest.raises(grpc.RpcError):
        outside.hold(UNKNOWN)
    with pytest.raises(grpc.RpcError):
        outside.ingest.GetUpload(uploads_pb2.GetUploadRequest(upload_id="se-08.1"), **outside.auth)
    with SyncClient.connect(mesh_file=mesh.mesh_file) as client:
        assert {one.storage_element_id for one in client.elements()} == set(ELEMENTS)
        other = client.upload(b"x", name="x.txt")
        assert file.file_id in [one.file_id for one in client.list_files()]
        for file_id in (file.file_id, other.file_id):
            client.delete(file_id)


def test_a_fake_of_a_servers_account_gets_no_token_and_no_call(
    mesh_local: MeshProcess, outside: Outside, fake: Fake
) -> None:
    told = fake.report("se-08", str(uuid.uuid4()))
    refused = fake.tell_admin(told)
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    assert error_info(refused).reason == "ELEMENT_ACCOUNT"
    assert "artstore element add se-08" in refused.details()
    for _ in range(3):
        fake.tell_valkey(told)
        use_the_mesh(mesh_local, outside)
    assert set(admin_lists(outside)) == set(ELEMENTS)
    assert fake.calls == []


def test_a_fake_with_a_stolen_store_id_gets_no_token_and_no_call(
    mesh_local: MeshProcess, outside: Outside, fake: Fake
) -> None:
    before = admin_lists(outside)["se-01"]
    told = fake.report("se-01", before.store_id)
    refused = fake.tell_admin(told)
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    for _ in range(3):
        fake.tell_valkey(told)
        use_the_mesh(mesh_local, outside)
    after = admin_lists(outside)["se-01"]
    assert (after.endpoint, after.store_id) == (before.endpoint, before.store_id)
    assert after.healthy
    assert fake.calls == []


def test_a_servers_token_is_good_at_the_element_that_it_was_made_for_and_nowhere_else(
    mesh_local: MeshProcess, outside: Outside
) -> None:
    def watch(caller: Outside, element_id: str) -> None:
        call = caller.storage(element_id).WatchChanges(
            changes_pb2.WatchChangesRequest(), **caller.auth
        )
        next(call)
        call.cancel()

    def refusal_of(work: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as refused:
            work()
        return refused.value.code(), error_info(refused.value).reason

    wrong = (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_AUDIENCE")
    server = outside.account(accounts_pb2.ROLE_SERVICE)
    request = tokens_pb2.IssueTokenRequest(
        client_id=server.client_id, client_secret=server.client_secret, audience="artstore/se-01"
    )
    token = outside.tokens.IssueToken(request).access_token
    with server, Outside(mesh_local.file, _token=token) as made_for_se_01:
        watch(made_for_se_01, "se-01")
        for element_id in ("se-02", "se-03"):
            assert refusal_of(lambda name=element_id: watch(made_for_se_01, name)) == wrong
        get = query_pb2.QueryServiceGetFileRequest(file_id=UNKNOWN)
        assert refusal_of(lambda: made_for_se_01.query.GetFile(get, **made_for_se_01.auth)) == wrong
        assert refusal_of(lambda: made_for_se_01.upload(b"x", "x")) == wrong
        assert refusal_of(lambda: admin_lists(made_for_se_01)) == wrong


def test_who_speaks_for_an_admin_at_one_element_cannot_with_a_token_for_another(
    mesh_local: MeshProcess, outside: Outside
) -> None:
    server = outside.account(accounts_pb2.ROLE_SERVICE)
    request = tokens_pb2.IssueTokenRequest(
        client_id=server.client_id, client_secret=server.client_secret, audience="artstore/se-01"
    )
    of_server = outside.tokens.IssueToken(request).access_token
    request.client_id, request.client_secret = outside.file.client_id, outside.file.client_secret
    of_admin = outside.tokens.IssueToken(request).access_token
    pairs = (("authorization", f"Bearer {of_server}"), ("artstore-caller", of_admin))
    with server:
        for element_id, taken in (("se-01", True), ("se-02", False)):
            stub, call = server.storage(element_id), storage_pb2.StorageServiceListFilesRequest()
            if taken:
                stub.ListFiles(call, metadata=pairs, timeout=10)
                continue
            with pytest.raises(grpc.RpcError) as refused:
                stub.ListFiles(call, metadata=pairs, timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_steps_of_a_files_life_are_admins_own_and_no_other_servers(
    mesh_local: MeshProcess, outside: Outside
) -> None:
    server = outside.account(accounts_pb2.ROLE_SERVICE)
    request = transfers_pb2.HoldRequest(
        condition=transfers_pb2.Condition(file_id=UNKNOWN), legal_hold=True
    )
    for audience in ("artstore", "artstore/se-01"):
        issue = tokens_pb2.IssueTokenRequest(
            client_id=server.client_id, client_secret=server.client_secret, audience=audience
        )
        token = outside.tokens.IssueToken(issue).access_token
        with Outside(mesh_local.file, _token=token) as caller:
            stub = transfers_pb2_grpc.TransferServiceStub(
                caller.channel(caller.file.endpoints["storage"]["se-01"])
            )
            with pytest.raises(grpc.RpcError) as refused:
                stub.Hold(request, **caller.auth)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_the_command_adds_an_element_and_shows_that_it_has_not_reported(
    mesh_local: MeshProcess,
    outside: Outside,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ARTSTORE_MESH", str(mesh_local.mesh_file))
    name = f"se-{secrets.token_hex(3)}"
    assert run(["element", "add", name]) == 0
    told = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    assert told["ARTSTORE_ELEMENT_ID"] == name
    try:
        with Outside(
            mesh_local.file, told["ARTSTORE_CLIENT_ID"], told["ARTSTORE_CLIENT_SECRET"]
        ) as own:
            assert set(ELEMENTS) < set(admin_lists(own))
        assert run(["element", "list"]) == 0
        (line,) = [one for one in capsys.readouterr().out.splitlines() if name in one]
        assert "has not reported yet" in line
        # It has no files and no address, so nobody misses it.
        assert run(["ls"]) == 0
        assert run(["element", "add", name]) != 0
        assert "already" in capsys.readouterr().err
        assert run(["element", "admit", name]) != 0
        assert "waits" in capsys.readouterr().err
        assert run(["element", "list", "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)
        assert {one["storage_element_id"] for one in listed} > set(ELEMENTS)
    finally:
        asyncio.run(_forget(mesh_local, name))


async def _forget(mesh: MeshProcess, name: str) -> None:
    """Take an element out as long as no RPC does."""
    url = with_database(mesh.file.database_url, "artstore_admin")
    connection = await asyncpg.connect(url)
    try:
        for table in ("storage_elements", "service_accounts"):
            await connection.execute(f"DELETE FROM {table} WHERE storage_element_id = $1", name)
    finally:
        await connection.close()
