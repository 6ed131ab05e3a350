"""How a blob is cut into parts, and how many of them are under way."""

from __future__ import annotations

import pytest

from mesh.errors import ResourceExhausted
from storage_server.store.s3_stage import part_bytes, parts_in_flight

MIB = 1 << 20
MOST_BYTES_IN_MEMORY = 128 * MIB


@pytest.mark.parametrize("number", [1, 1000, 1001, 2000, 2001, 2501, 10_000])
def test_two_to_four_parts_are_in_flight_whatever_the_size_of_the_file(number: int) -> None:
    size = part_bytes(number)
    assert 2 <= parts_in_flight(size) <= 4
    # One more fills meanwhile, and one is being joined.
    assert size * (parts_in_flight(size) + 2) <= MOST_BYTES_IN_MEMORY


def test_largest_blob_is_of_ten_thousand_parts() -> None:
    assert sum(map(part_bytes, range(1, 10_001))) > 250 << 30
    with pytest.raises(ResourceExhausted):
        part_bytes(10_001)
