"""What an account may read and write, and what makes one well-formed."""

from __future__ import annotations

import pytest

from admin_server.accounts.account import is_client_id, namespaces_for
from mesh.identity.caller import Role
from tests.unit.admin.made import account


@pytest.mark.parametrize(
    ("namespaces", "read_namespaces", "readable", "writable"),
    [
        ((), (), ("default",), ("default",)),
        (("a",), (), ("a",), ("a",)),
        (("a",), ("b", "a"), ("a", "b"), ("a",)),
        ((), ("b",), ("default", "b"), ("default",)),
        (("a",), ("*",), ("*",), ("a",)),
        (("*",), ("b",), ("*",), ("*",)),
    ],
)
def test_namespaces(
    namespaces: tuple[str, ...],
    read_namespaces: tuple[str, ...],
    readable: tuple[str, ...],
    writable: tuple[str, ...],
) -> None:
    made = account(namespaces=namespaces, read_namespaces=read_namespaces)
    assert made.readable == readable
    assert made.writable == writable


def test_only_servers_get_all_namespaces_by_default() -> None:
    assert namespaces_for(Role.SERVICE, []) == ("*",)
    assert namespaces_for(Role.SERVICE, ["a", "a"]) == ("a",)
    assert namespaces_for(Role.ADMIN, []) == ()


@pytest.mark.parametrize("name", ["abc", "a-b_c.9", "x" * 64])
def test_good_names(name: str) -> None:
    assert is_client_id(name)


@pytest.mark.parametrize("name", ["", "ab", "x" * 65, "Abc", "a c", "abc\n", "абв", "a/b"])
def test_bad_names(name: str) -> None:
    assert not is_client_id(name)
