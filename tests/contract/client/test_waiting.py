"""A command that waits says what for and why; what waiting can't cure ends at once."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from artstore_client import Client
from artstore_client import errors as client_errors
from mesh import errors
from tests.contract.client.fake_mesh import FakeMesh, Fault
from tests.contract.client.shell import Shell

DEAD = "localhost:1"
# Documentation's own network (RFC 5737): nobody is there, and nothing is sent, since the proxy is
# asked first.
FAR = "192.0.2.1:8020"


@pytest.fixture
def command(fake: FakeMesh, tmp_path: Path) -> Shell:
    """The command in a folder with a file `a`."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a").write_text("x")
    return Shell(fake, folder)


async def test_put_that_waits_for_a_server_says_so_on_standard_error_and_goes_on(
    fake: FakeMesh, command: Shell
) -> None:
    down = errors.Unavailable("no element answers")
    fake.ingest.faults = [Fault(0, down, before_accepting=True)] * 5
    put = await command.run("put", "a", "--json")
    assert put.code == 0, put.err
    (document,) = [json.loads(line) for line in put.out.splitlines()]
    assert document["size_bytes"] in {1, "1"}
    (line,) = put.err.splitlines()
    assert "waiting for 2 s" in line
    assert "no element answers" in line
    assert "--timeout" in line


async def test_silent_server_is_named_and_the_given_time_ends_the_command(
    fake: FakeMesh, command: Shell
) -> None:
    fake.ingest.faults = [Fault(0, None, before_accepting=True)]
    began = time.monotonic()
    put = await command.run("--timeout", "3", "put", "a")
    assert time.monotonic() - began < 8
    assert (put.code, put.out) == (5, "")
    waiting, ended = put.err.splitlines()
    assert "waiting for 2 s for the answer to Upload on ingest" in waiting
    assert "not done after --timeout 3 s" in ended
    assert "Upload on ingest" in ended


@pytest.mark.parametrize("arguments", [("--no-retry", "put", "a"), ("put", "a", "--no-retry")])
async def test_no_retry_takes_the_first_failure(
    arguments: tuple[str, ...], fake: FakeMesh, command: Shell
) -> None:
    fake.ingest.faults = [Fault(0, errors.Unavailable("down"), before_accepting=True)] * 9
    put = await command.run(*arguments)
    assert put.code == 5
    assert len(fake.ingest.headers) == 1
    assert len(put.err.splitlines()) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        errors.FailedPrecondition("no element takes files", reason="NO_ELEMENT"),
        errors.ResourceExhausted("all elements are full", reason="FULL"),
        errors.PermissionDenied("role READONLY"),
        errors.NotFound("no such namespace"),
        errors.InvalidArgument("a bad name"),
        errors.Unimplemented("no uploads here"),
    ],
    ids=lambda refusal: type(refusal).__name__,
)
@pytest.mark.parametrize("size", [1, 300 * 1024])
async def test_refusal_that_waiting_can_not_cure_ends_at_once(
    refusal: errors.ArtStoreError, size: int, fake: FakeMesh
) -> None:
    fake.ingest.faults = [Fault(0, refusal, before_accepting=True)] * 9
    fake.element.unary_faults["StartUpload"] = [refusal] * 9
    began = time.monotonic()
    async with fake.client(retry_for_seconds=60.0) as client:
        with pytest.raises(client_errors.ArtStoreError, match=refusal.message):
            await client.upload(b"x" * size, name="a")
    assert time.monotonic() - began < 1
    assert len(fake.ingest.headers) + fake.element.calls.count("StartUpload") == 1


# 120 s and 8 s are too long for a test.
IMPATIENT = """
from artstore_client.cli import main, put, running
running.retry_for_seconds = lambda told: 2.0
put.SILENT_SECONDS = 1.5
main()
"""


async def test_of_many_files_only_the_first_waits_for_a_mesh_that_does_not_answer(
    command: Shell,
) -> None:
    command.environment["ARTSTORE_INGEST_ENDPOINT"] = DEAD
    (command.folder / "folder").mkdir()
    for name in ("b", "c"):
        (command.folder / "folder" / name).write_text("x")
    given = ("-r", "a", "folder")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", IMPATIENT, "put", *given,
        cwd=command.folder, env=command.environment, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    began = time.monotonic()
    err = (await process.communicate())[1].decode().splitlines()
    assert process.returncode == 5
    assert time.monotonic() - began < 2 * 2.0 + 2
    failed, ended = (line for line in err if "waiting for" not in line)
    assert failed.startswith("artstore: ")
    assert "no answer for" in ended
    assert "from folder/b on" in ended


async def test_wrong_secret_ends_at_once(fake: FakeMesh, command: Shell) -> None:
    fake.tokens.refusal = errors.Unauthenticated("wrong client_secret")
    began = time.monotonic()
    put = await command.run("put", "a")
    assert put.code == 4
    assert "wrong client_secret" in put.err
    assert "waiting" not in put.err
    assert time.monotonic() - began < 4


async def test_client_on_this_machine_takes_no_proxy(fake: FakeMesh, command: Shell) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        command.environment |= {name: "http://127.0.0.1:9", name.upper(): "http://127.0.0.1:9"}
    put = await command.run("put", "a", "--no-retry")
    assert put.code == 0, put.err


async def test_unreachable_server_is_told_with_the_proxy_in_between_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://me:hidden@127.0.0.1:9")
    async with Client.connect(ingest=FAR, token="t", retry_for_seconds=0) as client:
        with pytest.raises(client_errors.Unavailable) as told:
            await client.upload(b"x", name="a")
    assert "through the proxy http://127.0.0.1:9 (http_proxy)" in told.value.message
    assert "hidden" not in told.value.message
