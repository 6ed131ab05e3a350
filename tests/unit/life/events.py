"""All that may happen next to a world."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from admin_server.life import next_steps as rules
from mesh.errors import ArtStoreError
from tests.unit.life.small import (
    DEAD,
    EXPIRED,
    HELD,
    NO_TEXT,
    REFUSED,
    STEP_OF_TEXT,
    Call,
    Small,
    arrived,
    changed,
)
from tests.unit.life.world import (
    CLOSED,
    CUT,
    LAPSED,
    LOST,
    UP,
    USABLE,
    Record,
    Scenario,
    Violation,
    World,
    after_disaster,
    canonical,
    decided,
    is_last,
    may_open,
    new_text,
    replaced,
    seen,
    sent,
)

# --- what happens ---------------------------------------------------------------------------


def arrive(world: World, number: int) -> World:
    """One of the calls arrives."""
    coming = world.calls[number]
    others = (*world.calls[:number], *world.calls[number + 1 :])
    if coming.left > 1:
        others = tuple(sorted((*others, coming._replace(left=coming.left - 1)), key=repr))
    world = take(world._replace(calls=others), coming)
    return canonical(world)


def take(world: World, coming: Call) -> World:
    """`coming` as its element takes or refuses it."""
    element = coming.element
    text = new_text(world, DEAD) if coming.argument == "to_deleted" else NO_TEXT
    before = world.found[element]
    after = arrived(before, coming._replace(left=0, lost=()), text)
    if after is REFUSED:
        return world
    found = replaced(world.found, element, after)
    last = world.last
    world = world._replace(found=found)
    if coming.step == "activate" and coming.lost:
        return after_disaster(world, coming.lost)
    if coming.argument == "to_deleted":
        last = text
    if coming.argument == "purge" and before is not None and before.state == "deleted":
        if last != NO_TEXT and not is_last(before.text, world):
            raise Violation("purged what was not deleted")
        last = NO_TEXT
    return world._replace(last=last)


def answered(world: World, number: int) -> World:
    """Admin hears of a call that has arrived: it comes no more."""
    one = world.calls[number]
    record = world.record
    if one.step == "activate" and record.making == (one.element, one.since):
        record = record._replace(making=None)
    calls = (*world.calls[:number], *world.calls[number + 1 :])
    return canonical(world._replace(calls=calls, record=record))


def minute(world: World) -> World:
    """60 seconds pass: what was decided before is refused."""
    record = world.record._replace(making=None, young=False)
    return world._replace(calls=(), record=record)


def day(world: World) -> World:
    """All times that anything waits for pass."""
    world = minute(world)
    phases = tuple(LAPSED if phase == CUT else phase for phase in world.phases)
    return world._replace(found=tuple(map(_aged, world.found)), phases=phases)


def _aged(one: Small | None) -> Small | None:
    if one is None or one.state == "erased":
        return one
    return one._replace(old=True, deleted=2 if one.deleted else 0)


def emptied(world: World, element: int) -> World | None:
    """An element empties its trash."""
    one = world.found[element]
    if one is None or (one.state, one.deleted, one.has_bytes) != ("deleted", 2, True):
        return None
    return world._replace(found=replaced(world.found, element, one._replace(has_bytes=False)))


def without_bytes(world: World, element: int) -> World | None:
    """A blob is lost of which a copy is whole, but not while another is being freed."""
    one = world.found[element]
    whole = sum(other is not None and other.has_bytes for other in world.found)
    if one is None or one.state not in ("active", "copy") or whole < 2 or world.calls:
        return None
    return world._replace(found=replaced(world.found, element, one._replace(has_bytes=False)))


BITS: dict[str, Callable[[int], int]] = {
    "update": lambda bits: bits & ~EXPIRED,
    "delete": lambda bits: bits | DEAD,
    "undelete": lambda bits: bits & ~(DEAD | EXPIRED),
    "hold": lambda bits: bits | HELD,
    "release": lambda bits: bits & ~HELD,
}
STATES = {"undelete": "deleted"}


def called(world: World, verb: str, element: int) -> World | None:
    """A user's change of the home on an element; None where there is none to change."""
    one = world.found[element]
    if one is None or one.state != STATES.get(verb, "active"):
        return None
    bits = BITS[verb](one.text % STEP_OF_TEXT)
    if verb in ("hold", "release") and bits == one.text % STEP_OF_TEXT:
        return None
    text = new_text(world, bits)
    after = changed(one, verb, text)
    if after is None:
        return None
    return world._replace(found=replaced(world.found, element, after), last=text)


def restored(world: World, element: int) -> World:
    """An element's store is put back as it was; that takes longer than a minute."""
    world = minute(world)
    (old,) = world.backup  # type: ignore[misc]
    lost = tuple(one for one, its in enumerate(world.phases) if its == LOST and one != element)
    world = world._replace(found=replaced(world.found, element, old))
    return in_phase(after_disaster(world, lost), element, CLOSED)


