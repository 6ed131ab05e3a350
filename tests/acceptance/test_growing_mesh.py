"""An element that is added to a running mesh, moves to another port, stops, and is taken out.

The tests of this module are the life of one element, se-04, in the order of the file.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import jwt
import pytest

from artstore.v1 import (
    downloads_pb2,
    elements_pb2,
    elements_pb2_grpc,
    query_pb2,
    registry_pb2,
)
from artstore_client import ArtStoreError, Client, NotFound, SyncClient, Unavailable, UploadedFile
from artstore_client.cli.app import run
from mesh.postgres.urls import with_database
from tests.acceptance.readme import README, at_this_mesh
from tests.support.call_recorder import CallRecorder, recording_calls
from tests.support.mesh import REPOSITORY, MeshProcess, running_mesh
from tests.support.outside import Outside, error_info
from tests.support.running_admin import report
from tests.support.services import clean_environment
from tests.support.waiting import wait_until

PORT = 8013
FOUND_SECONDS = 15.0
START_SECONDS = 30.0
UNKNOWN = "0199aaaa-0000-7000-8000-000000000000"
WORD = "fourthelement"


def readme_block() -> str:
    """The README's lines that add an element."""
    section = README.read_text().partition("## A mesh that grows")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(block)


class Added:
    """se-04, started as the README says, in a folder like that of `make run`."""

    def __init__(self, mesh: MeshProcess, folder: Path) -> None:
        self.mesh = mesh
        self.folder = folder
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / ".artstore").symlink_to(mesh.data_dir)
        self.log = folder / "se-04.log"
        self.pid = 0

    def add(self) -> None:
        """Paste the README's lines."""
        script = at_this_mesh(readme_block(), self.mesh)
        assert f"ARTSTORE_PORT={PORT} " in script
        script = script.replace(f"PORT={PORT} ", f"PORT={PORT + self.mesh.port_offset} ")
        self._paste(script)

    def start(self, port: int) -> None:
        """Only the last of these commands, as after a stop, at another port."""
        mesh, _, rest = readme_block().partition("umask")
        again = at_this_mesh(mesh + rest[rest.index("(set -a") :], self.mesh)
        self._paste(again.replace(f"PORT={PORT} ", f"PORT={port + self.mesh.port_offset} "))

    def _paste(self, script: str) -> None:
        with self.log.open("ab") as log:
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", f"{script}\necho $! > pid"],
                cwd=self.folder,
                env=clean_environment()
                | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "gen")])},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=60,
                check=True,
            )
        self.pid = int((self.folder / "pid").read_text())

    def wait_listening(self) -> None:
        wait_until(lambda: '"listening"' in self.log.read_text(), START_SECONDS, "se-04 listens")

    def stop(self) -> None:
        # 0 would be everybody here.
        assert self.pid, "se-04 was not started"
        os.kill(self.pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{self.pid}").exists(), 30.0, "se-04 has ended")
        self.pid = 0

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)


@dataclass
class Grown:
    """A mesh, its fourth element, and programs that were connected before that came.

    Attributes:
        old: a synchronous client.
        runner, old_async: an asyncio program.
        on_first, on_fourth: a file on se-01 and one on se-04.
    """

    mesh: MeshProcess
    added: Added
    outside: Outside
    old: SyncClient
    runner: asyncio.Runner
    old_async: Client
    on_first: UploadedFile
    on_fourth: UploadedFile | None = None

    @property
    def file_id(self) -> str:
        """Of the file on se-04."""
        assert self.on_fourth is not None
        return self.on_fourth.file_id


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    """Starts the mesh without se-04; the first test adds that."""
    folder = tmp_path_factory.mktemp("grown")
    with (
        running_mesh({}, quiet=False) as mesh,
        Outside(mesh.file) as outside,
        SyncClient.connect(mesh_file=mesh.mesh_file, state_folder=folder / "s") as old,
        asyncio.Runner() as runner,
    ):
        old_async = Client.connect(mesh_file=mesh.mesh_file, state_folder=folder / "a")
        on_first = old.upload(b"first", name="first.txt")
        assert on_first.file.storage_element_id == "se-01"
        assert len(list(old.list_files())) == 1
        runner.run(old_async.stat(on_first.file_id))
        outside.query.GetFile(
            query_pb2.QueryServiceGetFileRequest(file_id=on_first.file_id), **outside.auth
        )
        added = Added(mesh, folder)
        try:
            yield Grown(mesh, added, outside, old, runner, old_async, on_first)
        finally:
            added.kill()
            runner.run(old_async.close())


