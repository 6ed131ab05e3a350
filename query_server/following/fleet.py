"""Follows every element into the index."""

from __future__ import annotations

from mesh.calls.channels import open_mesh_channel
from mesh.elements.view import ElementView
from mesh.follower import FollowerFleet, process_name
from mesh.follower.shown import ShownReplicas
from mesh.identity.credentials import ElementTokens
from mesh.postgres.database import Database
from query_server.following.tables import CURSORS
from query_server.following.totals import SUM_UP
from query_server.search.table import TABLE
from query_server.settings import QuerySettings


def index_fleet(
    settings: QuerySettings,
    database: Database,
    elements: ElementView,
    tokens: ElementTokens,
) -> FollowerFleet:
    """The followers of all elements that the view knows."""
    table = ShownReplicas(database, table=TABLE, prefix=CURSORS, leader=process_name())
    table.pending.also(SUM_UP)
    return FollowerFleet(
        table=table,
        elements=elements.endpoints,
        knows_all=lambda: elements.listed,
        open_channel=lambda endpoint: open_mesh_channel(endpoint, settings, health_service=None),
        metadata=tokens.metadata,
        refused=tokens.refused,
        reconcile_seconds=settings.reconcile_seconds,
    )
