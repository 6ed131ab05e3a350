"""What happened to a file: the kinds of feed entries and of pending writes."""

from __future__ import annotations

from enum import StrEnum


class ChangeKind(StrEnum):
    """As written in the tables; the same words, in capitals, as in the contract.

    CREATED: uploaded, or found by a repair. DROPPED: a repair dropped the row, its sidecar is
    gone; a follower asks before it removes anything. PURGED: the last record of a file was removed
    on purpose. ERASED: nothing is left of it but id, namespace, times, by whom and why.
    """

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    UNDELETED = "undeleted"
    DROPPED = "dropped"
    PURGED = "purged"
    ERASED = "erased"

    @classmethod
    def _missing_(cls, value: object) -> ChangeKind:
        """Of a later version, put back by this one: whoever is told looks at the file as it is."""
        return cls.UPDATED
