"""Which replica is a file's home, and whom a reader asks, while feeds arrive in any order."""

from __future__ import annotations

from itertools import permutations

import pytest

from mesh.elements.home import Replica, follow, has_ended, home, in_reading_order

T0, T1, T2 = 1_000, 2_000, 3_000


def told(element_id: str, state: str, since: int = T0, revision: int = 1, to: str = "") -> Replica:
    return Replica(element_id, state, since, revision, to)


@pytest.mark.parametrize(
    ("replicas", "order"),
    [
        # A switch, whichever feed comes first: never none, never two.
        ([told("a", "active"), told("b", "incoming")], "a"),
        ([told("a", "moved", revision=2), told("b", "incoming")], "a"),
        ([told("a", "active"), told("b", "active", T1, 2)], "ba"),
        ([told("a", "moved", revision=2), told("b", "active", T1, 2)], "ba"),
        ([told("a", "gone", revision=2), told("b", "active", T1, 2)], "b"),
        # The later home is right, whatever the revision; of equal ones the lower id.
        ([told("a", "active", revision=9), told("b", "active", T1)], "ba"),
        ([told("b", "active", revision=2), told("a", "active")], "ba"),
        ([told("b", "active"), told("a", "active")], "ab"),
        # A home before its copies, also before one that is ahead of it.
        ([told("a", "copy", revision=2), told("b", "active"), told("c", "copy")], "bac"),
        # Copies, while their home is not known.
        ([told("a", "copy"), told("b", "copy", T1)], "ba"),
        # What has ended is read nowhere; what came to life later is.
        ([told("a", "deleted", T1, 3), told("b", "copy", T1, 2)], ""),
        ([told("a", "deleted", T1, 3), told("b", "moved")], ""),
        ([told("a", "deleted"), told("b", "active", T1)], "b"),
        ([told("a", "deleted"), told("b", "copy", T1)], "b"),
        ([told("a", "erased"), told("b", "active", T2)], ""),
        ([told("a", "gone"), told("b", "incoming")], ""),
        ([], ""),
    ],
)
def test_a_reader_asks_the_home_then_the_copies(replicas: list[Replica], order: str) -> None:
    for arrived in permutations(replicas):
        assert "".join(one.element_id for one in in_reading_order(arrived)) == order


def test_a_tombstone_is_believed_only_while_nothing_later_is_known() -> None:
    tombstone = told("a", "deleted", T0, 3)
    assert has_ended([tombstone])
    assert has_ended([tombstone, told("b", "copy", T0, 3), told("c", "moved", T0, 2)])
    assert not has_ended([tombstone, told("b", "gone", T1)])
    assert not has_ended([tombstone, told("b", "active", T0, 4)])
    assert not has_ended([told("b", "gone", T1)])
    assert has_ended([told("a", "erased", T0), told("b", "active", T2, 9)])


def test_copies_alone_say_nothing_of_whether_there_is_a_file() -> None:
    assert home([told("a", "copy"), told("b", "incoming"), told("c", "gone")]) is None
    found = home([told("a", "moved", T0, 2), told("b", "copy", T1)])
    assert found is not None
    assert found.element_id == "a"


def test_where_a_file_went_is_followed_as_long_as_its_homes_grow_later() -> None:
    moved = told("a", "moved", T1, to="b")
    assert follow(moved, {"a": T1}) == "b"
    assert follow(moved, {"a": T1, "b": T0}) == "b"
    assert follow(moved, {"a": T1, "b": T1}) == ""
    assert follow(moved, {"a": T1, "b": T2}) == ""
    assert follow(told("a", "active"), {}) == ""
