"""What of a chunk is new, and which chunks are refused, in one stream and in a resumed upload."""

from __future__ import annotations

import google_crc32c
import pytest

from mesh.errors import ArtStoreError, DataLoss, OutOfRange, ResourceExhausted
from storage_server.uploads.chunks import MAX_CHUNK_BYTES, new_bytes

DATA = b"0123456789"


@pytest.mark.parametrize(
    ("offset", "at", "new"),
    [
        (0, 0, DATA),
        (40, 40, DATA),
        (40, 43, DATA[3:]),
        (40, 49, DATA[9:]),
        (40, 50, b""),
        (40, 90, b""),
    ],
)
def test_a_resumed_upload_skips_what_came_before(offset: int, at: int, new: bytes) -> None:
    assert new_bytes(DATA, None, offset=offset, at=at, declared=None, resumed=True) == new


def test_a_chunk_that_came_before_is_not_looked_at() -> None:
    assert new_bytes(DATA, 1, offset=0, at=10, declared=5, resumed=True) == b""


@pytest.mark.parametrize("offset", [39, 41])
def test_in_one_stream_a_chunk_begins_where_the_last_one_ended(offset: int) -> None:
    assert new_bytes(DATA, None, offset=40, at=40, declared=50, resumed=False) == DATA
    with pytest.raises(OutOfRange) as error:
        new_bytes(DATA, None, offset=offset, at=40, declared=None, resumed=False)
    assert (error.value.reason, error.value.metadata) == ("GAP", {"expected_offset": "40"})
    assert "GetUpload" not in error.value.message


def test_a_gap_in_a_resumed_upload_says_how_to_go_on() -> None:
    with pytest.raises(OutOfRange, match="ask GetUpload and go on from there") as error:
        new_bytes(DATA, None, offset=41, at=40, declared=None, resumed=True)
    assert (error.value.reason, error.value.metadata) == ("GAP", {"expected_offset": "40"})


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(
    ("data", "crc32c", "declared", "kind", "reason"),
    [
        (DATA, 1, None, DataLoss, "CHECKSUM_MISMATCH"),
        (DATA, google_crc32c.value(DATA), 49, DataLoss, "SIZE_MISMATCH"),
        (b"x" * (MAX_CHUNK_BYTES + 1), None, None, ResourceExhausted, "CHUNK_TOO_LARGE"),
    ],
)
def test_a_chunk_that_is_not_as_it_was_sent_is_refused(
    resumed: bool,
    data: bytes,
    crc32c: int | None,
    declared: int | None,
    kind: type[ArtStoreError],
    reason: str,
) -> None:
    with pytest.raises(kind) as error:
        new_bytes(data, crc32c, offset=40, at=40, declared=declared, resumed=resumed)
    assert error.value.reason == reason
