"""`artstore account`, `keys` and `element admit` as a user has them: processes, a real admin."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import accounts_pb2, elements_pb2
from tests.support.running_admin import SECRET, RunningAdmin, code_of, report
from tests.support.services import clean_environment

COMMAND = (sys.executable, "-c", "from artstore_client.cli import main; main()")


@dataclass
class Ended:
    code: int
    out: str
    err: str


class Shell:
    """Runs `artstore` in a folder, as the first ADMIN unless an account's file is named."""

    def __init__(self, admin: RunningAdmin, folder: Path) -> None:
        self.folder = folder
        self._environment = clean_environment() | {"XDG_CACHE_HOME": str(folder / "cache")}
        self._mesh = {
            "ARTSTORE_ADMIN_ENDPOINT": f"localhost:{admin.server.port}",
            "ARTSTORE_INGEST_ENDPOINT": "localhost:1",
            "ARTSTORE_CLIENT_ID": "admin",
            "ARTSTORE_CLIENT_SECRET": SECRET,
        }

    async def run(self, *arguments: str, of: str = "", stdin: int | None = None) -> Ended:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            cwd=self.folder,
            env=self._environment | ({"ARTSTORE_MESH": of} if of else self._mesh),
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Ended(process.returncode or 0, out.decode(), err.decode())

    async def json(self, *arguments: str) -> Any:
        ended = await self.run(*arguments, "--json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out)


@pytest.fixture
def shell(shared_admin: RunningAdmin, tmp_path: Path) -> Shell:
    return Shell(shared_admin, tmp_path)


async def test_in_a_pipe_a_new_secret_is_all_that_is_printed(
    shared_admin: RunningAdmin, shell: Shell
) -> None:
    made = await shell.run("account", "create", "piped", "--role", "user", "--namespace", "builds")
    assert (made.code, len(made.out.split())) == (0, 1)
    secret = made.out.strip()
    assert secret not in made.err
    assert await shared_admin.issue("piped", secret)

    rotated = await shell.run("account", "rotate", "piped", "--overlap", "1h")
    assert rotated.code == 0
    assert "good until" in rotated.err
    for good in (secret, rotated.out.strip()):
        assert await shared_admin.issue("piped", good)
    shown = await shell.run("account", "show", "piped")
    assert "builds" in shown.out
    assert "old_secret_ends_at" in shown.out
    assert secret not in shown.out


async def test_an_account_s_file_logs_its_holder_in_and_shows_no_secret(
    shared_admin: RunningAdmin, shell: Shell
) -> None:
    made = await shell.run(
        "account", "create", "filed", "--role", "auditor", "--read-namespace", "*",
        "--description", "reads the books", "--save", "filed.json",
    )  # fmt: skip
    assert made.code == 0, made.err
    path = shell.folder / "filed.json"
    content = json.loads(path.read_text())
    assert content["client_secret"] not in made.out + made.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listed = await shell.run("account", "list", of="filed.json")
    assert listed.code == 0, listed.err
    (line,) = [line for line in listed.out.splitlines() if line.startswith("filed ")]
    assert "reads the books" in line
    # What an AUDITOR may not do is refused as such, by its code.
    refused = await shell.run("account", "suspend", "filed", of="filed.json")
    assert (refused.code, "ROLE_DENIED" in refused.err) == (4, True)
    assert "SuspendServiceAccount: ADMIN may" in refused.err

    # A file that is there is not touched, and no account is made for it.
    before = path.read_bytes()
    again = await shell.run("account", "create", "second", "--role", "user", "--save", "filed.json")
    assert (again.code, path.read_bytes()) == (2, before)
    request = accounts_pb2.GetServiceAccountRequest(client_id="second")
    call = shared_admin.accounts.GetServiceAccount(request, **await shared_admin.as_("admin"))
    assert await code_of(call) is grpc.StatusCode.NOT_FOUND
    # A rotation renews the file of that account.
    rotated = await shell.run("account", "rotate", "filed", "--save", "filed.json")
    assert rotated.code == 0, rotated.err
    assert path.read_bytes() != before
    new_secret = json.loads(path.read_text())["client_secret"]
    assert await shared_admin.issue("filed", new_secret)
    assert [entry.name for entry in shell.folder.iterdir() if entry.is_file()] == ["filed.json"]


async def test_no_file_is_left_of_an_account_that_was_not_made(shell: Shell) -> None:
    refused = await shell.run("account", "create", "alice", "--role", "user", "--save", "a.json")
    assert (refused.code, "alice" in refused.err) == (1, True)
    assert not list(shell.folder.glob("*.json"))
    assert not list(shell.folder.glob(".a.json*"))


async def test_an_account_is_changed_shut_out_let_in_and_removed(
    shared_admin: RunningAdmin, shell: Shell
) -> None:
    made = await shell.json("account", "create", "--role", "readonly", "--calls", "5")
    name, secret = made["client_id"], made["client_secret"]
    assert made["limits"] == {"calls": 5}
    changed = await shell.json(
        "account", "update", name, "--role", "user", "--namespace", "a", "--namespace", "b",
        "--open-uploads", "7",
    )  # fmt: skip
    assert (changed["role"], changed["namespaces"]) == ("user", ["a", "b"])
    assert changed["limits"] == {"open_uploads": 7, "calls": 5}
    assert (await shell.json("account", "suspend", name))["suspended"]
    assert not (await shell.json("account", "resume", name))["suspended"]
    assert await shared_admin.issue(name, secret)

    unasked = await shell.run("account", "delete", name)
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    terminal, other_end = os.openpty()
    try:
        os.write(terminal, b"n\n")
        asked = await shell.run("account", "delete", name, stdin=other_end)
    finally:
        os.close(terminal)
        os.close(other_end)
    assert (asked.code, f"Remove account {name} for good?" in asked.err) == (1, True)
    assert await shared_admin.issue(name, secret)
    removed = await shell.run("account", "delete", name, "--yes")
    assert (removed.code, removed.out, removed.err) == (0, f"{name}  removed\n", "")
    assert (await shell.run("account", "delete", name, "--yes")).code == 3


async def test_keys_are_rotated_by_a_command(shared_admin: RunningAdmin, shell: Shell) -> None:
    rotated = await shell.json("keys", "rotate")
    published = {key["kid"] for key in (await shared_admin.jwks())["keys"]}
    assert rotated["key_id"] in published
    assert rotated["old_key_expires_at"].endswith("Z")


async def test_only_what_an_admin_names_is_admitted(admin: RunningAdmin, tmp_path: Path) -> None:
    for endpoint in ("127.0.0.1:8010", "10.0.0.9:8010"):
        request = elements_pb2.ReportStorageElementRequest(report=report(endpoint=endpoint))
        await admin.elements.ReportStorageElement(request, **await admin.as_("storage-se-01"))
    shell = Shell(admin, tmp_path)
    command = ("element", "admit", "se-01")
    unasked = await shell.run(*command)
    assert unasked.code != 0
    assert "--endpoint 10.0.0.9:8010" in " ".join(unasked.err.split())
    wrong = await shell.run(*command, "--endpoint", "10.0.0.8:8010")
    assert wrong.code != 0
    assert "10.0.0.9:8010" in wrong.err
    get = elements_pb2.GetStorageElementRequest(storage_element_id="se-01")
    known = await admin.elements.GetStorageElement(get, **await admin.as_("admin"))
    assert known.element.endpoint == "127.0.0.1:8010"
    done = await shell.run(*command, "--endpoint", "10.0.0.9:8010")
    assert (done.code, "10.0.0.9:8010" in done.out) == (0, True)
