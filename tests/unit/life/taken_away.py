"""Rules taken away, one at a time: what a walk must then find wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from admin_server.life import next_steps as rules
from admin_server.life import steps as made
from admin_server.life.next_steps import (
    Activate,
    Collect,
    Collected,
    Copy,
    CopyState,
    MarkMoved,
    Seen,
    Step,
    SyncCopy,
    Terms,
)
from tests.unit.life import events, small, world
from tests.unit.life.small import Call, Small

Replace = Callable[[Any, str, Any], None]
"""As pytest's monkeypatch.setattr."""

Decide = Callable[[Seen, Terms, datetime], tuple[Step, ...]]


def _see(change: Callable[[Seen], Seen]) -> Callable[[Replace], None]:
    """Decide from something else than what was seen."""
    decide, open_ = rules.next_steps, rules.may_open

    def take_away(put: Replace) -> None:
        put(rules, "next_steps", lambda seen, terms, now: decide(change(seen), terms, now))
        put(rules, "may_open", lambda seen, terms, now: open_(change(seen), terms, now))

    return take_away


def _step(change: Callable[[Step, Seen], Step | None]) -> Callable[[Replace], None]:
    """Take another step than the one that was decided, or none."""
    decide = rules.next_steps

    def steps(seen: Seen, terms: Terms, now: datetime) -> tuple[Step, ...]:
        changed = (change(step, seen) for step in decide(seen, terms, now))
        return tuple(step for step in changed if step is not None)

    return lambda put: put(rules, "next_steps", steps)


def _rule(name: str, instead: Any) -> Callable[[Replace], None]:
    return lambda put: put(rules, name, instead)


def _clockless(step: Step, seen: Seen) -> Step:
    if not isinstance(step, Activate):
        return step
    return replace(step, home_since=max(one.home_since for one in seen.copies) + 1)


def _purging(step: Step, _: Seen) -> Step:
    if isinstance(step, Collect) and step.step is Collected.TO_GONE:
        return replace(step, step=Collected.PURGE)
    return step


def _unsynced(step: Step, seen: Seen) -> Step | None:
    """Nothing is synced while there is a deleted home."""
    deleted = any(one.state is CopyState.DELETED for one in seen.copies)
    return None if isinstance(step, SyncCopy) and deleted else step


def _tombstone_at_once(home: Copy, seen: Seen, terms: Terms, now: datetime) -> tuple[Step, ...]:
    if home.bytes_present:
        return ()
    return (made.collect(home, Collected.PURGE),)


def _hastily(home: Copy, seen: Seen) -> Iterable[Step]:
    return catch_up(home, replace(seen, everybody=True))


catch_up = rules._catch_up


def _revision_decides(put: Replace) -> None:
    put(Copy, "pair", property(lambda one: (one.revision, one.home_since)))


def _unconditional(put: Replace) -> None:
    put(small, "digest", lambda _: "")


def _unended(put: Replace) -> None:
    """A restore is over before the calls that were decided before it are refused."""

    def restored(at: world.World, element: int) -> world.World:
        after = genuine(at, element)
        return after._replace(calls=at.calls)

    genuine = events.restored
    put(events, "restored", restored)


def _by_itself(put: Replace) -> None:
    """A tombstone is purged by its element's own clock."""
    genuine = events.emptied

    def emptied(at: world.World, element: int) -> world.World | None:
        one = at.found[element]
        if one is not None and one.state == "deleted" and one.deleted == 2 and not one.has_bytes:
            return at._replace(found=world.replaced(at.found, element, None))
        return genuine(at, element)

    put(events, "emptied", emptied)


def _hasty_look(put: Replace) -> None:
    """Whatever new tables do not know is ruled out by a look in which everybody answered."""
    put(Seen, "rules_out_unknown_homes", property(lambda seen: seen.everybody))


def _twice(put: Replace) -> None:
    """What was taken already is taken once more."""

    def arrived(one: Small | None, sent: Call, text: int) -> Small | None:
        after = genuine(one, sent, text)
        if after is small.REFUSED and one is not None and sent.step == "activate":
            return one._replace(state=sent.argument, since=sent.since)
        return after

    genuine = small.arrived
    put(events, "arrived", arrived)


TAKEN_AWAY: dict[str, Callable[[Replace], None]] = {
    "everybody must have answered": _see(lambda seen: replace(seen, everybody=True)),
    "who was away is compared before it counts": _see(
        lambda seen: replace(seen, closed=frozenset())
    ),
    "one home-making step at a time": _see(lambda seen: replace(seen, making_home=False)),
    "new tables do not know what is under way": _hasty_look,
    "home_since is later by the clock": _step(_clockless),
    "what goes leaves a stub": _step(_purging),
    "copies hear of a deletion": _step(_unsynced),
    "a tombstone outlives what it must stop": _rule("_of_deleted", _tombstone_at_once),
    "nobody purges by its own clock": _by_itself,
    "home_since comes before revision": _revision_decides,
    "a home yields to what knows of a later one": _rule("_is_overtaken", lambda *_: False),
    "a restored home takes up what followed it": _rule("_catch_up", lambda *_: ()),
    "a restored home waits for everybody": _rule("_catch_up", _hastily),
    "steps are conditional": _unconditional,
    "a restore outlasts a call": _unended,
    "of two homes one yields": _rule("_yield_to", lambda *_: ()),
    "a switch needs the same text": _step(
        lambda step, seen: (
            MarkMoved(
                element_id=step.home.element_id, digest=step.home.digest, moved_to=step.element_id
            )
            if isinstance(step, SyncCopy)
            and seen.transfer is not None
            and step.home.state is CopyState.ACTIVE
            else step
        )
    ),
    "erased here is erased everywhere": _rule("_erase_everywhere", lambda *_: ()),
    "two witnesses": _rule("_WITNESSES", 1),
    "taken already is taken": _twice,
}
