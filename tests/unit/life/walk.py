"""Walking a scenario whole: every state that is reached, and how it ends when all work again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tests.unit.life.events import day, emptied, minute, opened, successors, take
from tests.unit.life.small import DEAD, HELD, NO_TEXT, Small
from tests.unit.life.world import (
    CLOSED,
    CUT,
    LAPSED,
    LOST,
    UP,
    USABLE,
    Scenario,
    Violation,
    World,
    after_disaster,
    canonical,
    decided,
    is_last,
    may_open,
    sent,
)

LONGEST = 80


@dataclass
class Walk:
    """What a walk found: the states, and the first that ends wrong with the way to it."""

    states: int
    wrong: str = ""
    way: tuple[str, ...] = ()
    whole: bool = True


def walk(scenario: Scenario, limit: int = 10_000_000) -> Walk:
    """Walk `scenario` until something is wrong; breadth first, so the way is a shortest one."""
    start = scenario.start()
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    queue = deque([start])
    settled: dict[World, str] = {}
    world = start
    try:
        while queue and len(came_from) < limit:
            world = queue.popleft()
            look_at(world)
            wrong = ends(world, scenario, settled)
            if wrong:
                return Walk(len(came_from), wrong, _way(world, came_from))
            for name, after in successors(world, scenario):
                if after not in came_from:
                    came_from[after] = (world, name)
                    queue.append(after)
    except (Violation, AssertionError) as error:
        return Walk(len(came_from), repr(error), _way(world, came_from))
    return Walk(len(came_from), whole=not queue)


def _way(world: World, came_from: dict[World, tuple[World, str] | None]) -> tuple[str, ...]:
    steps = [shown(world)]
    at = came_from[world]
    while at is not None:
        steps.append(at[1] + "  from  " + shown(at[0]))
        at = came_from[at[0]]
    return tuple(reversed(steps))


def shown(world: World) -> str:
    """A world in one line: per element the state's letter, home_since, revision and text."""
    words = []
    for one, phase in zip(world.found, world.phases, strict=True):
        text = "-" if one is None else _shown(one)
        words.append(text + "" if phase == UP else f"{text}({'ucl!x'[phase]})")
    return f"{' '.join(words)} last={world.last} {world.record.transfer or ''}"


def _shown(one: Small) -> str:
    to = f">{one.to}" if one.to >= 0 else ""
    marks = ("" if one.has_bytes else "'") + ("~" if one.old else "")
    return f"{one.state[0].upper()}{one.since}.{one.revision}t{one.text}{to}{marks}"


def look_at(world: World) -> None:
    """What must be so in every state."""
    homes = [
        one
        for one, phase in zip(world.found, world.phases, strict=True)
        if phase in USABLE and one is not None and _is_changeable(one)
    ]
    if len(homes) > 1:
        raise Violation("two homes take changes")
    if homes and not is_last(homes[0].text, world):
        raise Violation("a home takes changes that lacks what was acknowledged")
    if _should_be_read(world) and not any(one is not None and _is_read(one) for one in world.found):
        raise Violation("nobody gives the file's bytes")


def _should_be_read(world: World) -> bool:
    """Nothing ever happened but moves, copies and changes, and the file is not deleted."""
    quiet = set(world.phases) == {UP} and not world.disaster
    ended = world.last & DEAD or any(
        one is not None and one.state == "erased" for one in world.found
    )
    return quiet and not ended


def _is_read(one: Small) -> bool:
    return one.state in ("active", "moved", "copy") and one.has_bytes and not one.deleted


def _is_changeable(one: Small) -> bool:
    return one.state == "active" or (one.state == "deleted" and one.has_bytes)


def ends(world: World, scenario: Scenario, settled: dict[World, str]) -> str:
    """What is wrong at the end when all work again; once with all that are lost, once without."""
    ways = [False, True] if LOST in world.phases else [False]
    return next(filter(None, (_ends(world, scenario, settled, stay) for stay in ways)), "")


def _ends(world: World, scenario: Scenario, settled: dict[World, str], stay: bool) -> str:
    at = canonical(_working(world, stay))
    met = []
    for _ in range(LONGEST):
        if at in settled:
            break
        met.append(at)
        after = _next(at, scenario)
        if after is None:
            settled[at] = judged(at, scenario)
            break
        at = after
    else:
        settled[at] = f"never ends: {shown(at)}"
    wrong = settled[at]
    settled.update(dict.fromkeys(met, wrong))
    return wrong


