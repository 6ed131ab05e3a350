"""What uploads of both kinds need of the element."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.concurrency.unbroken import Unbroken
from storage_server.catalog.port import UploadRecords
from storage_server.element.space import Space
from storage_server.element.state import Element
from storage_server.uploads.quotas import Terms
from storage_server.uploads.reserving import Reserving
from storage_server.writing.protocol import Writing


@dataclass(frozen=True, slots=True)
class UploadParts:
    """One per server.

    Attributes:
        reserving: takes room in `space`, within an account's limits.
        terms: what the policies of namespaces say of uploads.
        records: of resumable uploads.
    """

    element: Element
    space: Space
    reserving: Reserving
    terms: Terms
    writing: Writing
    records: UploadRecords
    unbroken: Unbroken
