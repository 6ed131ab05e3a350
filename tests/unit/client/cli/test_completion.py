"""What Tab offers for an account's name."""

from __future__ import annotations

import pytest

from artstore_client import errors
from artstore_client.cli import completion


async def two() -> list[str]:
    return ["anna", "ben"]


async def refused() -> list[str]:
    raise errors.PermissionDenied("only for ADMIN")


def test_names_of_accounts_are_offered_by_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "_account_names", two)
    assert completion.complete_account("") == ["anna", "ben"]
    assert completion.complete_account("an") == ["anna"]


def test_nothing_is_offered_to_whoever_may_not_see_accounts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(completion, "_account_names", refused)
    assert completion.complete_account("an") == []
