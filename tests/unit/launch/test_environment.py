"""What of a user's shell reaches PostgreSQL, Valkey and the servers."""

from __future__ import annotations

import os
import urllib.request

import pytest

from launch import environment

SHELL = {
    "PATH": "/usr/bin",
    "HOME": "/root",
    "LANG": "ru_RU.KOI8-R",
    "LC_ALL": "xx_YY",
    "PGHOST": "db.work",
    "PGSSLMODE": "verify-full",
    "PGCLIENTENCODING": "nonsense",
    "PYTHONHOME": "/opt/other",
    "PYTHONPATH": "/opt/ours",
    "LD_LIBRARY_PATH": "/opt/lib",
    "AWS_ACCESS_KEY_ID": "key",
    "http_proxy": "http://proxy:3128",
}


def test_programs_get_no_locale_and_no_setting_of_their_own() -> None:
    assert environment.of_program(SHELL) == {
        "PATH": "/usr/bin",
        "LD_LIBRARY_PATH": "/opt/lib",
        "LC_ALL": "C",
    }


def test_servers_reach_the_embedded_database_whatever_libpq_was_told() -> None:
    given = environment.of_server(SHELL, own_database=False)
    assert {name: value for name, value in given.items() if name.startswith("PG")} == {
        "PGSSLMODE": "disable"
    }
    assert given["AWS_ACCESS_KEY_ID"] == "key"
    assert given["PYTHONPATH"] == "/opt/ours"
    assert "PYTHONHOME" not in given


def test_database_of_the_user_is_reached_as_libpq_was_told() -> None:
    given = environment.of_server(SHELL, own_database=True)
    assert given["PGSSLMODE"] == "verify-full"


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize("told", ["", "intranet,127.0.0.1", "*"])
def test_no_proxy_stands_before_this_machine_and_what_was_said_stays(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment.of_server({**SHELL, name: told}, own_database=False)
    for key in list(os.environ):
        monkeypatch.delenv(key)
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    assert urllib.request.proxy_bypass("127.0.0.1:9000")
    assert urllib.request.proxy_bypass("localhost")
    assert bool(urllib.request.proxy_bypass("intranet")) == bool(told)
    assert bool(urllib.request.proxy_bypass("s3.example.com")) == (told == "*")
    assert urllib.request.getproxies()["http"] == "http://proxy:3128"