@pytest.fixture
def artstore(
    grown: Grown,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Any:
    """Runs the command as a fresh one; answers its code, output and error output."""
    for name in list(os.environ):
        if name.startswith("ARTSTORE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ARTSTORE_MESH", str(grown.mesh.mesh_file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(arguments)
        told = capsys.readouterr()
        return code, told.out, told.err

    return command


def downloaded(grown: Grown, file_id: str) -> bytes:
    """The bytes of a file as query gives them."""
    request = downloads_pb2.DownloadRequest(file_id=file_id)
    return b"".join(
        part.chunk.data for part in grown.outside.query.DownloadFile(request, **grown.outside.auth)
    )


def from_query(grown: Grown, file_id: str) -> Any:
    return from_query_as(grown.outside, file_id)


def from_query_as(caller: Outside, file_id: str) -> Any:
    request = query_pb2.QueryServiceGetFileRequest(file_id=file_id)
    return caller.query.GetFile(request, **caller.auth).file


def from_registry(grown: Grown, file_id: str) -> Any:
    request = registry_pb2.FileRegistryServiceGetFileRequest(file_id=file_id)
    return grown.outside.registry.GetFile(request, **grown.outside.auth)


def test_an_element_added_as_the_readme_says_takes_uploads_within_15_s(grown: Grown) -> None:
    grown.added.add()
    grown.added.wait_listening()
    began = time.monotonic()
    while True:
        uploaded = grown.old.upload(b"x" * 100_000, name=f"{WORD}.txt", description="of se-04")
        if uploaded.file.storage_element_id == "se-04":
            break
        grown.old.delete(uploaded.file_id)
        assert time.monotonic() - began < FOUND_SECONDS, grown.added.log.read_text()[-2000:]
    grown.on_fourth = uploaded


def test_programs_that_were_connected_before_work_on_its_files(grown: Grown) -> None:
    assert grown.old.stat(grown.file_id).storage_element_id == "se-04"
    assert grown.runner.run(grown.old_async.stat(grown.file_id)).storage_element_id == "se-04"
    assert set(grown.old.get_many([grown.file_id, grown.on_first.file_id])) == {
        grown.file_id,
        grown.on_first.file_id,
    }
    assert b"".join(grown.old.read(grown.file_id)) == b"x" * 100_000
    assert grown.file_id in [file.file_id for file in grown.old.list_files()]
    assert grown.old.update(grown.file_id, version="2").version == "2"
    grown.old.delete(grown.file_id)
    with pytest.raises(NotFound):
        grown.old.stat(grown.file_id)
    assert grown.old.undelete(grown.file_id).version == "2"
    assert "se-04" in [report.storage_element_id for report in grown.old.elements()]
    assert grown.old.cache("se-04").check().is_consistent


def test_a_large_upload_goes_to_it_and_survives(grown: Grown) -> None:
    data = os.urandom(9 * 2**20)
    uploaded = grown.old.upload(data, name="large.bin")
    assert uploaded.file.storage_element_id == "se-04"
    assert b"".join(grown.old.read(uploaded.file_id)) == data


def test_a_fresh_command_works_on_its_files(grown: Grown, artstore: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "put.txt", tmp_path / "got.txt"
    source.write_text("put by the command")
    code, out, _ = artstore("put", "--json", str(source))
    assert code == 0
    file_id = json.loads(out)["file_id"]
    code, out, _ = artstore("stat", "--json", file_id)
    assert (code, json.loads(out)["storage_element_id"]) == (0, "se-04")
    assert artstore("get", file_id, "-o", str(target))[0] == 0
    assert target.read_text() == source.read_text()
    for listing in (("ls",), ("ls", "--element", "se-04")):
        code, out, err = artstore(*listing)
        assert (code, file_id in out, err) == (0, True, "")
    code, out, _ = artstore("search", "put", "--element", "se-04")
    assert (code, file_id in out) == (0, True)
    assert artstore("rm", file_id)[0] == 0
    assert artstore("stat", file_id)[0] == 3
    assert artstore("restore", file_id)[0] == 0
    assert "se-04" in artstore("elements")[1]
    assert artstore("cache", "check", "se-04")[0] == 0
    assert "se-04" in artstore("cache", "check")[1]


def test_the_shell_completes_it(grown: Grown) -> None:
    for words in ("artstore cache check se-0", "artstore ls --element se-0"):
        done = subprocess.run(
            [sys.executable, "-c", "from artstore_client.cli import main; main()"],
            env=clean_environment()
            | {
                "ARTSTORE_MESH": str(grown.mesh.mesh_file),
                "_ARTSTORE_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.stdout.split() == ["se-01", "se-02", "se-03", "se-04"], done


def test_query_and_registry_have_its_files(grown: Grown) -> None:
    assert from_query(grown, grown.file_id).storage_element_id == "se-04"
    assert downloaded(grown, grown.file_id) == b"x" * 100_000
    wait_until(lambda: _registered(grown, grown.file_id), 10.0, "it is registered")
    page = grown.old.search(WORD)
    assert grown.file_id in [result.file.file_id for result in page.results]


def _registered(grown: Grown, file_id: str) -> bool:
    with suppress(grpc.RpcError):
        replicas = from_registry(grown, file_id).replicas
        return [replica.storage_element_id for replica in replicas] == ["se-04"]
    return False


def test_a_file_that_is_nowhere_is_not_found_wherever_it_is_asked_for(
    grown: Grown, artstore: Any
) -> None:
    code, _, err = artstore("stat", UNKNOWN)
    assert code == 3
    assert "se-04" in err
    for ask in (from_query, downloaded, from_registry):
        with pytest.raises(grpc.RpcError) as missing:
            ask(grown, UNKNOWN)
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]


def test_while_it_is_stopped_everything_about_other_files_works(
    grown: Grown, artstore: Any, tmp_path: Path
) -> None:
    grown.added.stop()
    first = grown.on_first.file_id
    code, out, err = artstore("ls")
    assert code == 5
    assert first in out
    assert "se-04" in err
    assert artstore("get", first, "-o", str(tmp_path / "got"))[0] == 0
    assert artstore("rm", first)[0] == 0
    assert artstore("stat", first)[0] == 3
    assert artstore("restore", first)[0] == 0
    source = tmp_path / "elsewhere.txt"
    source.write_text("elsewhere")
    code, out, _ = artstore("put", "--json", str(source))
    assert (code, json.loads(out)["storage_element_id"]) == (0, "se-01")
    assert grown.old.upload(b"y", name="y").file.storage_element_id == "se-01"
    assert grown.old.get_many([first])[first].file_id == first


def test_while_it_is_stopped_it_is_named(grown: Grown, artstore: Any, tmp_path: Path) -> None:
    code, out, _ = artstore("elements")
    assert code == 5
    (line,) = [line for line in out.splitlines() if "se-04" in line]
    assert re.search(r"down since \d{4}-\d\d-\d\d \d\d:\d\d", line)
    code, out, _ = artstore("search", WORD)
    assert (code, grown.file_id in out) == (0, True)
    for command in (
        ("get", grown.file_id, "-o", str(tmp_path / "got")),
        ("stat", grown.file_id),
        ("rm", grown.file_id),
        ("stat", UNKNOWN),
        ("restore", UNKNOWN),
    ):
        code, _, err = artstore(*command)
        assert (code, "se-04" in err) == (5, True), (command, err)
    with pytest.raises(Unavailable) as silent:
        grown.old.stat(UNKNOWN)
    assert silent.value.metadata == {"storage_element_ids": "se-04"}


def test_while_it_is_stopped_the_servers_name_it(grown: Grown) -> None:
    for ask, file_id in (
        (from_query, UNKNOWN),
        (downloaded, UNKNOWN),
        (downloaded, grown.file_id),
    ):
        with pytest.raises(grpc.RpcError) as silent:
            ask(grown, file_id)
        assert silent.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
        assert error_info(silent.value).metadata["storage_element_ids"] == "se-04"

    def registry_names_it() -> bool:
        with pytest.raises(grpc.RpcError) as silent:
            from_registry(grown, UNKNOWN)
        return error_info(silent.value).metadata["storage_element_ids"] == "se-04"

    wait_until(registry_names_it, 25.0, "the registry misses se-04")


def test_at_another_port_it_is_found_again(grown: Grown, artstore: Any, tmp_path: Path) -> None:
    grown.added.start(PORT + 1)
    # A synchronous client that had it at the old one.
    wait_until(lambda: _reads(grown), START_SECONDS, "the old client reads from se-04 again")
    assert grown.runner.run(grown.old_async.stat(grown.file_id)).version == "2"
    assert artstore("get", grown.file_id, "-o", str(tmp_path / "got"))[0] == 0
    assert artstore("cache", "check", "se-04")[0] == 0
    assert grown.old.cache("se-04").check().is_consistent
    wait_until(lambda: _query_reads(grown), FOUND_SECONDS, "query reads from se-04 again")
    wait_until(
        lambda: grown.old.upload(b"z", name="z").file.storage_element_id == "se-04",
        FOUND_SECONDS,
        "ingest takes se-04 again",
    )


def _reads(grown: Grown) -> bool:
    try:
        return b"".join(grown.old.read(grown.file_id)) == b"x" * 100_000
    except Unavailable:
        return False


def _query_reads(grown: Grown) -> bool:
    try:
        return downloaded(grown, grown.file_id) == b"x" * 100_000
    except grpc.RpcError:
        return False


def test_stopped_and_its_row_deleted_it_is_no_part_of_the_mesh(grown: Grown, artstore: Any) -> None:
    grown.added.stop()
    (statement,) = re.findall(r'-c "(DELETE FROM storage_elements .*?)"', README.read_text())
    asyncio.run(_execute(with_database(grown.mesh.file.database_url, "artstore_admin"), statement))
    wait_until(lambda: artstore("ls")[0] == 0, FOUND_SECONDS, "ls does without se-04")
    assert "se-04" not in artstore("elements")[1]
    assert artstore("stat", UNKNOWN)[0] == 3
    with pytest.raises(NotFound):
        grown.old.stat(grown.file_id)

    def query_does_without() -> bool:
        with pytest.raises(grpc.RpcError) as missing:
            from_query(grown, UNKNOWN)
        return missing.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]

    wait_until(query_does_without, 20.0, "query does without se-04")


def test_what_servers_send_to_an_element_is_of_no_use_elsewhere(grown: Grown) -> None:
    """An element that was admitted, and that somebody else has got hold of since."""
    made = grown.old.admission.add("se-05", priority=0)
    with (
        recording_calls() as recorder,
        Outside(grown.mesh.file, made.client_id, made.client_secret) as own,
    ):
        stub = elements_pb2_grpc.StorageElementServiceStub(own.channel("admin"))
        told = report("se-05", endpoint=recorder.endpoint)
        request = elements_pb2.ReportStorageElementRequest(report=told)

        def all_have_called() -> bool:
            stub.ReportStorageElement(request, **own.auth)
            with suppress(ArtStoreError):
                grown.old.upload(b"x", name="x")
            return {sent["sub"] for sent in _tokens(recorder)} == {
                "admin-server",
                "ingest-server",
                "query-server",
            }

        wait_until(all_have_called, 30.0, "all servers have called se-05")
    for token in _tokens(recorder):
        assert (token["aud"], token["role"]) == ("artstore/se-05", "SERVICE")
    for raw in _bearers(recorder):
        with Outside(grown.mesh.file, _token=raw) as thief:
            for use in (
                lambda caller: caller.list("se-01"),
                lambda caller: caller.list("se-03"),
                lambda caller: caller.upload(b"x", "x"),
                lambda caller: from_query_as(caller, grown.on_first.file_id),
                lambda caller: caller.hold(grown.on_first.file_id),
            ):
                with pytest.raises(grpc.RpcError) as refused:
                    use(thief)
                assert error_info(refused.value).reason == "TOKEN_AUDIENCE"


def _bearers(recorder: CallRecorder) -> set[str]:
    """The tokens that it was sent; health is asked without."""
    sent = {call.get("authorization", "") for call in recorder.calls}
    return {header.removeprefix("Bearer ") for header in sent if header}


def _tokens(recorder: CallRecorder) -> list[dict[str, Any]]:
    """What stands in them."""
    unverified = {"verify_signature": False}
    return [jwt.decode(raw, options=unverified) for raw in _bearers(recorder)]


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
