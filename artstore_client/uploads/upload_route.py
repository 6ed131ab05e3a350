"""The two ways to a resumable upload: straight to its element, or through ingest."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from artstore.v1 import ingest_pb2_grpc, storage_pb2_grpc, types_pb2, uploads_pb2
from artstore_client.calls.calls import Calls
from artstore_client.results import UploadedFile
from artstore_client.uploads.sending import send_stream
from artstore_client.uploads.state_file import UploadTicket


@dataclass(frozen=True, slots=True)
class UploadRoute:
    """Calls on an upload; both services take the same messages.

    Build it with `direct` or `through_ingest`.
    """

    name: str
    calls: Calls
    stub: Any

    @classmethod
    def direct(
        cls, name: str, calls: Calls, stub: storage_pb2_grpc.StorageServiceAsyncStub
    ) -> UploadRoute:
        """To the element `name`."""
        return cls(name, calls, stub)

    @classmethod
    def through_ingest(
        cls, calls: Calls, stub: ingest_pb2_grpc.IngestServiceAsyncStub
    ) -> UploadRoute:
        """Through ingest, when the element can't be reached from here."""
        return cls("ingest", calls, stub)

    async def position(self, ticket: UploadTicket) -> tuple[int, types_pb2.File | None]:
        """Bytes that the element has, and the file if it is committed.

        Raises:
            ArtStoreError: NotFound when the upload is gone, and whatever a call may raise.
        """
        answer = await self.calls.unary(
            self.stub.GetUpload,
            uploads_pb2.GetUploadRequest(upload_id=ticket.upload_id),
            doing=f"GetUpload on {self.name}",
            upload_token=ticket.upload_token,
        )
        return answer.committed_size_bytes, answer.file if answer.HasField("file") else None

    async def write(self, ticket: UploadTicket, messages: AsyncGenerator[bytes, None]) -> int:
        """Send chunks as `messages`; answers the bytes that the element has for sure."""
        answer = await send_stream(
            self.calls,
            self.stub.WriteUpload,
            # Without a chunk: the server accepts the upload before any byte is on its way.
            uploads_pb2.WriteUploadRequest(upload_id=ticket.upload_id),
            messages,
            doing=f"WriteUpload on {self.name}",
            upload_token=ticket.upload_token,
        )
        return int(answer.committed_size_bytes)

    async def commit(
        self,
        ticket: UploadTicket,
        size_bytes: int,
        sha256: str,
        *,
        timeout_seconds: float | None = None,
    ) -> UploadedFile:
        """Make the file; once it is made, answer it again.

        Args:
            timeout_seconds: default `Timeouts.commit`.

        Raises:
            DataLoss: size or digest are not what the element has.
            OutOfRange: the element has not got all bytes yet.
        """
        answer = await self.calls.unary(
            self.stub.CommitUpload,
            uploads_pb2.CommitUploadRequest(
                upload_id=ticket.upload_id, size_bytes=size_bytes, sha256=sha256
            ),
            doing=f"CommitUpload on {self.name}",
            upload_token=ticket.upload_token,
            timeout_seconds=timeout_seconds or self.calls.timeouts.commit,
        )
        return UploadedFile(answer.file, answer.change_token)

    async def abort(self, ticket: UploadTicket) -> None:
        """End the upload and free its room."""
        await self.calls.unary(
            self.stub.AbortUpload,
            uploads_pb2.AbortUploadRequest(upload_id=ticket.upload_id),
            doing=f"AbortUpload on {self.name}",
            upload_token=ticket.upload_token,
        )
