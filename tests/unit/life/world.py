"""One file on two or three elements, and all that may happen to it: a model to be walked whole.

What comes next is decided by `admin_server.life.next_steps`, what a sidecar becomes by
`storage_server.domain`; here is only when: steps are decided and arrive apart, twice and in any
order, elements fall silent, lose their lease, are marked as lost, come back, are restored, admin
loses its tables. Texts are counted, so that what was acknowledged last is known.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from admin_server.life import next_steps as rules
from admin_server.life.next_steps import Seen, Step, Terms, Transfer, TransferKind
from mesh.errors import ArtStoreError
from tests.unit.life.small import (
    ELEMENTS,
    NEWEST,
    NO_TEXT,
    NOW,
    STEP_OF_TEXT,
    Call,
    Small,
    arrived,
    call,
    changed,
    copy,
    digest,
    real,
)

Found = tuple[Small | None, ...]

# How an element is. CUT: admin does not reach it, users do. LAPSED: so for longer than its lease.
# LOST: marked so. CLOSED: it is back, and is being compared.
UP, CUT, LAPSED, LOST, CLOSED = range(5)
WORDS = ("up", "cut", "lapsed", "lost", "closed")
REACHED = frozenset({UP, CLOSED})
SILENT = frozenset({CUT, LAPSED})
USABLE = frozenset({UP, CUT})


class Record(NamedTuple):
    """What admin's tables say. `transfer` is (kind, source, target)."""

    transfer: tuple[str, int, int] | None = None
    making: tuple[int, int] | None = None
    young: bool = False
    erase: bool = False


class World(NamedTuple):
    """All that is.

    Attributes:
        found: each element's sidecar.
        phases: how each element is.
        backup: an old sidecar of the one element that has a backup; it may be None, as () is none.
        last: the text that was acknowledged last, of what no disaster took; NO_TEXT of none.
        erased: whether an erasure was acknowledged.
        given_up: texts that were acknowledged, and that only elements had that were given up.
        disaster: a store was restored, or given up: what only it had is gone.
        budget: how often each event of the scenario may still happen.
    """

    found: Found
    phases: tuple[int, ...]
    calls: tuple[Call, ...]
    record: Record
    backup: tuple[Small | None] | tuple[()]
    last: int
    erased: bool
    given_up: tuple[int, ...]
    disaster: bool
    budget: tuple[int, ...]


@dataclass(frozen=True)
class Scenario:
    """Where a walk starts, and what may happen on it.

    Attributes:
        copies: wanted.
        events: how often each may happen; of an event of one element its number follows a colon.
        steps: the function that decides; replaced to show that a rule is needed.
        calls: how many may be under way.
        closed: elements that are so from the start.
    """

    found: Found
    events: dict[str, int] = field(default_factory=dict)
    copies: int = 1
    calls: int = 1
    transfer: tuple[str, int, int] | None = None
    closed: tuple[int, ...] = ()

    def start(self) -> World:
        last = max((one.text for one in self.found if one is not None), default=NO_TEXT)
        return canonical(
            World(
                self.found,
                tuple(CLOSED if one in self.closed else UP for one in range(len(self.found))),
                (),
                Record(self.transfer),
                (),
                last,
                False,
                (),
                False,
                tuple(self.events.values()),
            )
        )


class Violation(AssertionError):
    """What must never be."""


# --- one form for worlds that are the same --------------------------------------------------


def canonical(world: World) -> World:
    """`world` with home_since counted from 0, and the transfer of no use forgotten."""
    sinces = {one.since for one in world.found if one is not None}
    for sent in world.calls:
        if sent.step == "activate":
            sinces.add(sent.since)
        for one in (sent.was, sent.source):
            if one is not None:
                sinces.add(one.since)
    if world.record.making is not None:
        sinces.add(world.record.making[1])
    if world.backup and world.backup[0] is not None:
        sinces.add(world.backup[0].since)
    ranks = {since: rank for rank, since in enumerate(sorted(sinces - {-1}))}
    ranks[-1] = -1
    if all(since == rank for since, rank in ranks.items()):
        return _noticed(world)
    record = world.record
    if record.making is not None:
        record = record._replace(making=(record.making[0], ranks[record.making[1]]))
    backup = world.backup
    if backup and backup[0] is not None:
        backup = (_ranked(backup[0], ranks),)
    return _noticed(
        world._replace(
            found=tuple(None if one is None else _ranked(one, ranks) for one in world.found),
            calls=tuple(_ranked_call(sent, ranks) for sent in world.calls),
            record=record,
            backup=backup,
        )
    )


def _ranked(one: Small, ranks: dict[int, int]) -> Small:
    return one._replace(since=ranks[one.since])


def _ranked_call(sent: Call, ranks: dict[int, int]) -> Call:
    return sent._replace(
        was=None if sent.was is None else _ranked(sent.was, ranks),
        source=None if sent.source is None else _ranked(sent.source, ranks),
        since=ranks[sent.since] if sent.step == "activate" else 0,
    )


def _noticed(world: World) -> World:
    """Admin sees that a transfer or an erasure has ended, or that a transfer can't go on."""
    record = world.record
    if record.transfer is None and not record.erase:
        return world
    reached = [
        one for one, phase in zip(world.found, world.phases, strict=True) if phase in REACHED
    ]
    erased = sum(one is not None and one.state == "erased" for one in reached)
    if record.erase and erased >= min(2, len(world.found)):
        record = record._replace(erase=False)
        world = world._replace(record=record, erased=True)
    if record.transfer is not None and _has_ended(record.transfer, world):
        world = world._replace(record=record._replace(transfer=None))
    return world


