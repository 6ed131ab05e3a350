"""A mesh on TLS: every port speaks nothing else, and new certificates are taken as it runs."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from launch import topology
from launch.certificates import Certificates, make_own
from launch.topology import METRICS_PORT_DISTANCE
from tests.support.command import Command
from tests.support.mesh import REPOSITORY, MeshProcess, loud_lines
from tests.support.outside import Outside
from tests.support.services import copy_cluster
from tests.support.waiting import wait_until

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
# A look at the files every 10 s, and a busy machine.
TAKEN_SECONDS = 40.0
# Of what is about the mesh, not about the launcher or a shell.
QUICK = (
    "test_first_files.py",
    "test_cache_sync.py",
    "test_finalization.py",
    "test_life.py",
    "test_put_folder.py",
    "test_search.py",
    "test_selftest.py",
    "test_trash.py",
    "test_whose_changes.py",
)
FULL = ("test_erasure.py", "test_one_account.py")


@pytest.fixture(scope="module")
def tls_mesh() -> Iterator[MeshProcess]:
    """A mesh that has made its certificates, and asks every client for one."""
    with tempfile.TemporaryDirectory(prefix="artstore-mesh-") as folder:
        data_dir = Path(folder) / "data"
        tls = {
            "ARTSTORE_TLS": "1",
            "ARTSTORE_TLS_CLIENT_CA_FILE": str(data_dir / "tls" / "ca.pem"),
        }
        mesh = MeshProcess(data_dir, environment=tls)
        data_dir.mkdir()
        copy_cluster(data_dir / "postgres")
        try:
            mesh.start()
            yield mesh
            mesh.stop()
        finally:
            mesh.kill()
        assert loud_lines(mesh) == []


def ports(mesh: MeshProcess) -> list[int]:
    """Those of the servers."""
    return [plan.port + mesh.port_offset for plan in topology.SERVERS]


def refused(port: int, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    """How a call ends that nobody should answer."""
    endpoint = f"127.0.0.1:{port}"
    options = [("grpc.use_local_subchannel_pool", 1)]
    made = (
        grpc.insecure_channel(endpoint, options=options)
        if credentials is None
        else grpc.secure_channel(endpoint, credentials, options=options)
    )
    with made as channel, pytest.raises(grpc.RpcError) as ending:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert isinstance(ending.value, grpc.Call)
    return ending.value.code()


def serial(port: int, pair: tuple[Path, Path]) -> bytes:
    """The certificate that a port shows now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(*pair)

    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as link,
        context.wrap_socket(link) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def test_files_go_in_and_out_by_servers_that_call_each_other(tls_mesh: MeshProcess) -> None:
    content = secrets.token_bytes(3_000_000)
    with Outside(tls_mesh.file) as outside:
        file = outside.upload(content, "secret.bin")
        _, found = outside.download(file.storage_element_id, file.file_id)
    assert hashlib.sha256(found).digest() == hashlib.sha256(content).digest()


def test_a_command_finds_all_it_needs_in_mesh_json(tls_mesh: MeshProcess, tmp_path: Path) -> None:
    source, target = tmp_path / "source.bin", tmp_path / "target.bin"
    source.write_bytes(secrets.token_bytes(100_000))
    put = Command(tls_mesh, tmp_path, "put", "--json", str(source)).result()
    Command(tls_mesh, tmp_path, "get", put["file_id"], "-o", str(target)).process.communicate()
    assert target.read_bytes() == source.read_bytes()


def test_every_port_refuses_plain_text(tls_mesh: MeshProcess) -> None:
    for port in ports(tls_mesh):
        assert refused(port, None) == UNAVAILABLE
        endpoint = f"127.0.0.1:{port}"
        # Nobody is asked for a certificate there.
        assert "artstore_calls_total" in tls_mesh.file.metrics(endpoint)
        with pytest.raises(OSError):
            replace(tls_mesh.file, tls=None).metrics(endpoint)


