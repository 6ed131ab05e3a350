"""The containers come up again, whatever became of them, and every file is there."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest

from artstore.v1 import downloads_pb2, query_pb2, registry_pb2
from launch import topology
from tests.containers.composed import IMAGE, OF_THIS_RUN, Address, ComposedMesh, docker
from tests.containers.engine import OWN_ENGINE, OwnEngine
from tests.support.outside import Outside
from tests.support.waiting import wait_until

READY_SECONDS = 60.0
by_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may kill the processes of containers"
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that was acknowledged, and a word that finds it."""

    element_id: str
    file_id: str
    word: str
    content: bytes


@pytest.fixture
def stored(composed: ComposedMesh) -> list[Stored]:
    """A file on each element, each in the index."""
    found = []
    with Outside(composed.file) as outside:
        for plan in topology.ELEMENTS:
            word, content = f"w{secrets.token_hex(5)}", os.urandom(300_000)
            made = outside.upload_to(plan.element_id, content, f"{word}.bin")
            found.append(Stored(plan.element_id, made.file_id, word, content))
        for file in found:
            wait_until(lambda one=file: _is_found(outside, one), READY_SECONDS, "it is found")
    return found


def _is_found(outside: Outside, file: Stored) -> bool:
    asked = query_pb2.SearchFilesRequest(query=file.word)
    answer = outside.query.SearchFiles(asked, **outside.auth)
    return [one.file.file_id for one in answer.results] == [file.file_id]


def _is_registered(outside: Outside, file: Stored) -> bool:
    asked = registry_pb2.FileRegistryServiceGetFileRequest(file_id=file.file_id)
    try:
        found = outside.registry.GetFile(asked, **outside.auth).file
    except grpc.RpcError as error:
        # Until all elements were read it does not say that there is no such file.
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        return False
    return bool(found.storage_element_id == file.element_id)


def assert_all_is_there(composed: ComposedMesh, stored: list[Stored]) -> None:
    """All is read, listed, searched and consistent, and new files go in; at once or soon."""
    with Outside(composed.file) as outside:
        for file in stored:
            assert outside.download(file.element_id, file.file_id)[1] == file.content
            wait_until(lambda one=file: _is_found(outside, one), READY_SECONDS, "it is found")
            parts = list(
                outside.query.DownloadFile(
                    downloads_pb2.DownloadRequest(file_id=file.file_id), **outside.auth
                )
            )
            assert b"".join(part.chunk.data for part in parts[1:]) == file.content
            wait_until(lambda one=file: _is_registered(outside, one), READY_SECONDS, "registered")
            listed = {one.file_id for one in outside.list(file.element_id).files}
            assert file.file_id in listed
            assert outside.check(file.element_id).is_consistent
        made = outside.upload(b"new", "new.txt")
        assert outside.download(made.storage_element_id, made.file_id)[1] == b"new"
    assert b"12 of 12 passed" in composed.in_container("selftest").stdout


def test_after_down(composed: ComposedMesh, stored: list[Stored]) -> None:
    composed.down()
    composed.up()
    assert_all_is_there(composed, stored)


@pytest.mark.parametrize(
    "lost",
    [
        ("postgres",),
        ("valkey",),
        pytest.param(
            ("admin", "se-01", "se-02", "se-03", "ingest", "query"), marks=pytest.mark.full
        ),
        ("postgres", "valkey", "admin", "se-01", "se-02", "se-03", "ingest", "query"),
    ],
    ids=["postgres", "valkey", "volumes of servers", "all but s3"],
)
def test_after_a_lost_volume_of_caches(
    composed: ComposedMesh, stored: list[Stored], lost: tuple[str, ...]
) -> None:
    composed.down()
    composed.remove_volumes(*lost)
    composed.up()
    assert_all_is_there(composed, stored)


@by_root
def test_after_kill_of_everything_all_comes_back_by_itself(
    composed: ComposedMesh, stored: list[Stored]
) -> None:
    before = {name: composed.started_at(name) for name in composed.services()}
    killed = [composed.process(name) for name in before]
    for process in killed:
        process.kill()
    wait_until(
        lambda: all(composed.started_at(name) != moment for name, moment in before.items()),
        READY_SECONDS,
        "all are started again",
    )
    composed.wait_healthy()
    assert not [process for process in killed if process.is_running()]
    assert_all_is_there(composed, stored)


@pytest.mark.full
def test_after_docker_kill_of_everything_up_starts_it(
    composed: ComposedMesh, stored: list[Stored]
) -> None:
    composed.compose("kill")
    composed.up()
    assert_all_is_there(composed, stored)


def test_stop_ends_servers_and_databases_in_good_order(
    composed: ComposedMesh, stored: list[Stored]
) -> None:
    names = composed.services()
    composed.compose("stop")
    codes = {name: composed.inspect(name)["State"]["ExitCode"] for name in names}
    composed.up()
    # S3 has nothing to put in order, and does not end by itself.
    assert codes.pop("s3") in {0, 137}
    assert set(codes.values()) == {0}
    assert_all_is_there(composed, stored)


def test_databases_that_come_back_at_other_addresses_are_found(
    composed: ComposedMesh, stored: list[Stored]
) -> None:
    names = ("postgres", "valkey", "s3")
    before = {name: composed.given_address(name) for name in names}
    composed.compose("rm", "--stop", "--force", *names)
    network = f"{composed.project}_mesh"
    taken = [
        docker("run", "-d", OF_THIS_RUN, "--network", network, "--ip", address, "--entrypoint",
               "sleep", IMAGE, "600").stdout.decode().strip()
        for address in before.values()
    ]  # fmt: skip
    try:
        composed.up()
        assert not {composed.given_address(name) for name in names} & set(before.values())
        assert_all_is_there(composed, stored)
    finally:
        docker("rm", "--force", *taken)


def test_after_a_move_to_another_network(composed: ComposedMesh, stored: list[Stored]) -> None:
    composed.down()
    composed.move(Address.free())
    composed.up()
    told = json.loads(composed.on_host("elements", "--json").stdout)
    assert {one["endpoint"] for one in told} == set(composed.own_elements.values())
    assert_all_is_there(composed, stored)


@pytest.mark.skipif(OWN_ENGINE not in os.environ, reason="this Docker Engine is not ours to kill")
def test_after_kill_of_the_engine_and_everything_all_comes_back_by_itself(
    composed: ComposedMesh, stored: list[Stored]
) -> None:
    engine = OwnEngine(Path(os.environ[OWN_ENGINE]))
    containers = [composed.process(name) for name in composed.services()]
    killed = engine.processes()
    for process in [*killed, *containers]:
        process.kill()
    psutil.wait_procs(killed, READY_SECONDS)
    engine.start(outlives_us=True)
    composed.wait_healthy()
    assert_all_is_there(composed, stored)
