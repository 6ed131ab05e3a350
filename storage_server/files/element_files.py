"""The files of the element: described, read and changed."""

from __future__ import annotations

from dataclasses import dataclass

from storage_server.files.changes import Changes
from storage_server.files.download import Downloads
from storage_server.files.lookup import Lookup


@dataclass(frozen=True, slots=True)
class ElementFiles:
    """What callers do with files that are there.

    Attributes:
        lookup: describes them.
        downloads: reads their bytes.
        changes: updates, deletes and holds them, and brings them back.
    """

    lookup: Lookup
    downloads: Downloads
    changes: Changes
