"""LifecycleService, of its parts."""

from __future__ import annotations

from admin_server.clock import Clock
from admin_server.policies.table import PolicyTable
from admin_server.rpc.erasures import ErasureServicer
from admin_server.rpc.lifecycle import LifecycleServicer
from admin_server.rpc.policies import PolicyCalls
from admin_server.wiring.collection import CollectionOf
from admin_server.wiring.life import Life
from admin_server.wiring.registry import Registry
from mesh.postgres.database import Database


def wire_lifecycle(
    registry: Registry,
    life: Life,
    collection: CollectionOf,
    database: Database,
    *,
    now: Clock,
) -> LifecycleServicer:
    """LifecycleService, over all its parts.

    Args:
        database: admin's own, of what no element knows.
    """
    return LifecycleServicer(
        registry.holds,
        life.erasing.copies,
        transfers=life.transfers,
        policies=PolicyCalls(PolicyTable(database, now=now), registry.usage),
        erasures=ErasureServicer(life.erasing.erasures),
        collections=collection.calls,
    )
