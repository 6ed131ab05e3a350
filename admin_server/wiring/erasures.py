"""Holding and erasing files, and the operations that tell of it."""

from __future__ import annotations

from dataclasses import dataclass

from admin_server.elements.registered import RegisteredElements
from admin_server.erasures.erasing import Erasures
from admin_server.erasures.operations import Shown
from admin_server.erasures.table import ErasureTable
from admin_server.findings.table import FindingTable
from admin_server.life.copies import Copies
from admin_server.life.settling import Settling
from admin_server.prepared_database import PreparedDatabase
from mesh.operations import Operations


@dataclass(frozen=True, slots=True)
class WiredErasures:
    """One of each per process.

    Attributes:
        erasures: erases files; its `run` finishes what was begun.
        copies: are told what their home says.
        operations: long work of admin.
    """

    erasures: Erasures
    copies: Copies
    operations: Operations


def wire_erasures(
    database: PreparedDatabase, elements: RegisteredElements, settling: Settling
) -> WiredErasures:
    """Nothing is asked yet."""
    operations = Operations()
    return WiredErasures(
        Erasures(
            elements,
            settling,
            ErasureTable(database),
            Shown(operations),
            tell=FindingTable(database).put_erased,
        ),
        Copies(database, settling),
        operations,
    )
