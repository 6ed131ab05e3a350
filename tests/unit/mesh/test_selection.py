"""Sequential Fill."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mesh.contract import MAX_REPORT_AGE_SECONDS
from mesh.elements.seen import Mode, SeenElement
from mesh.elements.selection import choose
from tests.support.elements import NOW, an_element

FULL_PERCENT = {Mode.EDIT: 99, Mode.RW: 98}


def ids(elements: Any, **arguments: Any) -> list[str]:
    values: dict[str, Any] = {"mode": Mode.EDIT, "size_bytes": None, "now": NOW}
    return [e.element_id for e in choose(elements, **values | arguments).candidates]


elements = st.lists(
    st.builds(
        SeenElement,
        element_id=st.integers(0, 9).map(lambda n: f"se-0{n}"),
        endpoint=st.just("localhost:1"),
        mode=st.sampled_from(Mode),
        priority=st.integers(0, 3),
        capacity_bytes=st.integers(0, 2000),
        used_bytes=st.integers(0, 1500),
        reserved_bytes=st.integers(0, 500),
        writable=st.booleans(),
        is_writer=st.booleans(),
        full=st.booleans(),
        reported_at=st.just(NOW),
        heard_at=st.floats(NOW - 30, NOW),
    ),
    max_size=8,
    unique_by=lambda element: element.element_id,
)
modes = st.sampled_from([Mode.EDIT, Mode.RW])
sizes = st.none() | st.integers(0, 1500)


@given(elements, modes, sizes)
def test_every_candidate_is_healthy_of_the_mode_and_has_room(
    known: list[SeenElement], mode: Mode, size: int | None
) -> None:
    for element in choose(known, mode=mode, size_bytes=size, now=NOW).candidates:
        assert element.mode is mode
        assert element.writable
        assert element.is_writer
        assert not element.full
        assert NOW - element.heard_at <= MAX_REPORT_AGE_SECONDS
        taken = element.used_bytes + element.reserved_bytes + (size or 0)
        assert taken * 100 <= element.capacity_bytes * FULL_PERCENT[mode]


@given(elements, modes, sizes)
def test_nothing_that_qualifies_is_left_out_and_priority_decides_the_order(
    known: list[SeenElement], mode: Mode, size: int | None
) -> None:
    choice = choose(known, mode=mode, size_bytes=size, now=NOW)
    qualified = [
        e
        for e in known
        if e.mode is mode
        and e.writable
        and e.is_writer
        and not e.full
        and NOW - e.heard_at <= MAX_REPORT_AGE_SECONDS
        and (e.used_bytes + e.reserved_bytes + (size or 0)) * 100
        <= e.capacity_bytes * FULL_PERCENT[mode]
    ]
    assert list(choice.candidates) == sorted(qualified, key=lambda e: (e.priority, e.element_id))
    # Every other element of the mode is either full or waited for, and no other is.
    names = {e.element_id for e in (*choice.candidates, *choice.full)}
    names |= {element_id for element_id, _ in choice.waiting}
    assert names == {e.element_id for e in known if e.mode is mode}
    assert len(names) == len(choice.candidates) + len(choice.full) + len(choice.waiting)


@given(elements, modes, sizes, st.randoms())
def test_the_order_in_which_elements_are_known_does_not_matter(
    known: list[SeenElement], mode: Mode, size: int | None, random: Any
) -> None:
    shuffled = list(known)
    random.shuffle(shuffled)
    assert choose(known, mode=mode, size_bytes=size, now=NOW) == choose(
        shuffled, mode=mode, size_bytes=size, now=NOW
    )


@given(elements, modes, sizes)
def test_a_larger_file_never_finds_more_elements(
    known: list[SeenElement], mode: Mode, size: int | None
) -> None:
    smaller = choose(known, mode=mode, size_bytes=size, now=NOW).candidates
    larger = choose(known, mode=mode, size_bytes=(size or 0) + 100, now=NOW).candidates
    assert set(larger) <= set(smaller)


def test_the_limit_is_full_per_cent_of_the_capacity_reservations_included() -> None:
    edit = an_element(used_bytes=500, reserved_bytes=400)
    assert ids([edit], size_bytes=90) == ["se-01"]
    assert ids([edit], size_bytes=91) == []
    rw = an_element(mode=Mode.RW, used_bytes=500, reserved_bytes=400)
    assert ids([rw], mode=Mode.RW, size_bytes=80) == ["se-01"]
    assert ids([rw], mode=Mode.RW, size_bytes=81) == []


def test_suspects_come_last_whatever_their_priority() -> None:
    known = [an_element("se-01", priority=1), an_element("se-02", priority=2)]
    assert ids(known, suspects=frozenset({"se-01"})) == ["se-02", "se-01"]


def kinds(element: SeenElement) -> tuple[int, int, int]:
    """How many candidates, full and waiting elements a lone element makes."""
    choice = choose([element], mode=Mode.EDIT, size_bytes=1, now=NOW)
    return len(choice.candidates), len(choice.full), len(choice.waiting)


def test_a_full_element_is_full_and_a_broken_or_silent_one_is_waited_for() -> None:
    silent = NOW - MAX_REPORT_AGE_SECONDS - 1
    assert kinds(an_element()) == (1, 0, 0)
    assert kinds(an_element(full=True, writable=False)) == (0, 1, 0)
    assert kinds(an_element(used_bytes=1000, writable=False)) == (0, 1, 0)
    assert kinds(an_element(writable=False)) == (0, 0, 1)
    assert kinds(an_element(is_writer=False)) == (0, 0, 1)
    assert kinds(an_element(heard_at=silent)) == (0, 0, 1)
    assert kinds(an_element(reported_at=0.0, heard_at=0.0)) == (0, 0, 1)


def test_for_a_silent_element_without_room_nobody_waits() -> None:
    assert kinds(an_element(reported_at=0.0, heard_at=0.0, used_bytes=1000)) == (0, 1, 0)


def test_an_element_of_another_mode_does_not_count() -> None:
    assert kinds(an_element(mode=Mode.OTHER)) == (0, 0, 0)
    assert kinds(an_element(mode=Mode.RW)) == (0, 0, 0)


def test_why_an_element_is_waited_for_is_told() -> None:
    known = [
        an_element("se-01", heard_at=NOW - 40),
        an_element("se-02", writable=False),
        an_element("se-03", reported_at=0.0, heard_at=0.0),
    ]
    told = dict(choose(known, mode=Mode.EDIT, size_bytes=1, now=NOW).waiting)
    assert "40 s" in told["se-01"]
    assert "write" in told["se-02"]
    assert "not reported yet" in told["se-03"]
