"""The bytes of an upload, on their way into the write of its file."""

from __future__ import annotations

import time
from collections.abc import Callable

from mesh.errors import DataLoss
from storage_server.domain.sidecar import Sidecar
from storage_server.store.port import SealedBlob, Stage
from storage_server.uploads.header import completed
from storage_server.writing.protocol import Write


class Differs(DataLoss):
    """The blob is not what was declared."""


async def make_file(
    write: Write,
    stage: Stage,
    draft: Sidecar,
    check: Callable[[SealedBlob], None],
    *,
    deadline: float | None,
) -> None:
    """Seal the bytes, put them in place, and write the sidecar: then there is a file.

    Args:
        draft: the sidecar without size and digests.
        check: raises when the blob is not what was declared; may be called twice.
        deadline: the caller's, in seconds of `time.monotonic`; None when it has none. A store
            may take that long to put the blob together.

    Raises:
        SidecarUncertain: it is open whether there is a file.
        ArtStoreError: there is none.
    """
    seconds_left = None if deadline is None else deadline - time.monotonic()
    blob = await stage.seal(check, seconds_left=seconds_left)
    await stage.place()
    await write.sidecar(completed(draft, blob))


def compare(blob: SealedBlob, *, size_bytes: int | None, sha256: tuple[str | None, ...]) -> None:
    """Raise Differs when the blob is not what was declared."""
    if size_bytes is not None and blob.size_bytes != size_bytes:
        raise Differs(
            f"{blob.size_bytes} bytes came, {size_bytes} were declared", reason="SIZE_MISMATCH"
        )
    for declared in sha256:
        if declared is not None and declared != blob.sha256:
            raise Differs(
                f"the bytes have SHA-256 {blob.sha256}, {declared} was declared",
                reason="CHECKSUM_MISMATCH",
            )
