"""The bootstrap file: what it may hold, and who may read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from admin_server.accounts.bootstrap import read_bootstrap_file, read_bootstrap_text
from launch.accounts import load_or_make
from mesh.errors import InvalidArgument
from mesh.identity.caller import Role

GOOD = {"client_id": "admin", "client_secret": "long enough", "role": "ADMIN", "first": True}


def write(path: Path, *accounts: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"accounts": accounts}))
    path.chmod(0o600)
    return path


def test_it_reads_what_the_launcher_writes(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    made = load_or_make(path, ["ingest-server"])
    accounts = {account.client_id: account for account in read_bootstrap_file(path)}
    assert accounts.keys() == made.keys()
    assert accounts["admin"].first
    assert accounts["ingest-server"].role is Role.SERVICE
    assert accounts["admin"].client_secret.get_secret_value() == made["admin"].client_secret


def test_the_text_alone_is_read_as_the_file_is(tmp_path: Path) -> None:
    path = write(tmp_path / "b.json", GOOD)
    assert read_bootstrap_text(path.read_text(), "here") == read_bootstrap_file(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_secret": "short"},
        {"client_secret": "x" * 257},
        {"role": "ANONYMOUS"},
        {"role": "admin"},
        {"client_id": "No Name"},
        {"namespaces": ["a*"]},
    ],
)
def test_a_wrong_account_is_refused_without_showing_its_secret(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    account = {**GOOD, **changes}
    with pytest.raises(InvalidArgument) as refused:
        read_bootstrap_file(write(tmp_path / "b.json", account))
    assert account["client_secret"] not in refused.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"b\.json: No such file"):
        read_bootstrap_file(tmp_path / "b.json")


def test_a_file_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path / "b.json", GOOD)
    with structlog.testing.capture_logs() as lines:
        read_bootstrap_file(path)
        assert lines == []
        path.chmod(0o644)
        read_bootstrap_file(path)
    assert [line["log_level"] for line in lines] == ["warning"]
