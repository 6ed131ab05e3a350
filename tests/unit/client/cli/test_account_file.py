"""The file with an account's secret: whole or not there, and never lost once it is written."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from artstore_client import ConfigurationError
from artstore_client.cli.account_file import new_account_file
from tests.support.strangers import as_root, as_stranger, shared_folder


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARTSTORE_ADMIN_ENDPOINT", "admin.test:8000")
    return tmp_path / "anna.json"


def test_it_is_there_whole_for_its_owner_alone(path: Path) -> None:
    with new_account_file(path) as file:
        file.write("anna", "s3cret")
    content = json.loads(path.read_text())
    assert (content["client_id"], content["client_secret"]) == ("anna", "s3cret")
    assert content["endpoints"]["admin"] == "admin.test:8000"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_before_leaves_nothing_and_what_fails_after_leaves_it(path: Path) -> None:
    with pytest.raises(RuntimeError), new_account_file(path):
        raise RuntimeError("refused")
    assert list(path.parent.iterdir()) == []
    with pytest.raises(BrokenPipeError), new_account_file(path) as file:
        file.write("anna", "s3cret")
        raise BrokenPipeError
    assert json.loads(path.read_text())["client_secret"] == "s3cret"
    assert list(path.parent.iterdir()) == [path]


def test_only_a_file_of_the_same_account_is_replaced(path: Path) -> None:
    with new_account_file(path) as file:
        file.write("anna", "old")
    for client_id in ("", "ben"):
        with pytest.raises(ConfigurationError), new_account_file(path, client_id):
            pass
    with pytest.raises(RuntimeError), new_account_file(path, "anna"):
        raise RuntimeError("refused")
    assert json.loads(path.read_text())["client_secret"] == "old"
    with new_account_file(path, "anna") as file:
        file.write("anna", "new")
    assert json.loads(path.read_text())["client_secret"] == "new"


def test_a_link_is_never_followed(path: Path) -> None:
    target = path.parent / "target"
    target.write_text(json.dumps({"client_id": "anna"}))
    path.symlink_to(target)
    for client_id in ("", "anna"):
        with pytest.raises(ConfigurationError), new_account_file(path, client_id):
            pass
    assert target.read_text() == json.dumps({"client_id": "anna"})


@pytest.mark.parametrize("planted", ["FIFO", "hard link"])
def test_what_others_planted_is_not_taken_for_a_file_of_the_account(
    path: Path, planted: str
) -> None:
    precious = path.parent / "precious"
    precious.write_text(json.dumps({"client_id": "anna"}))
    path.hardlink_to(precious) if planted == "hard link" else os.mkfifo(path)
    with pytest.raises(ConfigurationError), new_account_file(path, "anna"):
        pass
    assert precious.read_text() == json.dumps({"client_id": "anna"})


@as_root
def test_it_is_not_written_to_where_a_link_of_another_account_leads(path: Path) -> None:
    with shared_folder() as shared:
        as_stranger(lambda: (shared / "out").symlink_to(path.parent))
        with pytest.raises(PermissionError), new_account_file(shared / "out" / "anna.json"):
            pass
    assert list(path.parent.iterdir()) == []


def test_it_follows_no_link_that_its_folder_is_exchanged_for(path: Path) -> None:
    (path.parent / "out").mkdir()
    (path.parent / "elsewhere").mkdir()
    with new_account_file(path.parent / "out" / "anna.json") as file:
        (path.parent / "out").rename(path.parent / "moved")
        (path.parent / "out").symlink_to("elsewhere")
        file.write("anna", "s3cret")
    assert list((path.parent / "elsewhere").iterdir()) == []
    assert [one.name for one in (path.parent / "moved").iterdir()] == ["anna.json"]


def test_it_says_with_what_the_servers_are_verified(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTSTORE_TLS_CA_FILE", "ca.pem")
    with new_account_file(path) as file:
        file.write("anna", "s3cret")
    assert json.loads(path.read_text())["tls"] == {"ca_file": str(path.parent / "ca.pem")}
