"""`artstore selftest` on a mesh that others use, and where something is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from artstore.v1 import accounts_pb2, types_pb2
from artstore_client import Client
from artstore_client.cli import app
from artstore_client.cli import selftest as command
from artstore_client.selftest.selftest import Outcome, SelfTest
from tests.acceptance.element_operator import Operator, path_of
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside
from tests.support.services import clean_environment

CHECKS = [
    "upload through ingest",
    "download",
    "metadata",
    "list",
    "check",
    "incremental rebuild",
    "full rebuild",
    "cleanup",
    "competing locks",
    "second upload",
    "search",
    "lazy refresh",
]
ELEMENT = "se-02"
SECONDS = 60


@dataclass
class Ended:
    """How the command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def results(self) -> dict[str, str]:
        """Check -> its result, of one JSON document."""
        return {check["name"]: check["result"] for check in json.loads(self.out)["checks"]}


Selftest = Callable[..., Ended]


@pytest.fixture
def selftest(
    mesh_local: MeshProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Selftest:
    """Runs `artstore selftest` as the first account."""
    monkeypatch.setenv("ARTSTORE_MESH", str(mesh_local.mesh_file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = app.run(["selftest", *arguments])
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


@pytest.fixture
def outside(mesh_local: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(mesh_local.file) as caller:
        yield caller


@pytest.fixture
def operator(mesh_local: MeshProcess) -> Operator:
    """The operator of the element."""
    return Operator(mesh_local, ELEMENT)


def scratch_names(outside: Outside) -> list[str]:
    names = [
        file.original_filename for id_ in ("se-01", ELEMENT) for file in outside.list(id_).files
    ]
    return [name for name in names if name.startswith("selftest")]


def test_twelve_checks_pass_side_by_side_while_others_write(
    mesh_local: MeshProcess, outside: Outside, tmp_path: Path
) -> None:
    program = (sys.executable, "-c", "from artstore_client.cli import main; main()", "selftest")
    environment = clean_environment() | {
        "ARTSTORE_MESH": str(mesh_local.mesh_file),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    theirs = outside.upload(b"theirs", "theirs.txt")
    running = [
        subprocess.Popen([*program, *more], env=environment, stdout=subprocess.PIPE, text=True)
        for more in ((), ("--json",))
    ]
    ended = threading.Event()
    written: list[types_pb2.File] = []

    def write() -> None:
        with Outside(mesh_local.file) as other:
            while not ended.wait(0.02):
                written.append(other.upload(b"x", f"{len(written)}.txt"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        lines, document = (process.communicate(timeout=2 * SECONDS)[0] for process in running)
    finally:
        ended.set()
        writer.join()
    assert [process.returncode for process in running] == [0, 0], lines + document
    assert Ended(0, document, "").results == dict.fromkeys(CHECKS, "passed")
    *rows, last = lines.splitlines()
    assert last == "12 of 12 passed on se-01"
    for row, check in zip(rows, CHECKS, strict=True):
        assert row.startswith("passed  ")
        assert f" s  {check} " in row
    assert "LOCK_HELD: manual_rebuild of " in rows[CHECKS.index("competing locks")]
    assert written
    for file in (theirs, *written):
        found = outside.get("se-01", file.file_id)
        assert (found.revision, found.sha256) == (file.revision, file.sha256)
    assert scratch_names(outside) == []


def test_the_cache_of_one_element_is_tested_and_rows_of_others_stay(
    selftest: Selftest, outside: Outside, operator: Operator
) -> None:
    theirs = outside.upload_to(ELEMENT, b"theirs", "theirs.txt")
    operator.age(theirs.file_id)
    before = operator.rows()[theirs.file_id]
    ended = selftest("--element", ELEMENT, "--json")
    assert (ended.code, ended.err) == (0, "")
    document: dict[str, Any] = json.loads(ended.out)
    assert document["storage_element_id"] == ELEMENT
    assert document["passed"]
    assert document["left"] == []
    assert all(check["duration_seconds"] >= 0 and check["seen"] for check in document["checks"])
    assert operator.rows()[theirs.file_id] == before
    assert scratch_names(outside) == []


def test_what_would_remove_rows_of_others_is_not_done(
    selftest: Selftest, outside: Outside, operator: Operator
) -> None:
    theirs = outside.upload_to(ELEMENT, b"theirs", "theirs.txt")
    sidecar = operator.folder / path_of(theirs)
    hidden = sidecar.with_name("hidden")
    sidecar.rename(hidden)
    try:
        ended = selftest("--element", ELEMENT, "--json")
        assert theirs.file_id in operator.rows()
    finally:
        hidden.rename(sidecar)
    assert ended.code == 1
    skipped = {"full rebuild", "cleanup", "competing locks"}
    assert ended.results == {name: "skipped" if name in skipped else "passed" for name in CHECKS}
    seen = {check["name"]: check["seen"] for check in json.loads(ended.out)["checks"]}
    assert "would remove 1 rows without a sidecar" in seen["full rebuild"]
    assert seen["cleanup"] == "needs full rebuild"


def test_checks_go_on_after_one_that_failed_and_those_that_need_it_say_so(
    selftest: Selftest,
) -> None:
    ended = selftest("--namespace", "no*namespace", "--json")
    assert ended.code == 1
    results = ended.results
    assert {name for name in CHECKS if results[name] == "failed"} == {
        "upload through ingest",
        "second upload",
    }
    assert {name for name in CHECKS if results[name] == "skipped"} == {
        "download",
        "metadata",
        "list",
        "search",
        "lazy refresh",
    }
    seen = {check["name"]: check["seen"] for check in json.loads(ended.out)["checks"]}
    assert "namespace" in seen["upload through ingest"]
    assert seen["download"] == "needs upload through ingest"


@pytest.mark.parametrize("role", [accounts_pb2.ROLE_USER, accounts_pb2.ROLE_AUDITOR])
def test_an_account_that_is_no_admin_is_told_in_one_line(
    selftest: Selftest, outside: Outside, monkeypatch: pytest.MonkeyPatch, role: accounts_pb2.Role
) -> None:
    with outside.account(role, "*") as account:
        monkeypatch.setenv("ARTSTORE_CLIENT_ID", account.client_id)
        monkeypatch.setenv("ARTSTORE_CLIENT_SECRET", account.client_secret)
        ended = selftest()
    assert (ended.code, ended.out) == (4, "")
    (line,) = ended.err.splitlines()
    assert "needs an account of role ADMIN" in line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_scratch_files_are_removed_when_it_is_interrupted(
    selftest: Selftest,
    outside: Outside,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
) -> None:
    there: list[str] = []

    def interrupted(*_: object) -> None:
        there.extend(scratch_names(outside))
        os.kill(os.getpid(), number)

    monkeypatch.setattr(command, "_print_result", interrupted)
    ended = selftest()
    assert ended.code == code
    assert "is left" not in ended.err
    assert len(there) == 1
    assert scratch_names(outside) == []


def test_element_that_is_down_fails_the_list_and_nothing_else(
    selftest: Selftest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTSTORE_STORAGE_ENDPOINTS", "se-09=localhost:1")
    ended = selftest("--json")
    assert ended.code == 1
    (failed,) = [check for check in json.loads(ended.out)["checks"] if check["result"] != "passed"]
    assert failed["name"] == "list"
    assert "se-09" in failed["seen"]


def test_frozen_redis_fails_what_needs_locks_and_the_rest_is_tested(
    selftest: Selftest, mesh_local: MeshProcess
) -> None:
    mesh_local.freeze("valkey")
    try:
        ended = selftest("--json", "--limit", "5")
    finally:
        mesh_local.thaw("valkey")
    assert ended.code == 1
    checks = {check["name"]: check for check in json.loads(ended.out)["checks"]}
    assert checks["check"]["result"] == "failed"
    assert "Redis" in checks["check"]["seen"]
    for name in ("upload through ingest", "download", "metadata", "list"):
        assert checks[name]["result"] == "passed", checks[name]["seen"]


# As on a busy mesh: to remove takes longer than what other commands have to do at their end.
SLOW_AND_INTERRUPTED = """
import asyncio, os, signal, sys
from artstore_client.cli import main, selftest
from artstore_client.selftest.scratch import Scratch

signals, remove = int(sys.argv.pop(1)), Scratch.remove

async def slowly(scratch):
    if signals > 1:
        os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(2.0)
    await remove(scratch)

Scratch.remove = slowly
selftest._print_result = lambda *_: os.kill(os.getpid(), signal.SIGINT)
main()
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_interrupted_selftest_takes_its_time_to_clean_up_unless_it_is_told_again(
    mesh_local: MeshProcess, outside: Outside, tmp_path: Path, signals: int
) -> None:
    environment = {"ARTSTORE_MESH": str(mesh_local.mesh_file), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SLOW_AND_INTERRUPTED, str(signals), "selftest"],
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    told, *_, last = done.stderr.splitlines()
    assert "removing the scratch files" in told
    assert ("may be left in namespace selftest-" in last) == (signals > 1)
    left = [file for file in outside.list("se-01").files if "selftest" in file.original_filename]
    for file in left:
        outside.delete("se-01", file.file_id)
    assert len(left) == signals - 1


async def test_a_check_that_takes_too_long_fails_alone(
    mesh_local: MeshProcess, tmp_path: Path
) -> None:
    async with Client.connect(mesh_file=mesh_local.mesh_file, state_folder=tmp_path) as client:
        test = SelfTest(client, limit_seconds=20.0)

        async def endless() -> str:
            await asyncio.Event().wait()
            return ""

        test._checks = tuple(
            (name, needs, endless if name == "list" else check)
            for name, needs, check in test._checks
        )
        test._limit_seconds = 1.0
        results = {result.name: result for result in await test.run(lambda result: None)}
    assert results["list"].seen == "not done within 1 s"
    assert {name for name in CHECKS if results[name].outcome is not Outcome.PASSED} == {"list"}
