"""Follows every element into the index."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.calls.channels import open_mesh_channel
from mesh.elements.discovery import ElementDirectory
from mesh.follower import FollowerFleet, ReplicaTable, process_name
from mesh.identity.credentials import ServiceToken
from mesh.postgres.database import Database
from query_server.following.tables import CURSORS
from query_server.search.table import TABLE
from query_server.settings import QuerySettings


def index_fleet(
    settings: QuerySettings,
    database: Database,
    directory: ElementDirectory,
    account: ServiceToken,
) -> FollowerFleet:
    """The followers of all elements that the directory knows."""

    async def metadata() -> Sequence[tuple[str, str]]:
        return account.metadata()

    return FollowerFleet(
        table=ReplicaTable(database, table=TABLE, prefix=CURSORS, leader=process_name()),
        elements=directory.endpoints,
        knows_all=lambda: directory.knows_all,
        open_channel=lambda endpoint: open_mesh_channel(endpoint, settings, health_service=None),
        metadata=metadata,
        refused=account.refused,
        reconcile_seconds=settings.reconcile_seconds,
    )
