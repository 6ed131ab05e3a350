"""What comes next, line by line: the sidecars that were found, and the step."""

from __future__ import annotations

import pytest

from admin_server.life.next_steps import Collect, Seen, Terms, erasure, next_steps
from mesh.errors import FailedPrecondition, Unavailable
from tests.unit.life.small import DEAD, ELEMENTS, HELD, NOW, Small, copy
from tests.unit.life.story import Story
from tests.unit.life.world import CLOSED, CUT, UP, Record, canonical

TEXT, NEWER = 0, 8
ACTIVE = Small("active", 1, 3, TEXT)
COPY = Small("copy", 1, 3, TEXT)
BEHIND = Small("copy", 1, 2, TEXT)
INCOMING = Small("incoming", 1, 3, TEXT)
MOVED = Small("moved", 1, 4, TEXT, to=1)
LEFT = Small("moved", 0, 4, TEXT, to=0)
GONE = Small("gone", 0, 4, -1, to=0, has_bytes=False)
DELETED = Small("deleted", 1, 4, DEAD, 1)
OF_DELETED = Small("copy", 1, 4, DEAD, 1)
ERASED = Small("erased", 1, 4, -1, has_bytes=False)
EMPTY = Small("deleted", 1, 4, DEAD, 2, has_bytes=False, old=True)


def old(one: Small) -> Small:
    return one._replace(old=True)


LINES = {
    "erased anywhere": ((ERASED, COPY, None), 2, ["erase 1"]),
    "erased, and no second witness": ((ERASED, None, None), 1, ["erase 1"]),
    "two active": ((ACTIVE, Small("active", 2, 1, TEXT), None), 1, ["sync 0"]),
    "a later active one and a tombstone": (
        (Small("deleted", 0, 9, DEAD, 1), ACTIVE, None),
        1,
        ["collect 0"],
    ),
    "active, and a copy of a later home": (
        (ACTIVE, Small("copy", 2, 1, TEXT), None),
        1,
        ["collect 0"],
    ),
    "active, moved elsewhere lately": ((ACTIVE, LEFT, None), 1, []),
    "active, moved elsewhere long ago": ((ACTIVE, old(LEFT), None), 1, ["collect 1"]),
    "active without its bytes, moved long ago": (
        (ACTIVE._replace(has_bytes=False), old(LEFT), None),
        1,
        ["heal 0"],
    ),
    "active, incoming for days": ((ACTIVE, old(INCOMING), None), 1, ["collect 1"]),
    "active, a copy that is behind": ((ACTIVE, BEHIND, None), 2, ["sync 1"]),
    "active, too many copies": ((ACTIVE, COPY, COPY), 2, ["collect 2"]),
    "active, too few copies": ((ACTIVE, None, None), 2, ["pull 1"]),
    "deleted, bytes in the trash": ((DELETED, COPY, INCOMING), 2, ["sync 1", "collect 2"]),
    "deleted, known to its copy": ((DELETED, OF_DELETED, GONE), 2, []),
    "deleted, without bytes": ((EMPTY, OF_DELETED, old(GONE)), 2, ["collect 1"]),
    "deleted, only stubs": ((EMPTY, None, old(GONE)), 1, ["collect 2"]),
    "deleted, nothing else": ((EMPTY, None, None), 1, ["collect 0"]),
    "moved, the same text at its target": ((MOVED, INCOMING, None), 1, ["activate 1"]),
    "moved, another text at its target": (
        (MOVED._replace(text=NEWER), INCOMING, None),
        1,
        ["sync 1"],
    ),
    "no home": ((BEHIND, COPY, None), 2, ["activate 1"]),
    "only stubs": ((GONE, None, None), 1, []),
    "nothing": ((None, None, None), 1, []),
}


def story(
    found: tuple[Small | None, ...],
    copies: int = 1,
    phases: tuple[int, ...] = (UP, UP, UP),
    record: Record | None = None,
) -> Story:
    told = Story(*found, copies=copies)
    told.world = canonical(told.world._replace(phases=phases, record=record or Record()))
    return told


@pytest.mark.parametrize("line", LINES)
def test_the_first_line_that_fits(line: str) -> None:
    found, copies, steps = LINES[line]
    assert story(found, copies).wanted() == steps


