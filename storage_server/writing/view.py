"""A file as it is answered: its sidecar, and what the cache says of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage_server.catalog.rows import FileRow, has_blob
from storage_server.domain.sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class FileView:
    """What a caller sees of a file.

    Attributes:
        cache_updated_at: None when the answer does not come from a row.
        cache_stale: it could not be verified in time and may be older than the sidecar.
        sequence: of the feed entry that wrote the row; 0 when that is not known.
        blob_present: False once the bytes of a deleted file have gone, and of a stub.
    """

    sidecar: Sidecar
    cache_updated_at: datetime | None
    cache_ttl_hours: int
    cache_expired: bool
    cache_stale: bool = False
    sequence: int = 0
    blob_present: bool = True


def of_row(row: FileRow, now: datetime, *, stale: bool = False) -> FileView:
    """What a row says."""
    return FileView(
        row.sidecar,
        row.cache_updated_at,
        row.cache_ttl_hours,
        row.cache_expired(now),
        stale,
        row.sequence,
        row.blob_present,
    )


def of_sidecar(sidecar: Sidecar, ttl_hours: int, *, stale: bool) -> FileView:
    """What the sidecar says, when there is no row to go by."""
    return FileView(
        sidecar,
        None,
        ttl_hours,
        cache_expired=stale,
        cache_stale=stale,
        blob_present=has_blob(sidecar, blob_present=True),
    )
