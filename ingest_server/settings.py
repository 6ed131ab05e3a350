"""Settings of ingest, read from the environment."""

from __future__ import annotations

from pydantic import Field

from mesh.settings import MeshSettings, Port


class IngestSettings(MeshSettings):
    """What ingest is told besides what every server is."""

    port: Port = Field(default=8020, description="Port before the offset.")
    ingest_accept_seconds: float = Field(
        default=2.5,
        gt=0,
        description="How long an element may take to accept an upload before the next is asked.",
    )
    ingest_stall_seconds: float = Field(
        default=30.0, gt=0, description="How long an element may take no bytes of an upload."
    )
    ingest_idle_seconds: float = Field(
        default=300.0, gt=0, description="How long a client may send no bytes of an upload."
    )
