"""TLS as a client has it: whom it believes, what it shows, and what it says when that fails."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import artstore_client
from artstore_client import Client
from artstore_client.calls import tls
from artstore_client.calls.channels import Channels
from artstore_client.settings import TlsFiles
from tests.contract.client.fake_mesh import FakeMesh, fake_mesh
from tests.contract.client.shell import Shell

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
OURS, THEIRS = trustme.CA(), trustme.CA()
SERVER = OURS.issue_cert("localhost")
Pair = trustme.LeafCert


def served_with(pair: Pair, clients: trustme.CA | None = None) -> grpc.ServerCredentials:
    """Credentials of a server; with `clients` it refuses whoever has no certificate of that."""
    return grpc.ssl_server_credentials(
        [(pair.private_key_pem.bytes(), pair.cert_chain_pems[0].bytes())],
        clients.cert_pem.bytes() if clients is not None else None,
        clients is not None,
    )


def write_pair(pair: Pair, folder: Path) -> dict[str, str]:
    """A pair as files that mesh.json would name."""
    files = {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}
    pair.cert_chain_pems[0].write_to_path(files["cert_file"])
    pair.private_key_pem.write_to_path(files["key_file"])
    return files


def write_roots(authority: trustme.CA, folder: Path) -> dict[str, str]:
    path = str(folder / "ca.pem")
    authority.cert_pem.write_to_path(path)
    return {"ca_file": path}


def connected(mesh: FakeMesh, **files: str) -> Client:
    return mesh.client(
        retry_for_seconds=0.0, **{f"tls_{name}": path for name, path in files.items()}
    )


async def test_a_mesh_file_is_all_that_a_client_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".artstore"
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    for name in ("ARTSTORE_MESH", "ARTSTORE_TLS_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    files = write_roots(OURS, folder) | write_pair(OURS.issue_cert("anna.test"), folder)
    async with fake_mesh(tmp_path / "state", served_with(SERVER, OURS)) as mesh:
        told = {
            "endpoints": dict.fromkeys(("admin", "ingest", "query"), mesh.endpoint)
            | {"storage": {"se-01": mesh.endpoint}},
            "client_id": "tester",
            "client_secret": "secret",
            "tls": files,
        }
        (folder / "mesh.json").write_text(json.dumps(told))
        async with Client.connect(state_folder=tmp_path / "state") as client:
            file = await client.upload(b"secret bytes", name="a.txt")
            await client.download(file.file_id, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"secret bytes"


async def test_a_server_of_the_system_s_authorities_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", write_roots(OURS, tmp_path)["ca_file"])
    async with (
        fake_mesh(tmp_path / "state", served_with(SERVER)) as mesh,
        mesh.client(admin=f"https://{mesh.endpoint}") as client,
    ):
        assert await client.access_token()


EXPIRED = {"not_before": NOW - 2 * DAY, "not_after": NOW - DAY}
REFUSED = [
    ("nobody knows who signed it", served_with(THEIRS.issue_cert("localhost")),
     "certificate of the server at .* is signed by none of .*ca.pem"),
    ("it is of another name", served_with(OURS.issue_cert("elsewhere.test")), "for other names"),
    ("it has expired", served_with(OURS.issue_cert("localhost", **EXPIRED)), "has expired"),
    ("it is of tomorrow", served_with(OURS.issue_cert("localhost", not_before=NOW + DAY)),
     "not yet valid: are the clocks right"),
    ("there is none", None, "speaks plain text, and this client TLS: see ARTSTORE_TLS_CA_FILE"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("credentials", "says"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
async def test_a_server_that_is_not_believed_is_told_in_words_and_at_once(
    tmp_path: Path, credentials: grpc.ServerCredentials | None, says: str
) -> None:
    roots = write_roots(OURS, tmp_path)["ca_file"]
    async with (
        fake_mesh(tmp_path / "state", credentials) as mesh,
        # Not after the two minutes that a server that is down is waited for.
        asyncio.timeout(8),
        mesh.client(retry_for_seconds=120.0, tls_ca_file=roots) as client,
    ):
        with pytest.raises(artstore_client.NotTrusted, match=says) as told:
            await client.upload(b"bytes", name="a.txt")
    assert "SSL" not in told.value.message


async def test_a_server_on_tls_is_told_to_who_speaks_plain_text(tmp_path: Path) -> None:
    async with (
        fake_mesh(tmp_path / "state", served_with(SERVER)) as mesh,
        connected(mesh) as client,
    ):
        with pytest.raises(artstore_client.Unavailable, match="as one does that speaks TLS"):
            await client.access_token()


async def test_a_server_that_refuses_the_client_is_told_with_the_certificate(
    tmp_path: Path,
) -> None:
    roots = write_roots(OURS, tmp_path)
    async with fake_mesh(tmp_path / "state", served_with(SERVER, OURS)) as mesh:
        for pair, says in (
            (None, "asks for a client certificate: then set ARTSTORE_TLS_CERT_FILE"),
            (THEIRS.issue_cert("eve.test"), "does not know who signed .*cert.pem"),
            (OURS.issue_cert("anna.test", **EXPIRED), "cert.pem has expired"),
        ):
            shown = write_pair(pair, tmp_path) if pair is not None else {}
            async with connected(mesh, **roots, **shown) as client:
                with pytest.raises(artstore_client.Unavailable, match=says):
                    await client.access_token()


@pytest.mark.parametrize(
    ("wrong", "content", "says"),
    [
        ("ca_file", None, "ca.pem, named for TLS, can't be read: No such file"),
        ("ca_file", b"none", "ca.pem holds no certificate"),
        ("cert_file", b"none", "cert.pem holds no certificate"),
        ("key_file", b"none", "key.pem holds no private key"),
        ("key_file", SERVER.private_key_pem.bytes(), "key.pem is not the key of .*cert.pem"),
    ],
)
def test_files_that_hold_something_else_are_told_before_any_call(
    tmp_path: Path, wrong: str, content: bytes | None, says: str
) -> None:
    files = write_roots(OURS, tmp_path) | write_pair(OURS.issue_cert("anna.test"), tmp_path)
    Path(files[wrong]).unlink()
    if content is not None:
        Path(files[wrong]).write_bytes(content)
    with pytest.raises(artstore_client.ConfigurationError, match=says):
        Client.connect(admin="localhost:1", **{f"tls_{name}": path for name, path in files.items()})


class Doorkeeper(health.aio.HealthServicer):
    """Answers who is healthy, and remembers who asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    async def Check(self, request: Any, context: Any) -> Any:
        self.seen += context.auth_context()["x509_common_name"]
        return await super().Check(request, context)


