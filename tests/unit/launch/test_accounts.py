"""Accounts are made once, kept, and added to."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch import accounts
from launch.accounts import CredentialsError


def test_accounts_are_kept_and_new_ones_added(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    first = accounts.load_or_make(path, ["a"])
    second = accounts.load_or_make(path, ["a", "b"])
    assert first["a"] == second["a"]
    assert first["admin"] == second["admin"]
    assert set(second) == {"admin", "a", "b"}
    assert len({account.client_secret for account in second.values()}) == 3
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["credentials.json"]


def test_the_first_account_is_admin_and_the_others_serve(tmp_path: Path) -> None:
    made = accounts.load_or_make(tmp_path / "credentials.json", ["a"])
    assert (made["admin"].role, made["admin"].first) == ("ADMIN", True)
    assert (made["a"].role, made["a"].first) == ("SERVICE", False)


@pytest.mark.parametrize("text", ["", "[]", '{"accounts": [{"client_id": "a"}]}'])
def test_a_file_that_is_not_ours_is_named_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(text)
    with pytest.raises(CredentialsError, match=r"credentials\.json"):
        accounts.load_or_make(path, ["a"])
    assert path.read_text() == text
