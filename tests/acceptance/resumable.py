"""A resumable upload as its caller holds it: an id, a token, and where its element is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from artstore.v1 import types_pb2, uploads_pb2
from tests.support.outside import CHUNK_BYTES, Outside


@dataclass(frozen=True)
class HeldUpload:
    """An upload that `caller` goes on with, on its element."""

    caller: Outside
    element_id: str
    upload_id: str
    token: str

    @classmethod
    def start(cls, caller: Outside, name: str, **said: Any) -> HeldUpload:
        """Open an upload through ingest, or get the one of this request_id again."""
        request = uploads_pb2.StartUploadRequest(
            header=uploads_pb2.UploadHeader(original_filename=name, **said)
        )
        opened = caller.ingest.StartUpload(request, **caller.auth)
        return cls(caller, opened.storage_element_id, opened.upload_id, opened.upload_token)

    def state(self) -> tuple[int, types_pb2.File | None]:
        """Bytes on record, and the file if it is committed."""
        request = uploads_pb2.GetUploadRequest(upload_id=self.upload_id)
        answer = self._stub.GetUpload(request, **self._auth)
        return answer.committed_size_bytes, answer.file if answer.HasField("file") else None

    def write(self, content: bytes, *, start: int) -> int:
        """Send what follows `start` of the whole `content`, and return the bytes on record."""
        kept: int = self._stub.WriteUpload(
            self._parts(content, start), **self._auth
        ).committed_size_bytes
        return kept

    def commit(self, size_bytes: int, sha256: str) -> types_pb2.File:
        """Make the file."""
        request = uploads_pb2.CommitUploadRequest(
            upload_id=self.upload_id, size_bytes=size_bytes, sha256=sha256
        )
        file: types_pb2.File = self._stub.CommitUpload(request, **self._auth).file
        return file

    def _parts(self, content: bytes, start: int) -> Iterator[Any]:
        yield uploads_pb2.WriteUploadRequest(upload_id=self.upload_id)
        for offset in range(start, len(content), CHUNK_BYTES):
            chunk = types_pb2.Chunk(offset=offset, data=content[offset : offset + CHUNK_BYTES])
            yield uploads_pb2.WriteUploadRequest(upload_id=self.upload_id, chunk=chunk)

    @property
    def _stub(self) -> Any:
        return self.caller.storage(self.element_id)

    @property
    def _auth(self) -> dict[str, Any]:
        auth = self.caller.auth
        return {**auth, "metadata": [*auth["metadata"], ("artstore-upload-token", self.token)]}
