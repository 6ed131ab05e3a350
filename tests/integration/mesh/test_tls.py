"""TLS: the configured certificates are used and asked for, and new ones taken up by themselves."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import changes_pb2, downloads_pb2, storage_pb2, storage_pb2_grpc
from launch.processes import free_port
from mesh.calls.channels import open_mesh_channel
from mesh.calls.renewed_channel import RenewedChannel
from mesh.calls.tls import CertificateFiles
from mesh.identity.suspensions import Suspension, SuspensionList
from mesh.settings import MeshSettings, SettingsError
from tests.integration.mesh.serving import Serving, serving
from tests.support.caller import ending_of
from tests.support.certificates import Authority
from tests.support.waiting import until

OK = grpc.StatusCode.OK
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.calls.tls.CHECK_SECONDS", 0.02)


@asynccontextmanager
async def channel_to(mesh: Serving, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    channel = open_mesh_channel(mesh.server.endpoint, MeshSettings(**settings))
    try:
        yield channel
    finally:
        await channel.close()


async def get_file(mesh: Serving, channel: grpc.aio.Channel) -> None:
    stub: Any = storage_pb2_grpc.StorageServiceStub(channel)
    request = storage_pb2.StorageServiceGetFileRequest(file_id="f")
    await stub.GetFile(request, metadata=mesh.bearer(), timeout=5)


async def get_file_anew(mesh: Serving, **settings: Any) -> None:
    async with channel_to(mesh, **settings) as channel:
        await get_file(mesh, channel)


async def ending(call: Awaitable[None]) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as exc:
        return exc.code()
    return OK


def of_server(cert: Path, key: Path, client_ca: Path | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"tls_cert_file": cert, "tls_key_file": key}
    return found | ({"tls_client_ca_file": client_ca} if client_ca else {})


async def test_calls_work_over_tls_and_not_without(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(**of_server(*authority.issue())) as mesh:
        await get_file_anew(mesh, tls_ca_file=authority.file)
        assert await ending(get_file(mesh, mesh.channel)) == UNAVAILABLE


async def test_a_client_without_a_certificate_of_the_named_authority_is_refused(
    tmp_path: Path,
) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path / "stranger")
    cert, key = authority.issue("client")
    foreign_cert, foreign_key = stranger.issue("client")
    async with serving(**of_server(*authority.issue(), authority.file)) as mesh:
        known = {"tls_ca_file": authority.file}
        await get_file_anew(mesh, **known, tls_cert_file=cert, tls_key_file=key)
        assert await ending(get_file_anew(mesh, **known)) == UNAVAILABLE
        foreign = {"tls_cert_file": foreign_cert, "tls_key_file": foreign_key}
        assert await ending(get_file_anew(mesh, **known, **foreign)) == UNAVAILABLE


async def test_a_renewed_certificate_is_used_by_new_connections(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(**of_server(*authority.issue())) as mesh:
        await get_file_anew(mesh, tls_ca_file=authority.file)
        other = Authority(tmp_path / "other")
        for file in other.issue():
            shutil.copy(file, tmp_path)

        async def taken() -> bool:
            return await ending(get_file_anew(mesh, tls_ca_file=other.file)) == OK

        await until(taken, 20)
        assert await ending(get_file_anew(mesh, tls_ca_file=authority.file)) == UNAVAILABLE


async def test_a_kept_channel_takes_new_certificates_while_its_streams_go_on(
    tmp_path: Path,
) -> None:
    ours = tmp_path / "ours"
    authority = Authority(ours)
    cert, key = authority.issue("client")
    mine = {"tls_ca_file": authority.file, "tls_cert_file": cert, "tls_key_file": key}
    async with (
        serving(**of_server(*authority.issue(), authority.file)) as mesh,
        channel_to(mesh, **mine) as channel,
    ):
        stub: Any = storage_pb2_grpc.StorageServiceStub(channel)
        length = 5_000
        stream = stub.Download(downloads_pb2.DownloadRequest(length=length), metadata=mesh.bearer())
        await anext(aiter(stream))
        assert isinstance(channel, RenewedChannel)
        first = channel.current
        new = Authority(tmp_path / "new")
        new.issue()
        new.issue("client")
        for file in (tmp_path / "new").iterdir():
            shutil.copy(file, ours)

        async def taken() -> bool:
            # By the server too: it asks new connections for a certificate of the new authority.
            anew = get_file_anew(mesh, tls_ca_file=new.file, **client_of(new))
            return await ending(anew) == OK

        await until(taken, 20)
        await until(lambda: channel.current is not first, 20)
        for _ in range(3):
            await get_file(mesh, channel)
        assert 1 + len([part async for part in stream]) == length
        assert await stream.code() == OK
        await until(lambda: first.get_state() == grpc.ChannelConnectivity.SHUTDOWN, 20)


def client_of(authority: Authority) -> dict[str, Path]:
    cert, key = authority.issue("another")
    return {"tls_cert_file": cert, "tls_key_file": key}


async def test_a_watch_that_began_on_earlier_certificates_ends_with_the_status_of_its_server(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    async with (
        serving(**of_server(*authority.issue())) as mesh,
        channel_to(mesh, tls_ca_file=authority.file) as channel,
    ):
        stub: Any = storage_pb2_grpc.StorageServiceStub(channel)
        watch = stub.WatchChanges(
            changes_pb2.WatchChangesRequest(), metadata=mesh.bearer(sub="mallory", role="SERVICE")
        )
        await watch.read()
        assert isinstance(channel, RenewedChannel)
        first = channel.current
        both = authority.file.read_text() + Authority(tmp_path / "other").file.read_text()
        authority.file.write_text(both)
        await until(lambda: channel.current is not first, 20)
        await get_file(mesh, channel)
        now = time.time()
        mesh.suspensions.take(SuspensionList(now, (Suspension("mallory", now),)))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            while await watch.read() is not grpc.aio.EOF:
                pass
        found = ending_of(ended.value, 0)
        assert (found.name, found.reason) == ("UNAUTHENTICATED", "ACCOUNT_SUSPENDED")


async def test_a_kept_channel_closes_with_its_calls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(**of_server(*authority.issue())) as mesh:
        async with channel_to(mesh, tls_ca_file=authority.file) as channel:
            stub: Any = storage_pb2_grpc.StorageServiceStub(channel)
            request = downloads_pb2.DownloadRequest(length=2_000)
            stream = stub.Download(request, metadata=mesh.bearer())
            await anext(aiter(stream))
        assert await stream.code() == grpc.StatusCode.CANCELLED


def test_half_a_pair_and_what_is_no_certificate_are_not_taken(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    files = CertificateFiles(cert, key, authority.file)
    first = files.held
    assert not files.refresh()
    other_cert, other_key = Authority(tmp_path / "other").issue()
    shutil.copy(other_cert, cert)
    assert not files.refresh()
    key.unlink()
    assert not files.refresh()
    assert files.held is first
    shutil.copy(other_key, key)
    assert files.refresh()
    assert files.held.cert == other_cert.read_bytes()
    authority.file.write_text("nothing")
    assert not files.refresh()


@pytest.mark.parametrize("broken", ["missing", "garbage", "of another"])
def test_a_server_says_at_its_start_which_files_are_wrong(broken: str, tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).issue()
    if broken == "missing":
        key.unlink()
    else:
        wrong = (
            b"nothing" if broken == "garbage" else Authority(tmp_path / "o").issue()[1].read_bytes()
        )
        key.write_bytes(wrong)
    with pytest.raises(SettingsError, match=str(key)):
        CertificateFiles(cert, key)


def page(port: int, authority: Authority | None) -> str:
    context = authority and ssl.create_default_context(cafile=str(authority.file))
    scheme = "https" if context else "http"
    url = f"{scheme}://localhost:{port}/metrics"
    with urllib.request.urlopen(url, timeout=5, context=context) as answer:
        return str(answer.read().decode())


async def test_the_metrics_page_speaks_tls_and_takes_a_new_certificate(tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), free_port()
    settings = of_server(*authority.issue(), authority.file)
    async with serving(**settings, metrics_port=port):
        with socket.create_connection(("localhost", port)):
            # Beside one that says nothing.
            assert "artstore_calls_total" in await asyncio.to_thread(page, port, authority)
        with pytest.raises((OSError, urllib.error.URLError)):
            await asyncio.to_thread(page, port, None)
        other = Authority(tmp_path / "other")
        for file in other.issue():
            shutil.copy(file, tmp_path)

        async def taken() -> bool:
            try:
                return bool(await asyncio.to_thread(page, port, other))
            except OSError:
                return False

        await until(taken, 20)


async def test_the_metrics_page_listens_on_this_machine_alone_unless_told() -> None:
    port = free_port()
    async with serving(metrics_port=port):
        await asyncio.to_thread(page, port, None)
        with socket.socket() as other:
            other.bind(("127.0.0.2", port))