@pytest.mark.parametrize(
    ("found", "phases", "steps"),
    [
        # A switch ends though others are silent; nothing else is made the home from silence.
        ((MOVED, INCOMING, None), (UP, UP, CUT), ["activate 1"]),
        ((MOVED, INCOMING, None), (UP, CUT, UP), []),
        ((BEHIND, COPY, None), (UP, UP, CUT), []),
        # A stub of a later home: the switch is not ended from silence.
        ((MOVED, INCOMING, Small("gone", 2, 1, -1, to=1)), (UP, UP, UP), ["activate 0"]),
        # Nothing is purged, and no copy made, while somebody is silent.
        ((EMPTY, None, old(GONE)), (UP, CUT, UP), []),
        # A closed home takes up what followed it; an open one is ADMIN's to call restored.
        ((ACTIVE, Small("copy", 1, 4, NEWER), None), (CLOSED, UP, UP), ["sync 0"]),
        ((ACTIVE, Small("copy", 1, 4, NEWER), None), (CLOSED, UP, CUT), []),
        ((ACTIVE, Small("copy", 1, 4, NEWER), None), (UP, UP, UP), []),
        ((ACTIVE, BEHIND, None), (CLOSED, UP, UP), []),
        # Only on closed elements: set aside.
        ((COPY, None, None), (CLOSED, UP, UP), ["aside 0"]),
        ((COPY, None, None), (CLOSED, UP, CUT), []),
        ((COPY, BEHIND, None), (CLOSED, UP, UP), ["activate 0"]),
        ((COPY, Small("gone", 0, 1, -1, to=0), None), (CLOSED, UP, UP), ["activate 0"]),
    ],
)
def test_silence_and_closed_elements(
    found: tuple[Small | None, ...], phases: tuple[int, ...], steps: list[str]
) -> None:
    copies = sum(one is not None and one.state in ("active", "copy") for one in found)
    assert story(found, max(1, copies), phases).wanted() == steps


@pytest.mark.parametrize(
    ("found", "kind", "steps"),
    [
        ((ACTIVE, None, None), "move", ["pull 1"]),
        ((ACTIVE, old(GONE), None), "move", ["pull 1"]),
        ((ACTIVE, LEFT, None), "move", ["pull 1"]),
        ((ACTIVE, BEHIND._replace(text=NEWER), None), "move", ["sync 1"]),
        ((ACTIVE, INCOMING, None), "move", ["moved 0"]),
        ((ACTIVE, INCOMING, None), "finalize", ["moved 0"]),
        ((ACTIVE, COPY, None), "move", ["moved 0"]),
        ((ACTIVE, None, None), "copy", ["pull 1"]),
    ],
)
def test_a_transfer(found: tuple[Small | None, ...], kind: str, steps: list[str]) -> None:
    record = Record(transfer=(kind, 0, 1))
    assert story(found, record=record).wanted()[:1] == steps
    # Nothing of it while its target is silent, or was away.
    for phase in (CUT, CLOSED):
        told = story(found, phases=(UP, phase, UP), record=record)
        assert not {"pull 1", "moved 0"} & set(told.wanted())


def test_a_held_surplus_copy_goes_only_after_the_homes_bytes_were_read_back() -> None:
    for bits in (0, HELD):
        found = [copy(0, ACTIVE._replace(text=bits)), copy(1, COPY._replace(text=bits))]
        seen = Seen(copies=tuple(found), answered=frozenset(ELEMENTS), everybody=True)
        (step,) = next_steps(seen, Terms(), NOW)
        assert isinstance(step, Collect)
        assert step.read_back is bool(bits)


def erased_first(*found: Small | None, making: bool = False) -> list[str]:
    copies = tuple(copy(number, one) for number, one in enumerate(found) if one is not None)
    seen = Seen(
        copies=copies,
        answered=frozenset(ELEMENTS[: len(found)]),
        everybody=True,
        making_home=making,
    )
    return [step.element_id for step in erasure(seen)]


def test_erasing_begins_at_the_home_and_within_a_switch_at_both_its_ends() -> None:
    assert erased_first(COPY, ACTIVE) == ["se-1"]
    assert erased_first(MOVED, INCOMING) == ["se-0", "se-1"]
    assert erased_first(GONE, None) == ["se-0"]
    assert erased_first(None, None) == ["se-0"]


def test_erasing_is_refused_under_a_hold_and_while_a_home_is_being_made() -> None:
    for found in ((ACTIVE, COPY), (MOVED, INCOMING), (COPY, None)):
        held = [one if one is None else one._replace(text=HELD) for one in found]
        with pytest.raises(FailedPrecondition) as refused:
            erased_first(*held)
        assert refused.value.reason == "LEGAL_HOLD"
    with pytest.raises(Unavailable):
        erased_first(ACTIVE, making=True)
    with pytest.raises(Unavailable):
        erased_first()


@pytest.mark.parametrize(
    ("found", "everybody", "ruled_out"),
    [
        ((ACTIVE, None), True, True),
        ((ACTIVE, GONE), True, True),
        ((ACTIVE, None), False, False),
        ((ACTIVE, INCOMING), True, False),
        ((ACTIVE, COPY), True, False),
        ((ACTIVE, MOVED), True, False),
        ((MOVED, None), True, False),
        ((None, GONE), True, False),
        ((None, None), True, False),
    ],
)
def test_that_no_home_is_being_made_shows_where_nothing_could_become_one(
    found: tuple[Small | None, ...], everybody: bool, ruled_out: bool
) -> None:
    copies = tuple(copy(number, one) for number, one in enumerate(found) if one is not None)
    seen = Seen(copies=copies, answered=frozenset(ELEMENTS), everybody=everybody)
    assert seen.rules_out_unknown_homes is ruled_out
    lost = Seen(copies=copies, answered=frozenset(), lost=frozenset({"se-9"}), everybody=True)
    assert not lost.rules_out_unknown_homes
