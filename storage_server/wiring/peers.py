"""What this element asks the others by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mesh.calls.admin_link import AdminLink
from mesh.calls.channels import KeptChannels
from mesh.elements.admitted import Admitted
from mesh.elements.discovery import AdminReports, RedisReports
from storage_server.peers.peers import Peers
from storage_server.peers.sources import Sources
from storage_server.settings import StorageSettings
from storage_server.steps.pulling import Source
from storage_server.uploads.reserving import Elsewhere
from storage_server.wiring.adapters import Adapters


@dataclass(frozen=True, slots=True)
class WiredPeers:
    """The other elements of the mesh.

    Attributes:
        elsewhere: what they say of an account.
        source: reads files from them.
    """

    elsewhere: Elsewhere
    source: Source


@asynccontextmanager
async def open_peers(
    settings: StorageSettings, adapters: Adapters, admin: AdminLink
) -> AsyncIterator[WiredPeers]:
    """The other elements, and what reads from them; none is called before it is asked something."""
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
        source = Sources(peers, tokens=admin.element_tokens, channels=channels)
        yield WiredPeers(elsewhere=peers, source=source)
    finally:
        await channels.close()
