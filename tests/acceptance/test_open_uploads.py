"""`artstore uploads`: which uploads are open, and how they are ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from artstore.v1 import accounts_pb2, uploads_pb2
from artstore_client import SyncClient
from artstore_client.cli import app, exit_codes
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside

Uploads = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def owner(mesh_local: MeshProcess) -> Iterator[Outside]:
    with (
        Outside(mesh_local.file) as admin,
        admin.account(accounts_pb2.ROLE_USER, "default") as caller,
    ):
        yield caller


@pytest.fixture
def uploads(
    mesh_local: MeshProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Uploads:
    """Runs the command, as `who` or else as ADMIN: its exit code and what it answers."""
    monkeypatch.setenv("ARTSTORE_MESH", str(mesh_local.mesh_file))

    def run(*arguments: str, who: Outside | None = None) -> tuple[int, list[dict[str, Any]]]:
        with monkeypatch.context() as patch:
            if who is not None:
                patch.setenv("ARTSTORE_CLIENT_ID", who.client_id)
                patch.setenv("ARTSTORE_CLIENT_SECRET", who.client_secret)
            code = app.run(["uploads", *arguments, "--json"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def begin(owner: Outside) -> str:
    header = uploads_pb2.UploadHeader(original_filename="open.bin", size_bytes=5)
    opened = owner.ingest.StartUpload(uploads_pb2.StartUploadRequest(header=header), **owner.auth)
    return str(opened.upload_id)


def test_open_uploads_are_listed_and_ended_by_their_owner_and_by_an_admin(
    uploads: Uploads, owner: Outside, mesh_local: MeshProcess
) -> None:
    first, second, third = begin(owner), begin(owner), begin(owner)
    code, listed = uploads(who=owner)
    assert code == exit_codes.OK
    assert {one["upload_id"] for one in listed} == {first, second, third}
    assert {one["created_by"] for one in listed} == {owner.client_id}
    assert {one["header"]["original_filename"] for one in listed} == {"open.bin"}

    ended = {"upload_id": first, "aborted": True}
    assert uploads("--abort", first, who=owner) == (exit_codes.OK, [ended])
    assert uploads("--abort", second)[0] == exit_codes.OK
    with SyncClient.connect(mesh_file=mesh_local.mesh_file) as client:
        left = client.open_uploads.list(created_by=owner.client_id)
        assert [one.upload_id for one in left] == [third]
        client.open_uploads.abort(third)
    assert uploads("--account", owner.client_id) == (exit_codes.OK, [])


def test_an_upload_is_not_ended_by_another_account(
    uploads: Uploads, owner: Outside, mesh_local: MeshProcess
) -> None:
    upload_id = begin(owner)
    with (
        Outside(mesh_local.file) as admin,
        admin.account(accounts_pb2.ROLE_USER, "default") as other,
    ):
        assert uploads(who=other) == (exit_codes.OK, [])
        assert uploads("--abort", upload_id, who=other)[0] != exit_codes.OK
    assert [one["upload_id"] for one in uploads(who=owner)[1]] == [upload_id]
    assert uploads("--abort", upload_id, who=owner)[0] == exit_codes.OK
