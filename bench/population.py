"""Many files of one element, laid down in its store: uploading each would take an hour.

One file is uploaded through the service. The others have its blob and its sidecar, with ids,
names, folders and times of their own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import orjson

from artstore.v1 import types_pb2, uploads_pb2

SIDECAR_SUFFIX = ".attr.json"
FILES_A_FOLDER = 1000
HEADER = uploads_pb2.UploadHeader(
    original_filename="Quarterly report 2024 (final).pdf",
    content_type="application/pdf",
    description="Figures of the third quarter, as agreed with the auditors",
    version="1.2",
    tags=["finance", "quarterly", "approved"],
    attributes={"department": "accounting", "project": "Q3-2024"},
    retention_policy=types_pb2.RETENTION_POLICY_PERMANENT,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Place(Protocol):
    """An element's folder or prefix. Paths are relative to it. Its methods block."""

    def read(self, path: str) -> bytes:
        """One file."""

    def lay(self, sidecars: Iterable[tuple[str, bytes]], content: bytes) -> None:
        """Write files: for each the path of its blob, whose bytes all have, and its sidecar."""


class Folder:
    """A place on disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._blob = ""

    def read(self, path: str) -> bytes:
        """See `Place`."""
        return (self._root / path).read_bytes()

    def lay(self, sidecars: Iterable[tuple[str, bytes]], content: bytes) -> None:
        """See `Place`. The blobs of a folder are links to its first one."""
        for path, sidecar in sidecars:
            blob = f"{self._root}/{path}"
            try:
                os.link(self._blob, blob)
            except FileNotFoundError:
                Path(blob).parent.mkdir(parents=True, exist_ok=True)
                Path(blob).write_bytes(content)
                self._blob = blob
            fd = os.open(blob + SIDECAR_SUFFIX, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                os.write(fd, sidecar)
            finally:
                os.close(fd)


class Population:
    """The files made so far, so many in each folder `YYYY/MM/DD/HH` of the past weeks.

    Args:
        place: the element's.
        template: the file that was uploaded.
        files_a_folder: how many files each folder gets.
    """

    def __init__(
        self, place: Place, template: types_pb2.File, files_a_folder: int = FILES_A_FOLDER
    ) -> None:
        self._place = place
        self._files_a_folder = files_a_folder
        blob = f"{template.storage_path}/{template.storage_filename}"
        self._content = place.read(blob)
        sidecar: Mapping[str, Any] = orjson.loads(place.read(blob + SIDECAR_SUFFIX))
        self._sidecar = sidecar
        name = Path(template.storage_filename)
        # The name ends with `_{YYYYMMDDTHHMMSS}_{file_id}`.
        self._stem, self._extension = name.stem.rsplit("_", 2)[0], name.suffix
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self._begin = now - timedelta(days=90)
        self.file_ids = [template.file_id]

    def grow(self, total: int) -> None:
        """Write files until there are `total`, the uploaded one among them. Blocks."""
        self._place.lay(self._new(total), self._content)

    def _new(self, total: int) -> Iterator[tuple[str, bytes]]:
        while len(self.file_ids) < total:
            number = len(self.file_ids)
            hour, rest = divmod(number, self._files_a_folder)
            at = self._begin + timedelta(hours=hour, seconds=3600 * rest // self._files_a_folder)
            yield self._file(at)

    def _file(self, at: datetime) -> tuple[str, bytes]:
        file_id = file_id_of(at)
        folder = f"{at:%Y/%m/%d/%H}"
        name = f"{self._stem}_{at:%Y%m%dT%H%M%S}_{file_id}{self._extension}"
        moment = f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"
        sidecar = dict(self._sidecar) | {
            "file_id": file_id,
            "storage_path": folder,
            "storage_filename": name,
            "created_at": moment,
            "updated_at": moment,
        }
        self.file_ids.append(file_id)
        return f"{folder}/{name}", orjson.dumps(sidecar)


def file_id_of(at: datetime) -> str:
    """A UUIDv7 of a moment in whole milliseconds."""
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
    noise = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64 | 0b10 << 62
    return str(uuid.UUID(int=value | noise & (1 << 62) - 1))
