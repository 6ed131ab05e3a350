"""Which account PostgreSQL gets when root starts the mesh."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from launch import os_user
from launch.os_user import NoOsUser, OsUser


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with these accounts, on which we are root."""

    def make(*names: str, useradd: str | None = None) -> None:
        known = {name: pwd.struct_passwd((name, "x", 90, 91, "", "/", "")) for name in names}

        def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(command, 1, "", "useradd: cannot lock /etc/passwd")

        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
        monkeypatch.setattr(os_user.shutil, "which", lambda _: useradd)
        monkeypatch.setattr(os_user.subprocess, "run", run)

    return make


def test_account_of_an_ordinary_user_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert OsUser.needed() is None


def test_account_made_for_it_goes_before_nobody(machine: Callable[..., None]) -> None:
    machine("nobody", "embedded_postgres")
    assert OsUser.needed() == OsUser("embedded_postgres", 90, 91)


def test_nobody_serves_where_no_account_can_be_made(machine: Callable[..., None]) -> None:
    machine("nobody", useradd=str(Path("/usr/sbin/useradd")))
    assert OsUser.needed() == OsUser("nobody", 90, 91)


@pytest.mark.parametrize(
    ("useradd", "reason"), [(None, "no useradd"), ("/usr/sbin/useradd", "cannot lock /etc/passwd")]
)
def test_without_any_account_it_says_why_and_what_to_do(
    useradd: str | None, reason: str, machine: Callable[..., None]
) -> None:
    machine(useradd=useradd)
    with pytest.raises(NoOsUser, match="adduser --system embedded_postgres") as refused:
        OsUser.needed()
    assert reason in str(refused.value)
    assert "ARTSTORE_DATABASE_URL" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("rights", "passes"),
    [("000001ffffffffff", True), ("00000000a80425fb", True), ("00000000a80424fb", False)],
    ids=["root", "root in a container", "root without CAP_SETPCAP"],
)
def test_postgresql_passes_through_folders_only_where_root_may_give_that_right(
    rights: str, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = f"Name:\tpython\nCapPrm:\t{rights}\nCapEff:\t{rights}\nCapBnd:\t0\n"
    monkeypatch.setattr(Path, "read_text", lambda _: status)
    assert OsUser.passes_through_folders() is passes
