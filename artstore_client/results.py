"""What uploads and downloads answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from artstore.v1 import elements_pb2, types_pb2
from artstore_client.errors import ArtStoreError

Progress = Callable[[int, int | None], None]
"""Called with (bytes done, bytes in all or None), often; keep it quick."""


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file as the element committed it.

    Attributes:
        file: its description.
        change_token: pass it to `search` to wait until the index has the file.
        resumed_at_bytes: offset at which this call took up an upload that an earlier process had
            begun; 0 when it sent everything itself.
    """

    file: types_pb2.File
    change_token: str = ""
    resumed_at_bytes: int = 0

    @property
    def file_id(self) -> str:
        """Id of the file."""
        return self.file.file_id


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file, or a range of it, that was written to a target.

    Attributes:
        file: its description.
        size_bytes: bytes written.
        path: where they are; None when the target was a file object.
        verified: the SHA-256 of the whole file was compared (not possible for a range).
    """

    file: types_pb2.File
    size_bytes: int
    path: Path | None
    verified: bool


@dataclass(frozen=True, slots=True)
class ElementReport:
    """A storage element that was asked for its state: `element`, or the `error` it gave.

    Attributes:
        last_report: of one that gave an error, what admin last heard from it and when
            (`reported_at`); None when admin does not know it or was not reached.
    """

    storage_element_id: str
    endpoint: str
    element: elements_pb2.StorageElement | None = None
    error: ArtStoreError | None = None
    last_report: elements_pb2.StorageElement | None = None
