"""What this element asks the others by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.calls.admin_link import AdminLink
from mesh.calls.channels import KeptChannels
from mesh.elements.admitted import Admitted
from mesh.elements.discovery import AdminReports, RedisReports
from storage_server.peers.peers import Peers
from storage_server.settings import StorageSettings
from storage_server.wiring.adapters import Adapters


@asynccontextmanager
async def open_peers(
    settings: StorageSettings, adapters: Adapters, admin: AdminLink
) -> AsyncIterator[Peers]:
    """The other elements; none is called before it is asked something."""
    admitted = Admitted()
    admitted.on_list = lambda ids: admin.element_tokens.keep({*ids} - {settings.element_id})
    channels = KeptChannels(settings)
    peers = Peers(
        settings.element_id,
        AdminReports(admin.channel, admin.account, admitted),
        RedisReports(adapters.redis, admitted),
        admin.account,
        tokens=admin.element_tokens,
        channels=channels,
    )
    try:
        yield peers
    finally:
        await channels.close()
