"""Whether the file that an element answers is the one that was meant."""

from __future__ import annotations

from artstore.v1 import types_pb2
from artstore_client import errors
from artstore_client.local.digest import RunningDigest
from artstore_client.uploads.outgoing import catch_up
from artstore_client.uploads.sources import Source


def check_answer(file: types_pb2.File, size_bytes: int, sha256: str) -> None:
    """Compare what the element says it stored with what was read.

    Raises:
        DataLoss: it is something else.
    """
    if file.size_bytes != size_bytes or (file.sha256 and file.sha256 != sha256):
        raise errors.DataLoss(
            f"file {file.file_id} was stored with {file.size_bytes} bytes, sha256 {file.sha256}, "
            f"but {size_bytes} bytes, sha256 {sha256}, were sent. Delete it and upload again.",
            reason="STORED_FILE_DIFFERS",
            metadata={"file_id": file.file_id},
        )


async def check_repeat(source: Source, file: types_pb2.File, request_id: str) -> None:
    """Compare a source with the file that its request id made earlier; one read only once passes.

    Raises:
        AlreadyExists: that file has other bytes.
        OSError: the source can't be read.
    """
    if not source.seekable:
        return
    digest = RunningDigest()
    size = source.size_bytes or 0
    await catch_up(source, size, digest)
    if (file.size_bytes, file.sha256) != (size, digest.sha256):
        raise errors.AlreadyExists(
            f"request id {request_id} was used for file {file.file_id}, which has other bytes."
            f" {errors.AlreadyExists.advice}",
            reason="REQUEST_ID_USED",
            metadata={"file_id": file.file_id},
        )
