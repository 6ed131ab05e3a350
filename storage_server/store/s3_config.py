"""Where an S3 store is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class S3Config:
    """One element's place in a bucket.

    Attributes:
        endpoint_url: of the server; empty means Amazon's own.
        prefix: of all keys, without a slash at the end: `storage_element_01`.
        access_key, secret_key, region: empty means the usual AWS_ variables and files.
        max_connections: to the server, for everything together; at least 2. Calls that find
            all of them in use wait.
        deadline_seconds: for a call, its repetition included.
        patient_seconds: for moving the bytes of a part, and a page of the whole store's listing;
            for a server's silence while it completes an upload (and a second for each 10 MiB).
        completion_seconds: for completing an upload on a server that answers other calls
            meanwhile, when the caller has set no deadline.
        folder: for files without a name, of bytes that are too many for the memory; None: the
            system's own.
    """

    endpoint_url: str
    bucket: str
    prefix: str
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    region: str = ""
    max_connections: int = 64
    deadline_seconds: float = 8.0
    patient_seconds: float = 30.0
    completion_seconds: float = 3600.0
    folder: Path | None = None
