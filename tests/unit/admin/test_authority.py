"""What an account may give: nothing that it has not itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from admin_server.accounts.account import Account, takes_away
from admin_server.accounts.authority import check_gives, check_governs
from admin_server.accounts.limits import GivenLimits
from mesh.errors import PermissionDenied
from mesh.identity.caller import Caller, Role
from mesh.identity.limits import Limits
from tests.unit.admin.made import account


def caller(
    role: Role = Role.ADMIN,
    namespaces: Sequence[str] = ("docs",),
    limits: Limits | None = None,
) -> Caller:
    reach = frozenset(namespaces)
    return Caller("boss", role, reach, reach, limits=limits or Limits())


def allowed(check: object, *arguments: object) -> bool:
    try:
        check(*arguments)  # type: ignore[operator]
    except PermissionDenied:
        return False
    return True


@pytest.mark.parametrize(
    ("role", "namespaces", "read_namespaces", "reached"),
    [
        (Role.USER, ("docs",), (), True),
        (Role.ADMIN, ("docs",), ("docs",), True),
        (Role.USER, ("docs", "mail"), (), False),
        (Role.USER, ("docs",), ("mail",), False),
        (Role.USER, (), (), False),
        (Role.READONLY, ("*",), (), False),
        (Role.READONLY, ("docs",), ("*",), False),
        (Role.SERVICE, ("docs",), (), False),
    ],
)
def test_an_admin_of_a_namespace_gives_no_other(
    role: Role, namespaces: tuple[str, ...], read_namespaces: tuple[str, ...], reached: bool
) -> None:
    made = account(role=role, namespaces=namespaces, read_namespaces=read_namespaces)
    assert allowed(check_governs, caller(), made) is reached
    assert allowed(check_governs, caller(namespaces=("*",)), made)


def test_who_only_reads_a_namespace_gives_nobody_to_write_there() -> None:
    reader = Caller("boss", Role.ADMIN, frozenset({"docs", "mail"}), frozenset({"docs"}))
    assert allowed(check_governs, reader, account(namespaces=("docs",), read_namespaces=("mail",)))
    assert not allowed(check_governs, reader, account(namespaces=("mail",)))


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
def test_only_an_admin_gives_whoever_speaks_for_him(role: Role) -> None:
    assert not allowed(check_governs, caller(role, ("*",)), account(role=Role.READONLY))


def test_more_than_the_default_is_given_by_whoever_has_it_or_all_namespaces() -> None:
    assert allowed(check_gives, caller(), Limits(calls=1))
    assert not allowed(check_gives, caller(), Limits(calls=801))
    assert allowed(check_gives, caller(limits=Limits(calls=900)), Limits(calls=900))
    assert allowed(check_gives, caller(namespaces=("*",)), Limits(reserved_percent=100))


@pytest.mark.parametrize(
    ("after", "less"),
    [
        (account(description="new"), False),
        (account(namespaces=("default", "docs")), False),
        (account(namespaces=("*",)), False),
        (account(read_namespaces=("docs",)), False),
        (account(limits=GivenLimits(calls=900)), False),
        (account(namespaces=("docs",)), True),
        (account(namespaces=("docs",), read_namespaces=("default",)), True),
        (account(role=Role.AUDITOR), True),
        (account(role=Role.ADMIN), True),
        (account(limits=GivenLimits(calls=799)), True),
    ],
)
def test_a_change_takes_something_away_or_not(after: Account, less: bool) -> None:
    assert takes_away(account(), after) is less