def _has_ended(transfer: tuple[str, int, int], world: World) -> bool:
    kind, source, target = transfer
    for element, one in enumerate(world.found):
        if one is None or world.phases[element] not in REACHED:
            continue
        if one.state in ("deleted", "erased") or (one.state == "active" and element != source):
            return True
        if kind == "copy" and element == target and one.state == "copy":
            return True
    return False


# --- admin ----------------------------------------------------------------------------------


def seen(world: World) -> Seen:
    """What admin finds when it asks everybody about the file."""
    record, phases = world.record, world.phases
    making = record.young
    if record.making is not None:
        element, since = record.making
        one = world.found[element] if phases[element] in REACHED else None
        making = making or one is None or one.since < since or one.state in ("copy", "incoming")
    return _seen(world.found, phases, record.transfer, making)


@cache
def _seen(
    found: Found, phases: tuple[int, ...], transfer: tuple[str, int, int] | None, making: bool
) -> Seen:
    by_phase = {
        phase: frozenset(ELEMENTS[one] for one, its in enumerate(phases) if its == phase)
        for phase in range(len(WORDS))
    }
    silent = by_phase[CUT] | by_phase[LAPSED]
    return Seen(
        copies=tuple(
            copy(element, one)
            for element, one in enumerate(found)
            if one is not None and phases[element] in REACHED
        ),
        answered=by_phase[UP] | by_phase[CLOSED],
        silent=silent,
        lost=by_phase[LOST],
        everybody=not silent,
        closed=by_phase[CLOSED],
        transfer=None
        if transfer is None
        else Transfer(TransferKind(transfer[0]), ELEMENTS[transfer[1]], ELEMENTS[transfer[2]]),
        making_home=making,
    )


@cache
def _terms(copies: int, phases: tuple[int, ...]) -> Terms:
    targets = tuple(ELEMENTS[one] for one, phase in enumerate(phases) if phase == UP)
    return Terms(copies=copies, targets=targets)


@cache
def _next(found: Seen, terms: Terms) -> tuple[Step, ...]:
    return rules.next_steps(found, terms, NOW)


@cache
def _may_open(found: Seen, terms: Terms) -> bool:
    return rules.may_open(found, terms, NOW)


def forget_all() -> None:
    """For a walk under other rules, and to give memory back."""
    for one in (_seen, _terms, _next, _may_open, real, digest, copy, changed, arrived):
        one.cache_clear()


def decided(world: World, scenario: Scenario) -> list[Call]:
    """The calls that admin may make now."""
    looked = seen(world)
    steps: list[Step] = []
    if world.record.erase and not any(one.state == "erased" for one in looked.copies):
        with suppress(ArtStoreError):
            steps += rules.erasure(looked)
    steps += _next(looked, _terms(scenario.copies, world.phases))
    lost = tuple(one for one, phase in enumerate(world.phases) if phase == LOST)
    return [call(step, world.found, lost) for step in steps]


def sent(world: World, one: Call) -> World:
    """`one` is under way; a change of the home is put on record first."""
    record = world.record
    if one.step == "activate":
        if one.since == NEWEST:
            one = one._replace(since=_later_than_all(world))
        record = record._replace(making=(one.element, one.since))
    calls = tuple(sorted((*world.calls, one), key=repr))
    return canonical(world._replace(calls=calls, record=record))


def _later_than_all(world: World) -> int:
    """The time by the clock: later than whatever was decided before, known or not."""
    backup = world.backup[0] if world.backup else None
    known = [one.since for one in (*world.found, backup) if one is not None]
    known += [one.since for one in world.calls if one.step == "activate"]
    if world.record.making is not None:
        known.append(world.record.making[1])
    return max(known, default=0) + 1


def may_open(world: World, scenario: Scenario) -> bool:
    return _may_open(seen(world), _terms(scenario.copies, world.phases))


# --- what is acknowledged ----------------------------------------------------------------


def carried(found: Found, but: tuple[int, ...] = ()) -> list[int]:
    """The texts that sidecars have, but those of some elements."""
    return [
        one.text
        for element, one in enumerate(found)
        if one is not None and one.text >= 0 and element not in but
    ]


def after_disaster(world: World, but: tuple[int, ...] = ()) -> World:
    """The last text is the last that is left; what only elements `but` have is given up."""
    left = [text for text in carried(world.found, but) if text not in world.given_up]
    if world.last != NO_TEXT:
        left = [text for text in left if text <= world.last]
    last = max(left, default=NO_TEXT)
    later = {text for text in carried(world.found) if text > last}
    given_up = tuple(sorted(later | set(world.given_up)))
    return world._replace(last=last, given_up=given_up, disaster=True)


def is_last(text: int, world: World) -> bool:
    """What was given up may be there again, while nothing later was acknowledged."""
    return text == world.last or (text > world.last and text in world.given_up)


def new_text(world: World, bits: int) -> int:
    """The text of one more change."""
    texts = [world.last, *carried(world.found)]
    texts += [one.source.text for one in world.calls if one.source is not None]
    if world.backup and world.backup[0] is not None:
        texts.append(world.backup[0].text)
    return (max(texts) // STEP_OF_TEXT + 1) * STEP_OF_TEXT | bits


def replaced(found: Found, element: int, one: Small | None) -> Found:
    return (*found[:element], one, *found[element + 1 :])
