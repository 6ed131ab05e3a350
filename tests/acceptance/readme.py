"""The README, and its lines at the mesh of a test."""

from __future__ import annotations

from launch import topology
from tests.support.mesh import REPOSITORY, MeshProcess

README = REPOSITORY / "README.md"


def at_this_mesh(script: str, mesh: MeshProcess) -> str:
    """Move the ports that the README names to those of the test's mesh."""
    for plan in topology.SERVERS:
        script = script.replace(f":{plan.port} ", f":{plan.port + mesh.port_offset} ")
    return script
