"""`artstore trash` and `artstore collect`: what can be brought back, and what goes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from artstore.v1 import accounts_pb2
from artstore_client import SyncClient, errors
from artstore_client.cli import app, exit_codes
from storage_server.domain.file_id import new_file_id, time_of
from storage_server.domain.naming import folder_of, storage_filename
from tests.acceptance.element_operator import Operator
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside

Run = Callable[..., tuple[int, str, str]]
DATA = b"hello"
OLD = timedelta(days=8)


@pytest.fixture
def outside(mesh_local: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(mesh_local.file) as caller:
        yield caller


@pytest.fixture
def run(
    mesh_local: MeshProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs the command, as `who` or else as ADMIN: exit code, answer, what went to stderr."""
    monkeypatch.setenv("ARTSTORE_MESH", str(mesh_local.mesh_file))

    def run(*arguments: str, who: Outside | None = None) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            if who is not None:
                patch.setenv("ARTSTORE_CLIENT_ID", who.client_id)
                patch.setenv("ARTSTORE_CLIENT_SECRET", who.client_secret)
            code = app.run(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def orphan(mesh_local: MeshProcess) -> Iterator[Path]:
    """A blob of eight days ago that no sidecar stands for."""
    file_id = new_file_id(datetime.now(UTC) - OLD)
    at = time_of(file_id)
    root = Operator(mesh_local, "se-01").folder
    path = root / folder_of(at) / storage_filename("lost.txt", "alice", at, file_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(DATA)
    os.utime(path, (time.time() - OLD.total_seconds(),) * 2)
    yield path
    path.unlink(missing_ok=True)
    for blob in (root / ".quarantine").glob("*.blob"):
        blob.unlink()


def test_the_trash_shows_what_was_deleted_until_it_is_restored(run: Run, outside: Outside) -> None:
    file = outside.upload(DATA, "trashed.txt")
    kept = outside.upload(DATA, "kept.txt")
    outside.delete(file.storage_element_id, file.file_id)

    code, out, err = run("trash", "list", "--json")
    assert (code, err) == (exit_codes.OK, "")
    trash = {one["file_id"]: one for one in lines(out)}
    assert kept.file_id not in trash
    found = trash[file.file_id]
    deleted = datetime.fromisoformat(found["deleted_at"])
    assert datetime.fromisoformat(found["purge_at"]) == deleted + timedelta(days=7)
    assert found["expired"] is False
    code, out, _ = run("trash", "list", "--element", file.storage_element_id)
    assert code == exit_codes.OK and file.file_id in out and "trashed.txt" in out
    assert file.file_id not in run("trash", "list", "--element", "se-03")[1]
    nothing = run("trash", "list", "--namespace", "nobody's")
    assert nothing == (exit_codes.OK, "nothing is in the trash\n", "")

    code, out, err = run("trash", "restore", file.file_id)
    assert (code, err) == (exit_codes.OK, "")
    assert f"{file.file_id}  restored  trashed.txt" in out
    assert outside.download(file.storage_element_id, file.file_id)[1] == DATA
    assert file.file_id not in run("trash", "list")[1]
    assert (
        run("trash", "restore", "019ad000-0000-7000-8000-000000000001")[0] == exit_codes.NOT_FOUND
    )


def test_a_user_sees_and_restores_the_trash_of_his_namespaces_alone(
    run: Run, outside: Outside
) -> None:
    file = outside.upload(DATA, "theirs.txt")
    outside.delete(file.storage_element_id, file.file_id)
    with outside.account(accounts_pb2.ROLE_USER, "elsewhere") as stranger:
        code, out, _ = run("trash", "list", "--json", who=stranger)
        assert code == exit_codes.OK
        assert file.file_id not in {one["file_id"] for one in lines(out)}
        assert run("trash", "restore", file.file_id, who=stranger)[0] == exit_codes.NOT_FOUND
        assert run("collect", who=stranger)[0] == exit_codes.REFUSED
        assert run("collect", "--list", "1", who=stranger)[0] == exit_codes.REFUSED


def test_a_collection_takes_what_its_dry_run_shows_and_is_listed(run: Run, orphan: Path) -> None:
    code, out, err = run("collect", "--dry-run")
    assert (code, err) == (exit_codes.OK, "")
    assert "1  " in out and "blobs without a file, into quarantine" in out
    # Runs are kept: they tell ids, never names.
    assert orphan.stem.rpartition("_")[2] in out and orphan.name not in out
    assert "1 would be collected" in out
    assert orphan.exists()

    code, out, err = run("collect", "--json", "--operation-id", "by-hand")
    assert (code, err) == (exit_codes.OK, "")
    (found,) = lines(out)
    assert found["collection_id"] == "by-hand"
    assert not orphan.exists()
    assert "0 collected" in run("collect")[1]

    code, out, _ = run("collect", "--list", "3", "--json")
    assert code == exit_codes.OK
    assert [int(one.get("collected_count", 0)) for one in lines(out)] == [0, 1, 1]
    assert "by-hand" in run("collect", "--list", "3")[1]


def test_scripts_have_the_trash_and_collections(mesh_local: MeshProcess) -> None:
    with SyncClient.connect(mesh_file=mesh_local.mesh_file) as client:
        file_id = client.upload(DATA, name="scripted.txt").file_id
        client.delete(file_id)
        (found,) = [one for one in client.trash.list() if one.file.file_id == file_id]
        assert found.purge_at == found.deleted_at + timedelta(days=7)
        assert client.trash.restore(file_id).file_id == file_id
        run = client.collections.run(dry_run=True)
        assert next(client.collections.list(page_size=1)).collection_id == run.collection_id
        with pytest.raises(errors.InvalidArgument):
            client.collections.run(max_delete_ratio=2)
