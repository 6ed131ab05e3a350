"""Settings of the query server."""

from __future__ import annotations

from pydantic import Field

from mesh.postgres.urls import database_name, with_database
from mesh.settings import MeshSettings, Port


class QuerySettings(MeshSettings):
    """What the query server is told besides `MeshSettings`."""

    port: Port = Field(default=8030, description="Port before the offset.")
    query_database: str = Field(
        default="",
        description="Database of the index, made if missing; unset: the name in DATABASE_URL"
        " + _query.",
    )
    reconcile_seconds: float = Field(
        default=3600.0, gt=0, description="Between whole snapshots of an element."
    )

    @property
    def index_url(self) -> str:
        """libpq URI of the index; `artstore_query` beside `artstore`."""
        return with_database(self.database_url, self.index_name)

    @property
    def index_name(self) -> str:
        """Name of the index's database."""
        return self.query_database or f"{database_name(self.database_url)}_query"
