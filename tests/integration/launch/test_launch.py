"""What `make run` promises about processes, whatever the servers do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from launch import topology
from mesh.postgres.urls import with_database
from tests.support.mesh import MeshProcess, alive, free_port_offset, wait_gone
from tests.support.services import PostgresProcess, S3Account, ValkeyProcess
from tests.support.waiting import wait_until

FAKE_SERVER = Path(__file__).with_name("fake_server.py")
NAMES = {plan.name for plan in topology.SERVERS}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path with fake servers in it, which the launcher is started from."""
    with tempfile.TemporaryDirectory(prefix="artstore-launch-") as made:
        root = Path(made)
        for plan in topology.SERVERS:
            (root / plan.module).mkdir(exist_ok=True)
            (root / plan.module / "__init__.py").touch()
            shutil.copy(FAKE_SERVER, root / plan.module / "__main__.py")
        yield root


@pytest.fixture
def mesh(folder: Path) -> Iterator[MeshProcess]:
    """A launcher with fake servers, not yet started."""
    process = MeshProcess(folder / "data", cwd=folder)
    try:
        yield process
    finally:
        process.kill()


def everyone(mesh: MeshProcess) -> list[int]:
    """Return the pids of the launcher and all below it."""
    return [process.pid for process in psutil.Process(mesh.pid).children(recursive=True)] + [
        mesh.pid
    ]


def told(mesh: MeshProcess, port: int) -> dict[str, str]:
    """Return the environment that the server of `port` was given."""
    found: dict[str, str] = json.loads((mesh.data_dir / f"environment-{port}.json").read_text())
    return found


def test_mesh_file_names_everything_and_is_private(mesh: MeshProcess) -> None:
    file = mesh.start()
    offset = mesh.port_offset
    assert file.endpoints == {
        "admin": f"127.0.0.1:{8000 + offset}",
        "ingest": f"127.0.0.1:{8020 + offset}",
        "query": f"127.0.0.1:{8030 + offset}",
        "storage": {
            "se-01": f"127.0.0.1:{8010 + offset}",
            "se-02": f"127.0.0.1:{8011 + offset}",
            "se-03": f"127.0.0.1:{8012 + offset}",
        },
    }
    assert set(file.processes) == NAMES | {"postgres", "valkey"}
    assert alive(list(file.processes.values())) == list(file.processes.values())
    assert file.database_url.startswith("postgresql://")
    assert file.database_url.endswith("/artstore")
    assert file.data_dir == mesh.data_dir
    for private in ("mesh.json", "credentials.json", "processes.json"):
        assert (mesh.data_dir / private).stat().st_mode & 0o777 == 0o600


def test_interrupt_leaves_no_process(mesh: MeshProcess) -> None:
    mesh.start()
    pids = everyone(mesh)
    assert len(pids) > len(NAMES) + 2
    assert mesh.stop() == 0
    wait_gone(pids, 1.0)


def test_interrupt_while_starting_leaves_no_process(mesh: MeshProcess) -> None:
    mesh.begin()
    wait_until((mesh.data_dir / "processes.json").exists, 20, "something runs")
    pids = everyone(mesh)
    mesh.stop()
    wait_gone(pids, 1.0)
    assert not mesh.mesh_file.exists()


def test_interrupt_ends_frozen_processes_too(mesh: MeshProcess) -> None:
    mesh.start()
    for name in ("postgres", "valkey", "se-01"):
        mesh.freeze(name)
    pids = everyone(mesh)
    os.kill(mesh.pid, signal.SIGTERM)
    assert mesh.wait() == 0
    wait_gone(pids, 1.0)


def test_killed_launcher_takes_its_processes_along(mesh: MeshProcess) -> None:
    mesh.start()
    pids = everyone(mesh)
    os.kill(mesh.pid, signal.SIGKILL)
    mesh.wait()
    wait_gone(pids)


def test_run_after_kill_of_all_finds_the_same_account(mesh: MeshProcess) -> None:
    first = mesh.start()
    mesh.kill()
    second = mesh.start()
    assert (second.client_id, second.client_secret) == (first.client_id, first.client_secret)
    assert not set(first.processes.values()) & set(second.processes.values())


def test_leftovers_of_a_killed_run_are_ended(mesh: MeshProcess, folder: Path) -> None:
    stray = MeshProcess(folder / "elsewhere", cwd=folder)
    stray_file = stray.start()
    try:
        # As if this folder's former run had left them behind, and one number were used again.
        mesh.data_dir.mkdir()
        recorded = json.loads((stray.data_dir / "processes.json").read_text())
        kept = stray_file.processes["query"]
        recorded["query"]["started_at"] -= 100
        (mesh.data_dir / "processes.json").write_text(json.dumps(recorded))
        stray.environment["ARTSTORE_RESTART"] = "0"
        mesh.start()
        ended = stray_file.processes["se-01"]
        assert stray.pid_of("se-01") != ended or not alive([ended])
        assert alive([kept]) == [kept]
        assert "ended what a killed run had left" in mesh.output
    finally:
        stray.kill()


@pytest.mark.parametrize("name", ["se-02", "valkey", "postgres"])
def test_killed_process_is_back_within_two_seconds(mesh: MeshProcess, name: str) -> None:
    mesh.start()
    began = time.monotonic()
    pid = mesh.kill_one(name)
    mesh.wait_restarted(name, pid, 2.0)
    assert time.monotonic() - began < 2.0


