"""Many files of one element, laid down in its store: uploading each would take an hour.

One file is uploaded through the service. The others have its blob and its sidecar, with ids,
names, folders and times of their own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from artstore.v1 import types_pb2

SIDECAR_SUFFIX = ".attr.json"
FILES_A_FOLDER = 1000
HEADER = types_pb2.UploadHeader(
    original_filename="Quarterly report 2024 (final).pdf",
    content_type="application/pdf",
    description="Figures of the third quarter, as agreed with the auditors",
    version="1.2",
    tags=["finance", "quarterly", "approved"],
    attributes={"department": "accounting", "project": "Q3-2024"},
    retention_policy=types_pb2.RETENTION_POLICY_PERMANENT,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Population:
    """The files made so far, a thousand in each folder `YYYY/MM/DD/HH` of the past weeks.

    Args:
        root: folder of the element.
        template: the file that was uploaded.
    """

    def __init__(self, root: Path, template: types_pb2.File) -> None:
        self._root = root
        blob = root / template.storage_path / template.storage_filename
        self._content = blob.read_bytes()
        self._blob = str(blob)
        sidecar: Mapping[str, Any] = orjson.loads(Path(f"{blob}{SIDECAR_SUFFIX}").read_bytes())
        self._sidecar = sidecar
        name = Path(template.storage_filename)
        # The name ends with `_{YYYYMMDDTHHMMSS}_{file_id}`.
        self._stem, self._extension = name.stem.rsplit("_", 2)[0], name.suffix
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self._begin = now - timedelta(days=30)
        self.file_ids = [template.file_id]

    def grow(self, total: int) -> None:
        """Write files until there are `total`, the uploaded one among them. Blocks."""
        while len(self.file_ids) < total:
            number = len(self.file_ids)
            hour, rest = divmod(number, FILES_A_FOLDER)
            at = self._begin + timedelta(hours=hour, seconds=3600 * rest // FILES_A_FOLDER)
            self.file_ids.append(self._write(at))

    def _write(self, at: datetime) -> str:
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
        path = f"{self._root}/{folder}/{name}"
        try:
            os.link(self._blob, path)
        except FileNotFoundError:
            self._begin_folder(folder, path)
        fd = os.open(path + SIDECAR_SUFFIX, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(fd, orjson.dumps(sidecar))
        finally:
            os.close(fd)
        return file_id

    def _begin_folder(self, folder: str, blob: str) -> None:
        """Make a folder with its first blob; the others in it are links to that."""
        (self._root / folder).mkdir(parents=True)
        Path(blob).write_bytes(self._content)
        self._blob = blob


def file_id_of(at: datetime) -> str:
    """A UUIDv7 of a moment in whole milliseconds."""
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
    noise = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64 | 0b10 << 62
    return str(uuid.UUID(int=value | noise & (1 << 62) - 1))
