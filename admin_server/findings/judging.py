"""What is wrong with one file, told from the sidecars that answered. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from admin_server.life.seen import HOMES, MAY_BECOME_HOME, Copy, CopyState, Seen

CLOCKS_DIFFER = timedelta(days=1)
_HAVE_BYTES = frozenset({CopyState.ACTIVE, *MAY_BECOME_HOME})


class FindingKind(StrEnum):
    """As in the contract."""

    TWO_HOMES = "two_homes"
    NO_HOME = "no_home"
    COPIES_DIFFER = "copies_differ"
    TOO_FEW_COPIES = "too_few_copies"
    SET_ASIDE = "set_aside"
    DAMAGED = "damaged"
    LOST = "lost"
    ERASED_AND_HELD = "erased_and_held"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is wrong.

    Attributes:
        element_ids: of the elements concerned, sorted.
        detail: for people; no names or texts of files.
    """

    kind: FindingKind
    element_ids: tuple[str, ...]
    detail: str


def judge(seen: Seen, *, copies: int, created_at: datetime, now: datetime) -> tuple[Found, ...]:
    """What is wrong with a file. Of what is told only by silence nothing is said.

    Args:
        copies: that are wanted, the home counted.
        now: by admin's clock.
    """
    return tuple(_judged(seen, copies, created_at, now))


def erased_and_held(erased_on: Collection[str], held_on: Collection[str]) -> Found:
    """It was erased, and elements that were silent then hold it."""
    return Found(
        FindingKind.ERASED_AND_HELD,
        tuple(sorted({*erased_on, *held_on})),
        "erased, and under legal hold on "
        + ", ".join(sorted(held_on))
        + ": lift the hold there, or leave it",
    )


def _judged(seen: Seen, copies: int, created_at: datetime, now: datetime) -> Iterator[Found]:
    homes = _in(seen, HOMES)
    erased = _in(seen, frozenset({CopyState.ERASED}))
    held = tuple(one for one in seen.copies if one.legal_hold)
    with_bytes = _in(seen, _HAVE_BYTES)
    aside = tuple(one for one in seen.copies if one.is_set_aside)
    if len(homes) > 1:
        yield _found(FindingKind.TWO_HOMES, homes, "they say that they are the home; the later is")
    if aside:
        yield _found(
            FindingKind.SET_ASIDE,
            aside,
            "kept, and read by nobody: `artstore resolve` makes one the home, or erase the file",
        )
    known = homes or erased or aside or seen.making_home
    if with_bytes and not known and seen.everybody:
        yield _found(FindingKind.NO_HOME, with_bytes, "none of them says that it is the home")
    if len({one.sha256 for one in with_bytes}) > 1:
        yield _found(FindingKind.COPIES_DIFFER, with_bytes, "their SHA-256 differ")
    if with_bytes and not any(one.bytes_present for one in with_bytes) and seen.everybody:
        yield _found(FindingKind.DAMAGED, with_bytes, "their bytes are missing")
    yield from _too_few(seen, homes, copies)
    if erased and held:
        yield erased_and_held([one.element_id for one in erased], [one.element_id for one in held])
    if created_at - now > CLOCKS_DIFFER:
        yield _found(FindingKind.CLOCK, seen.copies, "its time is more than a day ahead")


def _too_few(seen: Seen, homes: tuple[Copy, ...], copies: int) -> Iterator[Found]:
    if len(homes) != 1 or homes[0].state is not CopyState.ACTIVE or not seen.everybody:
        return
    home = homes[0]
    good = [
        one
        for one in _in(seen, frozenset({CopyState.COPY}))
        if one.sha256 == home.sha256 and one.bytes_present and not one.is_set_aside
    ]
    if 1 + len(good) < copies:
        yield _found(
            FindingKind.TOO_FEW_COPIES, (home, *good), f"{1 + len(good)} of {copies} copies"
        )


def _in(seen: Seen, states: frozenset[CopyState]) -> tuple[Copy, ...]:
    return tuple(one for one in seen.copies if one.state in states)


def _found(kind: FindingKind, copies: tuple[Copy, ...], detail: str) -> Found:
    return Found(kind, tuple(sorted({one.element_id for one in copies})), detail)
