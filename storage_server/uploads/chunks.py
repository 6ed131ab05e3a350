"""Chunks of both kinds of uploads: what of one is new, and whether it is as it was sent."""

from __future__ import annotations

from mesh.checksum import crc32c as checksum
from mesh.contract import MAX_CHUNK_BYTES
from mesh.errors import DataLoss, OutOfRange, ResourceExhausted


def new_bytes(
    data: bytes | memoryview,
    crc32c: int | None,
    *,
    offset: int,
    at: int,
    declared: int | None,
    resumed: bool,
) -> bytes | memoryview:
    """What of a chunk was not accepted before; empty when all of it was.

    Args:
        offset: where the chunk says that it begins.
        at: where the last one ended.
        declared: size of the whole, None when it was not declared.
        resumed: the sender may go back, so what came before is skipped. In one stream a chunk
            begins where the last one ended.

    Raises:
        OutOfRange: it does not begin where it must (reason GAP).
        DataLoss: its checksum differs, or it goes beyond the declared size.
        ResourceExhausted: it is over 2 MiB.
    """
    end = offset + len(data)
    if offset > at or (offset < at and not resumed):
        raise _gap(offset, at, "; ask GetUpload and go on from there" if resumed else "")
    if resumed and end <= at:
        return b""
    if len(data) > MAX_CHUNK_BYTES:
        raise ResourceExhausted(
            f"a chunk holds at most {MAX_CHUNK_BYTES} bytes, this one {len(data)}",
            reason="CHUNK_TOO_LARGE",
        )
    if crc32c is not None and checksum(data) != crc32c:
        raise DataLoss("a chunk's crc32c does not match its bytes", reason="CHECKSUM_MISMATCH")
    if declared is not None and end > declared:
        raise DataLoss(
            f"more bytes come than the {declared} that were declared", reason="SIZE_MISMATCH"
        )
    # A view would hold all of the message for the little that is new.
    return data if offset == at else bytes(data[at - offset :])


def _gap(offset: int, at: int, advice: str) -> OutOfRange:
    return OutOfRange(
        f"the chunk begins at {offset}, {at} was expected{advice}",
        reason="GAP",
        metadata={"expected_offset": str(at)},
    )
