"""What of an element is told to whom."""

from __future__ import annotations

import pytest

from artstore.v1.elements_pb2 import StorageElement
from mesh.elements.disclosure import told_to
from mesh.identity.caller import Caller, Role

MIB = 2**20
EVERY = frozenset({"*"})


def told(capacity: int, used: int, reserved: int, reads: frozenset[str]) -> StorageElement:
    element = StorageElement(
        capacity_bytes=capacity, used_bytes=used, reserved_bytes=reserved, file_count=3
    )
    return told_to(Caller("somebody", Role.READONLY, reads), element)


@pytest.mark.parametrize(
    ("used", "shown"),
    [
        (0, 0),
        (1, 64 * MIB),
        (64 * MIB, 64 * MIB),
        (64 * MIB + 1, 128 * MIB),
        (990 * MIB, 1000 * MIB),
        (1100 * MIB, 1100 * MIB),
    ],
)
def test_who_reads_some_namespaces_is_told_room_in_steps_and_others_to_the_byte(
    used: int, shown: int
) -> None:
    some = told(1000 * MIB, used, 5, frozenset({"mine"}))
    assert (some.used_bytes, some.reserved_bytes, some.file_count) == (shown, 64 * MIB, 0)
    whole = told(1000 * MIB, used, 5, EVERY)
    assert (whole.used_bytes, whole.reserved_bytes, whole.file_count) == (used, 5, 3)