def opened(world: World, element: int) -> World:
    """An element takes changes again; what only lost ones have is lost by ADMIN's word."""
    lost = tuple(one for one, phase in enumerate(world.phases) if phase == LOST)
    world = in_phase(world, element, UP)
    return after_disaster(world, lost) if lost else world


def in_phase(world: World, element: int, phase: int) -> World:
    return world._replace(phases=(*world.phases[:element], phase, *world.phases[element + 1 :]))


def without_tables(world: World, record: Record) -> World:
    """Admin's tables are new, or old: what it marked as lost it has forgotten too."""
    phases = tuple(LAPSED if phase == LOST else phase for phase in world.phases)
    return world._replace(record=record, phases=phases)


def moves(world: World, target: int) -> World | None:
    """MoveFile is accepted."""
    if world.record.transfer is not None:
        return None
    for element, one in enumerate(world.found):
        reached = world.phases[element] == UP
        if one is not None and one.state == "active" and reached and element != target:
            record = world.record._replace(transfer=("move", element, target))
            return world._replace(record=record)
    return None


def cancelled(world: World) -> World | None:
    if world.record.transfer is None:
        return None
    if any(one is not None and one.state == "moved" for one in world.found):
        return None
    return world._replace(record=world.record._replace(transfer=None))


def erase_wanted(world: World) -> World | None:
    """EraseFile is accepted."""
    if world.record.erase or world.erased:
        return None
    try:
        rules.erasure(seen(world))
    except ArtStoreError:
        return None
    return world._replace(record=world.record._replace(erase=True))


# --- all that may happen next ---------------------------------------------------------------


def successors(world: World, scenario: Scenario) -> Iterator[tuple[str, World]]:
    """Each event that may come next, with what it leaves."""
    if len(world.calls) < scenario.calls:
        for one in decided(world, scenario):
            yield f"decide {one.step} {one.element}", sent(world, one)
    for number, one in enumerate(world.calls):
        if world.phases[one.element] in (UP, CUT, CLOSED):
            yield f"arrive {one.step} {one.element}", arrive(world, number)
        if one.left < 2:
            yield f"answer {one.step} {one.element}", answered(world, number)
    if world.calls or world.record.making or world.record.young:
        yield "minute", canonical(minute(world))
    if world.record.young and seen(world).rules_out_unknown_homes:
        yield "look", canonical(world._replace(record=world.record._replace(young=False)))
    for element, phase in enumerate(world.phases):
        if phase == CLOSED and may_open(world, scenario):
            yield f"open {element}", canonical(opened(world, element))
        if phase in USABLE:
            after = emptied(world, element)
            if after is not None:
                yield f"empty {element}", canonical(after)
    for number, (event, left) in enumerate(zip(scenario.events, world.budget, strict=True)):
        if not left:
            continue
        for name, after in _happens(world, event, scenario):
            budget = (*world.budget[:number], left - 1, *world.budget[number + 1 :])
            yield name, canonical(after._replace(budget=budget))


def _happens(world: World, event: str, scenario: Scenario) -> Iterator[tuple[str, World]]:
    verb, _, where = event.partition(":")
    elements = [int(where)] if where else range(len(world.found))
    if verb in WHOLE:
        after = WHOLE[verb](world, scenario)
        if after is not None:
            yield verb, after
        return
    for element in elements:
        after = ON_ONE[verb](world, element)
        if after is not None:
            yield f"{verb} {element}", after


WHOLE: dict[str, Callable[[World, Scenario], World | None]] = {
    "day": lambda world, _: day(world),
    "cancel": lambda world, _: cancelled(world),
    "erase": lambda world, _: erase_wanted(world),
    "tables lost": lambda world, _: without_tables(world, Record(young=True)),
    "tables old": lambda world, scenario: without_tables(
        world, Record(scenario.transfer, young=True)
    ),
}


def _from(
    phases: tuple[int, ...], then: Callable[[World, int], World]
) -> Callable[..., World | None]:
    def event(world: World, element: int) -> World | None:
        return then(world, element) if world.phases[element] in phases else None

    return event


def _user(verb: str) -> Callable[[World, int], World | None]:
    def event(world: World, element: int) -> World | None:
        return called(world, verb, element) if world.phases[element] in USABLE else None

    return event


ON_ONE: dict[str, Callable[[World, int], World | None]] = {
    **{verb: _user(verb) for verb in BITS},
    "move": moves,
    "lose bytes": without_bytes,
    "cut": _from((UP,), lambda world, one: in_phase(world, one, CUT)),
    "lapse": _from((CUT,), lambda world, one: minute(in_phase(world, one, LAPSED))),
    "lose": _from((LAPSED,), lambda world, one: in_phase(world, one, LOST)),
    "return": _from(
        (CUT, LAPSED, LOST),
        lambda world, one: in_phase(world, one, UP if world.phases[one] == CUT else CLOSED),
    ),
    "back up": _from((UP,), lambda world, one: world._replace(backup=(world.found[one],))),
    "restore": lambda world, one: restored(world, one) if world.backup else None,
}
