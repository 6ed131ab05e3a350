"""TLS: the configured certificate is used, and a new one is taken up without a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from artstore.v1 import storage_pb2
from mesh.calls.channels import open_mesh_channel
from mesh.calls.tls import CertificateFiles
from mesh.settings import MeshSettings
from tests.integration.mesh.serving import Serving, serving
from tests.support.certificates import write_certificate


async def get_file(mesh: Serving, ca_file: Path) -> None:
    settings = MeshSettings(tls_ca_file=ca_file)
    channel = open_mesh_channel(mesh.server.endpoint, settings)
    try:
        request = storage_pb2.StorageServiceGetFileRequest(file_id="f")
        await type(mesh.stub)(channel).GetFile(request, metadata=mesh.bearer(), timeout=5)
    finally:
        await channel.close()


async def test_calls_work_over_tls_and_not_without(tmp_path: Path) -> None:
    cert_file, key_file = write_certificate(tmp_path)
    async with serving(tls_cert_file=cert_file, tls_key_file=key_file) as mesh:
        await get_file(mesh, cert_file)
        try:
            await mesh.stub.GetFile(
                storage_pb2.StorageServiceGetFileRequest(), metadata=mesh.bearer(), timeout=2
            )
        except grpc.aio.AioRpcError as exc:
            assert exc.code() == grpc.StatusCode.UNAVAILABLE
        else:
            raise AssertionError("plain text was served")


async def test_a_renewed_certificate_is_used_by_new_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.server.server.CERTIFICATE_CHECK_SECONDS", 0.02)
    cert_file, key_file = write_certificate(tmp_path)
    async with serving(tls_cert_file=cert_file, tls_key_file=key_file) as mesh:
        await get_file(mesh, cert_file)
        write_certificate(tmp_path)
        async with asyncio.timeout(10):
            while True:
                try:
                    await get_file(mesh, cert_file)
                    return
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.02)


def test_files_are_read_only_when_they_changed(tmp_path: Path) -> None:
    files = CertificateFiles(*write_certificate(tmp_path))
    first = files.pair
    assert not files.refresh()
    write_certificate(tmp_path)
    assert files.refresh()
    assert files.pair != first
