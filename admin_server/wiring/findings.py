"""The check of the whole mesh, and what it finds."""

from __future__ import annotations

from admin_server.clock import Clock
from admin_server.findings.check import MeshCheck
from admin_server.findings.resolving import Resolving
from admin_server.findings.table import FindingTable
from admin_server.prepared_database import PreparedDatabase
from admin_server.rpc.findings import FindingCalls
from admin_server.wiring.life import Life
from admin_server.wiring.registry import Registry
from mesh.operations import Operations


def wire_findings(
    database: PreparedDatabase,
    registry: Registry,
    life: Life,
    operations: Operations,
    *,
    now: Clock,
) -> FindingCalls:
    """Nothing is asked yet."""
    table = FindingTable(database)
    check = MeshCheck(registry.database, life.settling, table, registry.files.unread, now)
    return FindingCalls(operations, check, table, Resolving(life.settling))