def test_every_port_refuses_a_client_without_a_certificate_of_the_authority(
    tls_mesh: MeshProcess, tmp_path: Path
) -> None:
    roots = (tls_mesh.data_dir / "tls" / "ca.pem").read_bytes()
    make_own(tmp_path, {})
    cert, key = (file.read_bytes() for file in Certificates(tmp_path).files_of("client"))
    for port in ports(tls_mesh):
        assert refused(port, grpc.ssl_channel_credentials(roots)) == UNAVAILABLE
        assert refused(port, grpc.ssl_channel_credentials(roots, key, cert)) == UNAVAILABLE


def test_what_mesh_json_says_is_enough_for_the_tools_of_others(tls_mesh: MeshProcess) -> None:
    tls = tls_mesh.file.tls
    assert tls is not None
    grpcurl = Path(sys.executable).with_name("grpcurl")
    trust = ("-cacert", tls["ca_file"], "-cert", tls["cert_file"], "-key", tls["key_file"])
    endpoint = tls_mesh.file.endpoints["admin"]
    done = subprocess.run(
        [grpcurl, *trust, endpoint, "list"], capture_output=True, text=True, check=True
    )
    assert "artstore.v1.TokenService" in done.stdout.split()


@pytest.mark.full
def test_new_certificates_and_a_new_authority_are_taken_without_a_restart(
    tls_mesh: MeshProcess, tmp_path: Path
) -> None:
    folder, processes = tls_mesh.data_dir / "tls", tls_mesh.file.processes
    own = Certificates(folder)

    def shown(name: str, port: int) -> bool:
        text = own.files_of(name)[0].read_text()
        wanted = ssl.PEM_cert_to_DER_cert(text)
        pair = own.files_of("client")
        return all(serial(at, pair) == wanted for at in (port, port + METRICS_PORT_DISTANCE))

    def until_taken() -> None:
        for plan in topology.SERVERS:
            port = plan.port + tls_mesh.port_offset
            told = f"{plan.name} shows its new certificate"
            wait_until(partial(shown, plan.name, port), TAKEN_SECONDS, told)
        # Each server looks by itself for what it shows as a client.
        time.sleep(12)

    with Outside(tls_mesh.file) as began:
        before = began.upload(b"before", "before.txt")
        make_own(folder, {}, renew=True)
        until_taken()
        # On the connections that were there.
        assert began.get(before.storage_element_id, before.file_id).size_bytes == 6
        with Outside(tls_mesh.file) as outside:
            outside.upload(b"between", "between.txt")
        _move_to_new_authority(folder, tmp_path, until_taken)
        with Outside(tls_mesh.file) as outside:
            after = outside.upload(b"after", "after.txt")
            assert outside.get(after.storage_element_id, after.file_id).size_bytes == 5
    assert tls_mesh.file.processes == processes
    old_roots = (tmp_path / "old.pem").read_bytes()
    client = [file.read_bytes() for file in own.files_of("client")]
    for port in ports(tls_mesh):
        assert refused(port, grpc.ssl_channel_credentials(old_roots, client[1], client[0]))


def _move_to_new_authority(folder: Path, aside: Path, until_taken: Callable[[], None]) -> None:
    """As docs/operations.md says: both, then the new certificates, then the new one alone."""
    new = aside / "new"
    make_own(new, {})
    old_roots, roots = ((place / "ca.pem").read_text() for place in (folder, new))
    (aside / "old.pem").write_text(old_roots)
    every = [folder / "ca.pem", *folder.glob("*/ca.pem")]
    for text in (old_roots + roots, None, roots):
        if text is None:
            for name in [path.parent.name for path in folder.glob("*/cert.pem")]:
                for file in ("key.pem", "cert.pem"):
                    shutil.copy(new / name / file, folder / name / f".{file}")
                    (folder / name / f".{file}").rename(folder / name / file)
        else:
            for path in every:
                path.write_text(text)
        until_taken()


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("names", "marks"), [(QUICK, "not full and not containers"), (FULL, "full")]
)
def test_what_holds_of_a_mesh_holds_on_tls(names: tuple[str, ...], marks: str) -> None:
    tests = [str(REPOSITORY / "tests" / "acceptance" / name) for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--timeout", "900", "-m", marks, *tests],
        cwd=REPOSITORY,
        env={**os.environ, "TESTS_ON_TLS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
