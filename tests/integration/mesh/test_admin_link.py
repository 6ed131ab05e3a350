"""The link to admin: keys and token arrive when admin does, and keys outlive it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from artstore.v1 import tokens_pb2_grpc
from mesh.calls.admin_link import link_to_admin
from mesh.concurrency.background import Background
from mesh.errors import Unavailable
from mesh.settings import MeshSettings
from tests.support.token_issuer import Signer, TokenIssuer
from tests.support.waiting import until


class OneAccount(TokenIssuer):
    """Knows the account of the test."""

    async def IssueToken(self, request: Any, context: Any) -> Any:
        assert (request.client_id, request.client_secret) == ("se-01", "hush")
        return await super().IssueToken(request, context)


@asynccontextmanager
async def admin(signer: Signer, port: int = 0) -> AsyncIterator[int]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    tokens_pb2_grpc.add_TokenServiceServicer_to_server(OneAccount(signer), server)
    bound = server.add_insecure_port(f"localhost:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(0)


def settings_for(port: int, folder: Path) -> MeshSettings:
    return MeshSettings(
        admin_endpoint=f"localhost:{port}",
        data_dir=folder,
        client_id="se-01",
        client_secret=SecretStr("hush"),
    )


async def test_keys_and_token_arrive_and_keys_outlive_admin(tmp_path: Path) -> None:
    signer = Signer()
    async with admin(signer) as port:
        settings = settings_for(port, tmp_path)
        async with Background() as background, link_to_admin(settings, background) as link:
            await link.account.ready(5)
            ((_, bearer),) = link.account.metadata()
            caller = await link.verifier.verify(bearer.removeprefix("Bearer "))
            assert (caller.subject, caller.role.value) == ("se-01", "SERVICE")
            await until(settings.keys_file.exists)
    async with Background() as background, link_to_admin(settings, background) as link:
        assert (await link.verifier.verify(signer.token())).subject == "alice"
        with pytest.raises(Unavailable):
            link.account.metadata()


async def test_admin_that_comes_late_is_found(tmp_path: Path) -> None:
    signer = Signer()
    async with admin(signer) as port:
        pass
    settings = settings_for(port, tmp_path)
    async with Background() as background, link_to_admin(settings, background) as link:
        with pytest.raises(Unavailable):
            await link.verifier.verify(signer.token())
        async with admin(signer, port):
            await link.account.ready(10)
            async with asyncio.timeout(10):
                while True:
                    try:
                        await link.verifier.verify(signer.token())
                        return
                    except Unavailable:
                        await asyncio.sleep(0.05)
