"""What this element asks the others by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from mesh.calls.admin_link import AdminLink
from mesh.calls.channels import open_mesh_channel
from mesh.elements.discovery import AdminReports, RedisReports
from mesh.identity.credentials import ServiceToken
from storage_server.peers.peers import Peers
from storage_server.settings import StorageSettings
from storage_server.wiring.adapters import Adapters


class _OwnToken:
    """This server's one token, for all elements."""

    def __init__(self, account: ServiceToken) -> None:
        self._account = account

    async def metadata(self, element_id: str) -> tuple[tuple[str, str], ...]:
        """See `ElementTokens`."""
        return self._account.metadata()

    def refused(self, element_id: str) -> None:
        """See `ElementTokens`."""
        self._account.refused()


@asynccontextmanager
async def open_peers(
    settings: StorageSettings, adapters: Adapters, admin: AdminLink
) -> AsyncIterator[Peers]:
    """The other elements; none is called before it is asked something."""
    peers = Peers(
        settings.element_id,
        AdminReports(admin.channel, admin.account),
        RedisReports(adapters.redis),
        admin.account,
        tokens=_OwnToken(admin.account),
        open_channel=partial(open_mesh_channel, settings=settings),
    )
    try:
        yield peers
    finally:
        await peers.close()
