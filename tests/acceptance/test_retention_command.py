"""`artstore keep`, `restore --days`, `policy`, and what the others tell of files that expire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from artstore.v1 import types_pb2
from artstore_client import SyncClient
from artstore_client.cli import app, exit_codes
from tests.acceptance.element_operator import Operator, path_of
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside

DAY = timedelta(days=1)


@dataclass
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


Artstore = Callable[..., Ended]


@pytest.fixture
def outside(mesh_local: MeshProcess) -> Iterator[Outside]:
    with Outside(mesh_local.file) as caller:
        yield caller


@pytest.fixture
def artstore(
    mesh_local: MeshProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Artstore:
    """Runs the command as the first account."""
    monkeypatch.setenv("ARTSTORE_MESH", str(mesh_local.mesh_file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = app.run(["--no-retry", *arguments])
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


class Expiring:
    """Files whose retention ended yesterday, by a change of their sidecar."""

    def __init__(self, mesh: MeshProcess, outside: Outside) -> None:
        self.operator = Operator(mesh, "se-01")
        self.outside = outside

    def file(self, name: str) -> types_pb2.File:
        file = self.outside.upload(b"12345", name)
        self.end(file)
        return file

    def end(self, file: types_pb2.File) -> None:
        path = self.operator.folder / path_of(file)
        said = json.loads(path.read_text())
        at = datetime.now(UTC) - DAY
        said["expires_at"] = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        path.write_text(json.dumps(said))
        self.outside.incremental("se-01")
        self.operator.wait_until_followed()


@pytest.fixture
def expiring(mesh_local: MeshProcess, outside: Outside) -> Expiring:
    return Expiring(mesh_local, outside)


def days_left(file: dict[str, Any]) -> float:
    return (datetime.fromisoformat(file["expires_at"]) - datetime.now(UTC)) / DAY


def test_a_file_is_kept_for_days_from_now_and_never_shorter(
    artstore: Artstore, outside: Outside
) -> None:
    file = outside.upload(b"12345", "kept.txt")
    kept = artstore("keep", file.file_id, "--days", "60", "--json")
    assert kept.code == 0, kept.err
    assert 60 <= days_left(kept.document) < 61
    again = artstore("keep", file.file_id, "--days", "5")
    assert "already kept until" in again.out
    assert artstore("stat", file.file_id, "--json").document["revision"] == 2
    listed = artstore("ls", "--element", "se-01").out
    assert "expires" in listed.splitlines()[0]


def test_an_expired_file_is_told_so_and_kept_after_all(
    artstore: Artstore, expiring: Expiring
) -> None:
    file = expiring.file("gone-a-day.txt")
    for command in ("stat", "get", "rm"):
        ended = artstore(command, file.file_id)
        assert ended.code == exit_codes.NOT_FOUND
        assert "retention" in ended.err
        assert "`artstore keep`" in ended.err
    assert file.file_id not in artstore("search", "gone-a-day", "--json").out
    explained = artstore("explain", file.file_id)
    assert "has ended: nobody finds it, and `artstore keep` brings it back" in explained.out
    assert "does not find it" in explained.out
    kept = artstore("keep", file.file_id, "--days", "3", "--json")
    assert kept.code == 0, kept.err
    assert 3 <= days_left(kept.document) < 4
    assert artstore("stat", file.file_id).code == 0
    assert file.file_id in artstore("search", "gone-a-day", "--json").out


def test_what_cannot_be_kept_says_why(artstore: Artstore, outside: Outside) -> None:
    file = outside.upload(b"1", "for-ever.txt", retention_policy="RETENTION_POLICY_PERMANENT")
    permanent = artstore("keep", file.file_id, "--days", "3")
    assert permanent.code == exit_codes.FAILURE
    assert "is permanent" in permanent.err
    file = outside.upload(b"1", "too-long.txt")
    too_long = artstore("keep", file.file_id, "--days", "3650")
    assert too_long.code == exit_codes.FAILURE
    assert "can be kept until" in too_long.err
    assert artstore("keep", file.file_id).code == exit_codes.USAGE


def test_an_expired_file_in_the_trash_comes_back_with_days(
    artstore: Artstore, outside: Outside, expiring: Expiring
) -> None:
    file = outside.upload(b"12345", "trashed.txt")
    outside.delete("se-01", file.file_id)
    expiring.end(file)
    refused = artstore("restore", file.file_id)
    assert refused.code == exit_codes.FAILURE
    assert "retention_days" in refused.err
    assert artstore("restore", file.file_id, "--days", "4").code == 0
    assert 3.9 < days_left(artstore("stat", file.file_id, "--json").document) <= 4


def test_policies_are_set_piece_by_piece_shown_and_listed(
    artstore: Artstore, mesh_local: MeshProcess
) -> None:
    first = artstore("policy", "set", "drafts", "--default-retention-days", "7", "--json")
    assert first.code == 0, first.err
    more = artstore("policy", "set", "drafts", "--quota-bytes", "2GiB", "--trash-days", "1")
    assert "quota_bytes              2147483648" in more.out
    assert "default_retention_days   7" in more.out
    assert "max_retention_days       3650 (not set)" in more.out
    assert artstore("policy", "show", "drafts", "--json").document["trash_days"] == 1
    assert "drafts" in artstore("policy", "list").out
    wrong = artstore("policy", "set", "drafts", "--max-retention-days", "3")
    assert (wrong.code, "default_retention_days" in wrong.err) == (exit_codes.USAGE, True)
    reset = artstore("policy", "set", "drafts", "--reset", "--json")
    assert "default_retention_days" not in reset.document
    assert artstore("policy", "set", "drafts").code == exit_codes.USAGE
    with SyncClient.connect(mesh_file=mesh_local.mesh_file) as client:
        assert "drafts" in [policy.namespace for policy in client.policies.list()]
        assert client.policies.get("drafts").used_bytes == 0


def test_what_a_hold_refuses_says_how_it_is_lifted(outside: Outside, artstore: Artstore) -> None:
    file = outside.upload(b"12345", "held.txt")
    assert artstore("hold", file.file_id, "--reason", "case 4711").code == exit_codes.OK
    refused = artstore("rm", file.file_id)
    assert refused.code == exit_codes.FAILURE
    assert refused.err.rstrip().endswith(f"`artstore release {file.file_id}` [LEGAL_HOLD]")
    assert artstore("release", file.file_id).code == exit_codes.OK
    assert artstore("rm", file.file_id).code == exit_codes.OK