@asynccontextmanager
async def doorkeeper() -> AsyncIterator[tuple[Doorkeeper, str]]:
    server, keeper = grpc.aio.server(), Doorkeeper()
    health_pb2_grpc.add_HealthServicer_to_server(keeper, server)
    port = server.add_secure_port("localhost:0", served_with(SERVER, OURS))
    await server.start()
    try:
        yield keeper, f"localhost:{port}"
    finally:
        await server.stop(None)


async def test_a_new_pair_is_shown_by_a_client_that_runs_and_nothing_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.0)
    anna, ben = (OURS.issue_cert(f"{name}.test", common_name=name) for name in ("anna", "ben"))
    files = write_roots(OURS, tmp_path) | write_pair(anna, tmp_path)
    channels = Channels(TlsFiles(**{name: Path(path) for name, path in files.items()}))
    request = health_pb2.HealthCheckRequest()
    async with doorkeeper() as (keeper, endpoint), asyncio.timeout(20):
        stub = health_pb2_grpc.HealthStub(channels.to(endpoint))
        await stub.Check(request)
        watching = stub.Watch(request)
        await watching.read()
        # Half of it: who looks now keeps what there was.
        ben.cert_chain_pems[0].write_to_path(files["cert_file"])
        await stub.Check(request)
        ben.private_key_pem.write_to_path(files["key_file"])
        await stub.Check(request)
        assert keeper.seen == [b"anna", b"anna", b"ben"]
        await keeper.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        changed = await watching.read()
        assert changed.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await channels.close()


async def test_a_file_that_is_gone_for_a_moment_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.0)
    roots = write_roots(OURS, tmp_path)["ca_file"]
    credentials = tls.Credentials(TlsFiles(Path(roots)))
    before = credentials.present()
    Path(roots).unlink()  # noqa: ASYNC240
    assert credentials.present() is before
    write_roots(THEIRS, tmp_path)
    assert credentials.present() is not before


async def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    async with fake_mesh(tmp_path / "state", served_with(SERVER)) as mesh:
        shell = Shell(mesh, tmp_path)
        shell.environment["ARTSTORE_TLS_CA_FILE"] = write_roots(THEIRS, tmp_path)["ca_file"]
        ended = await shell.run("token")
    assert ended.code == 5
    assert "is signed by none of" in ended.err
    assert len(ended.err.splitlines()) == 1