def _working(world: World, stay: bool) -> World:
    """All elements are back; those that are lost may stay so, with what only they had."""
    world = minute(world)._replace(budget=(), backup=())
    after = {CUT: UP, LAPSED: CLOSED, LOST: LOST if stay else CLOSED}
    world = world._replace(phases=tuple(after.get(phase, phase) for phase in world.phases))
    if stay:
        world = after_disaster(
            world, tuple(one for one, phase in enumerate(world.phases) if phase == LOST)
        )
    return world


def _next(world: World, scenario: Scenario) -> World | None:
    """Admin works, then time passes; None at the end."""
    for one in decided(world, scenario):
        under_way = sent(world, one)
        after = canonical(minute(take(under_way, under_way.calls[0])))
        if after != world:
            return after
    for element, phase in enumerate(world.phases):
        if phase == CLOSED and may_open(world, scenario):
            return canonical(opened(world, element))
    after = canonical(day(world))
    if after != world:
        look_at(after)
        return after
    for element, phase in enumerate(world.phases):
        emptier = emptied(world, element) if phase == UP else None
        if emptier is not None:
            return canonical(emptier)
    if world.record.transfer is not None:
        return world._replace(record=world.record._replace(transfer=None))
    return None


def judged(world: World, scenario: Scenario) -> str:
    """What is wrong with an end; empty when it is right."""
    there = [
        one
        for one, phase in zip(world.found, world.phases, strict=True)
        if one is not None and phase != LOST
    ]
    end = shown(world)
    if CLOSED in world.phases and not _is_aside(world):
        return f"not opened: {end}"
    states = sorted(one.state for one in there)
    if "erased" in states:
        return _judged_erased(there, world, end)
    if world.erased or (world.record.erase and not world.last & HELD):
        return f"not erased: {end}"
    homes = [one for one in there if one.state == "active"]
    if world.last == NO_TEXT:
        return _judged_ended(states, world, end)
    if homes and is_last(homes[0].text, world):
        world = world._replace(last=homes[0].text)
    if world.last & DEAD:
        return "" if not _lives(there) and _is_over(states, world) else f"not gone: {end}"
    if _is_aside(world):
        return ""
    if len(homes) != 1 or homes[0].text != world.last or not homes[0].has_bytes:
        return f"not the home that was acknowledged: {end}"
    left = [one for one in there if one.state not in ("active", "gone")]
    # What was given up and came back later than a home that was restored: ADMIN closes that home.
    beyond = [one for one in left if one.text in world.given_up and one.text != world.last]
    elements = sum(phase != LOST for phase in world.phases)
    if any(
        (one.state, one.text, one.has_bytes) != ("copy", world.last, True)
        for one in left
        if one not in beyond
    ):
        return f"something is left over: {end}"
    if not beyond and len(left) != min(scenario.copies, elements) - 1:
        return f"not the copies that are wanted: {end}"
    return ""


def _lives(there: list[Small]) -> bool:
    return any(one.state in ("active", "copy", "moved", "incoming") for one in there)


def _is_over(states: list[str], world: World) -> bool:
    """Nothing is left; while an element is lost, tombstones and stubs are."""
    return not states or (LOST in world.phases and set(states) <= {"deleted", "gone"})


def _is_aside(world: World) -> bool:
    """After a disaster, what only waits for ADMIN's word; an element with such a file is open."""
    there = [
        one
        for one, phase in zip(world.found, world.phases, strict=True)
        if one is not None and phase != LOST
    ]
    aside = [one for one in there if one.state == "copy" and one.to >= 0]
    rest = {one.state for one in there if one not in aside}
    return world.disaster and bool(aside) and rest <= {"gone"}


def _judged_ended(states: list[str], world: World, end: str) -> str:
    """Purged, or all of it was lost: nothing must live but what a disaster brought back."""
    if world.disaster:
        return ""
    return f"left over of what is gone: {end}" if states else ""


def _judged_erased(there: list[Small], world: World, end: str) -> str:
    others = [one for one in there if one.state != "erased"]
    if any(one.state not in ("active", "copy", "moved") or not one.text & HELD for one in others):
        return f"not erased everywhere: {end}"
    elements = sum(phase != LOST for phase in world.phases)
    witnesses = len(there) - len(others)
    return "" if witnesses >= min(2, elements - len(others)) else f"too few witnesses: {end}"