def test_killed_server_is_back_without_the_process_that_servers_are_forked_from(
    mesh: MeshProcess,
) -> None:
    mesh.start()
    forked = psutil.Process(mesh.pid_of("se-02")).cmdline()
    for child in psutil.Process(mesh.pid).children():
        if "launch.fork_server" in child.cmdline():
            child.kill()
    mesh.wait_restarted("se-02", mesh.kill_one("se-02"))
    started = psutil.Process(mesh.pid_of("se-02"))
    wait_until(lambda: started.cmdline() == forked, 5, "it is the same command")


def test_nothing_is_restarted_when_told_so(folder: Path) -> None:
    mesh = MeshProcess(folder / "data", cwd=folder, environment={"ARTSTORE_RESTART": "0"})
    try:
        mesh.start()
        pid = mesh.kill_one("se-02")
        wait_until(lambda: "se-02 ended" in mesh.output, 5, "the death is noticed")
        assert "not restarted" in mesh.output
        assert mesh.pid_of("se-02") == pid
    finally:
        mesh.kill()


def test_server_that_cannot_start_is_named_and_tried_again(mesh: MeshProcess) -> None:
    mesh.start()
    (mesh.data_dir / "broken-8020").touch()
    mesh.kill_one("ingest")
    wait_until(lambda: mesh.output.count("ingest ended") >= 3, 15, "it is tried again")
    assert "exit code 1" in mesh.output
    assert "this server is broken" in mesh.log("ingest")
    (mesh.data_dir / "broken-8020").unlink()
    wait_until(lambda: alive([mesh.pid_of("ingest")]) != [], 15, "it is back")


def test_second_run_in_the_same_folder_is_refused(mesh: MeshProcess, folder: Path) -> None:
    first = mesh.start()
    second = MeshProcess(mesh.data_dir, cwd=folder)
    second.begin()
    assert second.wait() == 2
    assert "a mesh runs in" in mesh.output
    assert str(mesh.pid) in mesh.output
    assert alive(list(first.processes.values())) == list(first.processes.values())


def test_port_in_use_is_named_with_the_way_out(folder: Path) -> None:
    offset = free_port_offset()
    mesh = MeshProcess(folder / "data", cwd=folder, port_offset=offset)
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 8011 + offset))
        squatter.listen()
        mesh.begin()
        assert mesh.wait() == 1
    assert f"port {8011 + offset} (se-02) is in use" in mesh.output
    assert "ARTSTORE_PORT_OFFSET" in mesh.output


def test_wrong_setting_is_named_with_its_value(folder: Path) -> None:
    mesh = MeshProcess(
        folder / "data", cwd=folder, environment={"ARTSTORE_SE_01_CAPACITY_BYTES": "lots"}
    )
    mesh.begin()
    assert mesh.wait() == 2
    assert "ARTSTORE_SE_01_CAPACITY_BYTES='lots'" in mesh.output


def test_external_services_are_used_instead_of_embedded_ones(
    folder: Path, database_url: str, valkey: ValkeyProcess, s3: S3Account
) -> None:
    wanted = {
        "ARTSTORE_DATABASE_URL": database_url,
        "ARTSTORE_REDIS_URL": valkey.url,
        "ARTSTORE_SE_01_CAPACITY_BYTES": "1000000",
        "ARTSTORE_TOKEN_SECONDS": "60",
        **s3.environment(),
    }
    mesh = MeshProcess(folder / "data", cwd=folder, environment=wanted)
    try:
        file = mesh.start()
        assert set(file.processes) == NAMES
        assert file.database_url == database_url
        assert file.redis_url == valkey.url
        element = told(mesh, 8010)
        for name in ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT_URL", "S3_BUCKET", "TOKEN_SECONDS"):
            assert element[f"ARTSTORE_{name}"] == wanted[f"ARTSTORE_{name}"]
        assert element["ARTSTORE_CAPACITY_BYTES"] == "1000000"
    finally:
        mesh.kill()


def test_each_server_is_told_what_it_is(mesh: MeshProcess) -> None:
    mesh.start()
    credentials = json.loads((mesh.data_dir / "credentials.json").read_text())["accounts"]
    secrets = {account["client_id"]: account for account in credentials}
    assert [account["client_id"] for account in credentials if account["first"]] == ["admin"]
    assert secrets["admin"]["role"] == "ADMIN"
    plans = zip(topology.ELEMENTS, (8010, 8011, 8012), strict=True)
    for plan, port in plans:
        element = told(mesh, port)
        assert element["ARTSTORE_ELEMENT_ID"] == plan.element_id
        assert element["ARTSTORE_MODE"] == plan.mode
        assert element["ARTSTORE_PRIORITY"] == str(plan.priority)
        assert element["ARTSTORE_CAPACITY_BYTES"] == str(100 * 2**30)
        assert element["ARTSTORE_CLIENT_ID"] == f"storage-{plan.element_id}"
        account = secrets[element["ARTSTORE_CLIENT_ID"]]
        assert element["ARTSTORE_CLIENT_SECRET"] == account["client_secret"]
        assert (account["role"], account["namespaces"]) == ("SERVICE", ["*"])
        assert "ARTSTORE_BOOTSTRAP_FILE" not in element
    assert told(mesh, 8000)["ARTSTORE_BOOTSTRAP_FILE"] == str(mesh.data_dir / "credentials.json")


def test_embedded_database_opens_with_the_url_of_the_mesh_file(
    mesh: MeshProcess, postgres: PostgresProcess
) -> None:
    url = with_database(mesh.start().database_url, "postgres")
    assert url != postgres.url
    mesh.kill_one("postgres")
    wait_until(lambda: _opens(url), 10, "PostgreSQL is back with the same password")


def _opens(url: str) -> bool:
    import asyncio

    import asyncpg

    async def try_it() -> None:
        connection = await asyncpg.connect(url, timeout=2)
        await connection.close()

    try:
        asyncio.run(try_it())
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    return True
