"""`python -m launch.probe HOST:PORT`: exit code 0 if the server there is SERVING, else 1."""

from __future__ import annotations

import asyncio
import sys

from launch.health import HealthProbe


async def serving(endpoint: str) -> bool:
    """Ask once, for up to 1 s."""
    probe = HealthProbe({endpoint: endpoint})
    try:
        return await probe.serving(endpoint)
    finally:
        await probe.close()


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(serving(sys.argv[1])) else 1)
