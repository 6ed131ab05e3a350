"""compose.several.yaml adds a second one of each server that keeps nothing, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SECOND = {"admin-2": "admin", "ingest-2": "ingest", "query-2": "query"}
NAMES = {"admin": "admins", "ingest": "ingests", "query": "queries"}


class _Loader(yaml.SafeLoader):
    """Takes the tags by which a file on top replaces what is below."""


def _plain(loader: _Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return None


for _tag in ("!override", "!reset"):
    _Loader.add_constructor(_tag, _plain)


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def several() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((ROOT / "compose.several.yaml").read_text(), _Loader)
    return loaded


def test_each_second_one_is_as_the_first_with_an_address_a_port_and_a_secret_of_its_own(
    base: dict[str, Any], several: dict[str, Any]
) -> None:
    services = several["services"]
    assert services.keys() - base["services"].keys() == SECOND.keys()
    for name, first in SECOND.items():
        service, below = services[name], base["services"][first]
        assert service["extends"] == {"file": "compose.yaml", "service": first}
        for place in ("networks", "ports", "volumes"):
            assert service[place] != below[place]
        secret = service["environment"]["ARTSTORE_CLIENT_SECRET"]
        assert secret not in (ROOT / "compose.yaml").read_text()
        alias = NAMES[first]
        for one in (first, name):
            assert services[one]["networks"]["mesh"]["aliases"] == [alias]


def test_every_server_is_told_of_both_admins(base: dict[str, Any], several: dict[str, Any]) -> None:
    for name, service in base["services"].items():
        if "ARTSTORE_ADMIN_ENDPOINT" in service.get("environment", {}):
            told = several["services"][name]["environment"]["ARTSTORE_ADMIN_ENDPOINT"]
            assert told == "dns:///admins:8000", name


def test_admin_2_brings_the_accounts_of_the_second_ones(several: dict[str, Any]) -> None:
    given = several["services"]["admin-2"]["environment"]["ARTSTORE_BOOTSTRAP_ACCOUNTS"]
    accounts = json.loads(re.sub(r"\$\{\w+:\?[^}]*\}", "secret", given))["accounts"]
    assert {account["client_id"] for account in accounts} == {
        several["services"][name]["environment"]["ARTSTORE_CLIENT_ID"] for name in SECOND
    }


def test_every_secret_is_made_by_make_env(several: dict[str, Any]) -> None:
    named = set(re.findall(r"\$\{(\w+):\?", json.dumps(several)))
    example = (ROOT / "compose.env.example").read_text()
    assert named <= set(re.findall(r"^(\w+)=$", example, re.MULTILINE))


def _manual(section: str) -> str:
    """The commands of a section of the manual."""
    text = (ROOT / "docs" / "operations.md").read_text().partition(f"## {section}\n")[2]
    found = re.search(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _pasted(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As a shell runs it that does not end where a command fails."""
    return subprocess.run(
        ["bash", "-c", commands],
        cwd=folder,
        env={"PATH": f"{folder}:{os.defpath}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_rolling_restart_stops_where_a_server_does_not_become_healthy(
    base: dict[str, Any], several: dict[str, Any], tmp_path: Path
) -> None:
    """Else its twin would be next."""
    commands = _manual("Restarting all servers")
    _program(tmp_path / "docker", 'for last in "$@"; do :; done; echo "$last"')
    done = _pasted(commands, tmp_path)
    services = base["services"] | several["services"]
    assert done.returncode == 0
    assert sorted(done.stdout.split()) == sorted(
        name for name in services if name not in {"postgres", "valkey", "s3", "artstore"}
    )
    _program(
        tmp_path / "docker", 'for last in "$@"; do :; done; echo "$last"; [ "$last" != query ]'
    )
    done = _pasted(commands, tmp_path)
    assert done.stdout.split()[-1] == "query"
    assert done.returncode == 1


def test_what_clients_are_told_stays_out_of_the_shell_that_compose_is_run_in(
    tmp_path: Path,
) -> None:
    _program(tmp_path / ".venv" / "bin" / "artstore", 'echo "$ARTSTORE_ADMIN_ENDPOINT"')
    (tmp_path / ".env").write_text("ARTSTORE_PUBLISH_ADDRESS=127.0.0.2\n")
    commands = _manual("What servers and clients are told")
    done = _pasted(f"{commands}\ncompgen -A variable ARTSTORE_", tmp_path)
    assert done.stdout.splitlines() == ["127.0.0.2:8000,127.0.0.2:8001"]
