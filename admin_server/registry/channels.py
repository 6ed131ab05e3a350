"""Channels of admin to the elements, one for each address."""

from __future__ import annotations

import grpc.aio

from mesh.calls.channels import open_mesh_channel
from mesh.settings import MeshSettings


class ElementChannels:
    """Opens each channel at its first use, and keeps it until `close`."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._open: dict[str, grpc.aio.Channel] = {}

    def to(self, endpoint: str) -> grpc.aio.Channel:
        """The channel to host:port."""
        if endpoint not in self._open:
            self._open[endpoint] = open_mesh_channel(endpoint, self._settings)
        return self._open[endpoint]

    async def close(self) -> None:
        """Close them all."""
        for channel in self._open.values():
            await channel.close()
        self._open.clear()
