"""What the shell offers when Tab is pressed."""

from __future__ import annotations

import asyncio

from artstore_client import Client, errors

# A shell that waits for a mesh that is not there helps nobody.
_SECONDS = 3.0


def complete_element(incomplete: str) -> list[str]:
    """Ids of the mesh's elements that begin so; none when the mesh can't be asked."""
    try:
        known = asyncio.run(_element_ids())
    except (errors.ArtStoreError, OSError, TimeoutError):
        return []
    return [element_id for element_id in known if element_id.startswith(incomplete)]


async def _element_ids() -> list[str]:
    async with asyncio.timeout(_SECONDS), Client.connect() as client:
        return await client.element_ids()
