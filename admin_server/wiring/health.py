"""What watches whether admin's services can do their work."""

from __future__ import annotations

from admin_server.elements.registered import RegisteredElements
from mesh.identity.tokens import KeySet
from mesh.server.health import HealthWatcher, Probe
from mesh.server.server import MeshServer


def wire_health(
    server: MeshServer, answers: Probe, keys: KeySet, elements: RegisteredElements
) -> HealthWatcher:
    """Which services can do their work; `answers` asks the database."""

    async def keys_are_known() -> bool:
        return len(keys) > 0

    async def elements_are_known() -> bool:
        return elements.loaded

    return HealthWatcher(
        server,
        [
            ("artstore.v1.TokenService", keys_are_known),
            ("artstore.v1.ServiceAccountService", answers),
            ("artstore.v1.StorageElementService", elements_are_known),
        ],
    )
