"""What comes next for a file: one pure function of the sidecars that answered.

No worker decides otherwise. Everything can be finished or undone from the sidecars alone: admin's
tables say what is wanted, and if they are lost the sidecars still say what is true. Which rule
keeps what is told in docs/correctness.md ("A file's life"); `tests/unit/life` walks all orders of
steps, users, silences, restores and losses on one file against this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from admin_server.life.seen import (
    HOMES,
    MAY_BECOME_HOME,
    Copy,
    CopyState,
    Seen,
    Terms,
    Transfer,
    TransferKind,
)
from admin_server.life.steps import (
    SWITCHING_RETRY_SECONDS,
    Activate,
    Collect,
    Collected,
    Erase,
    Heal,
    MarkMoved,
    Pull,
    SetAside,
    Step,
    SyncCopy,
    activate,
    collect,
    pull,
    sync,
    to_copy,
    to_gone,
)
from mesh.errors import LegallyHeld, Unavailable

__all__ = [
    "Activate",
    "Collect",
    "Collected",
    "Copy",
    "CopyState",
    "Erase",
    "Heal",
    "MarkMoved",
    "Pull",
    "Seen",
    "SetAside",
    "Step",
    "SyncCopy",
    "Terms",
    "Transfer",
    "TransferKind",
    "erasure",
    "may_open",
    "next_step",
    "next_steps",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WITNESSES = 2
_BY_LATENESS = attrgetter("lateness")
_FOLLOW_A_HOME = frozenset({CopyState.COPY, CopyState.INCOMING})


def next_step(seen: Seen, terms: Terms, now: datetime) -> Step | None:
    """The first of `next_steps`; None when there is nothing to do but to wait."""
    return next(iter(next_steps(seen, terms, now)), None)


def next_steps(seen: Seen, terms: Terms, now: datetime) -> tuple[Step, ...]:
    """The steps that may be taken now, each by itself and in any order, the most urgent first.

    After one was taken it is looked at again. Where the first fails another may be tried.

    Args:
        now: by admin's clock.
    """
    if any(one.state is CopyState.ERASED for one in seen.copies):
        return tuple(_erase_everywhere(seen))
    homes = sorted(_in_state(seen.copies, HOMES), key=_BY_LATENESS, reverse=True)
    if not homes:
        return tuple(_without_home(seen, now))
    home, *earlier = homes
    if earlier:
        return tuple(_yield_to(home, earlier, seen))
    return tuple(_with_home(home, seen, terms, now))


def erasure(seen: Seen, file_id: str = "") -> tuple[Erase, ...]:
    """What EraseFile erases first: the home, within a switch both its ends; all without a home.

    The second witness and all others follow by `next_steps`. Where nothing is known, one that
    answered.

    Args:
        file_id: for what a refusal says.

    Raises:
        FailedPrecondition: the file is held (reason LEGAL_HOLD).
        Unavailable: an Activate may be under way (reason SWITCHING), or nobody answered; try again
            in a minute.
    """
    if seen.making_home:
        raise Unavailable(
            "the file's home is being changed, or may be: try again in a minute",
            retry_after_seconds=SWITCHING_RETRY_SECONDS,
            reason="SWITCHING",
        )
    homes = _in_state(seen.copies, HOMES)
    first = homes or _in_state(seen.copies, MAY_BECOME_HOME) or list(seen.copies)
    if any(one.legal_hold for one in first):
        raise LegallyHeld(file_id)
    if first:
        return tuple(Erase(element_id=one.element_id, digest=one.digest) for one in first)
    if not seen.answered:
        raise Unavailable("no storage element answers; try again in a minute")
    return (Erase(element_id=min(seen.answered), digest=""),)


def may_open(seen: Seen, terms: Terms, now: datetime) -> bool:
    """Whether this file keeps no closed element from being opened.

    Everybody has answered, no Activate is under way, and nothing is left to do of what decides
    which copy is right. What frees bytes or makes copies may follow later.
    """
    if not seen.everybody or seen.making_home:
        return False
    return not any(_decides(step) for step in next_steps(seen, terms, now))


def _decides(step: Step) -> bool:
    if isinstance(step, Collect):
        return step.step is Collected.TO_COPY
    return isinstance(step, Erase | SyncCopy | Activate | SetAside)


# --- erased -------------------------------------------------------------------------------


def _erase_everywhere(seen: Seen) -> Iterator[Step]:
    """One that was held later stays: a finding for ADMIN. Two witnesses stay for ever.

    A hold that is no later than what was erased had been lifted there: an active home says so.
    """
    erased = _in_state(seen.copies, {CopyState.ERASED})
    witnesses, when = len(erased), max(one.pair for one in erased)
    for one in seen.copies:
        held = one.legal_hold and (one.state in HOMES or one.pair > when)
        if one.state is not CopyState.ERASED and not held:
            witnesses += 1
            yield Erase(element_id=one.element_id, digest=one.digest)
    without = sorted(seen.answered - {one.element_id for one in seen.copies})
    for element_id in without[: max(0, _WITNESSES - witnesses)]:
        yield Erase(element_id=element_id, digest="")


# --- which home is right ------------------------------------------------------------------


def _yield_to(home: Copy, earlier: list[Copy], seen: Seen) -> Iterator[Step]:
    """The earlier home is none any more.

    An active one takes the later one's text with its place. A tombstone goes with its bytes; on a
    closed element, which frees none, or while the home lacks them, it becomes a copy instead, so
    that nobody undeletes it once the element is open.
    """
    for one in earlier:
        if one.state is CopyState.ACTIVE and one.sha256 == home.sha256:
            yield sync(one, home)
        elif one.state is CopyState.ACTIVE or (
            one.bytes_present and (one.element_id in seen.closed or not _has_bytes(home, one))
        ):
            yield to_copy(one)
        else:
            yield to_gone(one, home)


def _with_home(home: Copy, seen: Seen, terms: Terms, now: datetime) -> Iterable[Step]:
    if _is_overtaken(home, seen.copies):
        return (to_copy(home),)
    if home.element_id in seen.closed:
        return _catch_up(home, seen)
    if home.state is CopyState.ACTIVE:
        return _of_active(home, seen, terms, now)
    return _of_deleted(home, seen, terms, now)


def _is_overtaken(home: Copy, copies: Iterable[Copy]) -> bool:
    """Whether another was the home later: its copies know of a higher home_since.

    One that moved with the same home_since and a higher revision says so too: it was the home when
    it moved, and a store that was copied knows nothing of it.
    """
    return any(
        one.home_since > home.home_since or (one.state is CopyState.MOVED and one.pair > home.pair)
        for one in _in_state(copies, MAY_BECOME_HOME)
    )


def _catch_up(home: Copy, seen: Seen) -> Iterator[Step]:
    """A home that was away is behind what followed it: its store was restored.

    Everybody must have answered. It takes the revision after that of the copy it goes by, and a
    silent copy that is further may have that one with another text: neither would be later.
    """
    ahead = [
        one
        for one in _in_state(seen.copies, _FOLLOW_A_HOME)
        if one.pair > home.pair and one.sha256 == home.sha256
    ]
    if ahead and seen.everybody:
        yield sync(home, max(ahead, key=_BY_LATENESS))


# --- the home is active -------------------------------------------------------------------


def _of_active(home: Copy, seen: Seen, terms: Terms, now: datetime) -> Iterator[Step]:
    expired = home.expires_at is not None and _is_over(home.expires_at, terms.expired_keep, now)
    if expired and not home.legal_hold:
        yield collect(home, Collected.TO_DELETED)
        if seen.transfer is None:
            return
    yield from _sync_copies(home, seen)
    transfer = _of_this_home(seen.transfer, home)
    if transfer is not None:
        yield from _transferred(home, transfer, seen)
    target = seen.transfer.target if seen.transfer is not None else ""
    for one in seen.copies:
        is_free = one.element_id != target and one.element_id not in seen.closed
        if not is_free or one.pair > home.pair or not _has_bytes(home, one):
            continue
        keep = {CopyState.MOVED: terms.moved_keep, CopyState.INCOMING: terms.incoming_keep}
        if one.state in keep and _is_over(one.updated_at, keep[one.state], now):
            yield to_gone(one, home)
    yield from _healed(home, seen)
    if seen.transfer is None:
        yield from _counted(home, seen, terms)


def _sync_copies(home: Copy, seen: Seen) -> Iterator[Step]:
    """Copies take the home's text; what arrived does so when its home has changed since.

    So an incoming one that is left of an earlier home says that it is: the switch it came for is
    never ended. One that is later than the home as it was looked at waits for the next look; if it
    is so for good, the home's store was restored and nobody noticed, or the other's element was
    given up before that: a finding, and ADMIN's to say that the home was restored.
    """
    for one in _in_state(seen.copies, _FOLLOW_A_HOME):
        if one.pair > home.pair or one.sha256 != home.sha256:
            continue
        is_copy = one.state is CopyState.COPY
        behind = one.pair != home.pair or not one.says_as(home) or one.is_set_aside
        if (is_copy and behind) or one.home_since < home.home_since:
            yield sync(one, home)


def _of_this_home(transfer: Transfer | None, home: Copy) -> Transfer | None:
    """A transfer of an admin that was restored may be of an earlier home: it is none any more."""
    if transfer is None or transfer.source == transfer.target:
        return None
    if transfer.kind in (TransferKind.FINALIZE, TransferKind.MOVE):
        return transfer if transfer.source == home.element_id else None
    return transfer


def _transferred(home: Copy, transfer: Transfer, seen: Seen) -> Iterator[Step]:
    """PullFile, then the text if it has moved on, then MarkMoved. A copy needs no bytes."""
    if transfer.target not in seen.answered or transfer.target in seen.closed:
        return
    moves = transfer.kind in (TransferKind.FINALIZE, TransferKind.MOVE)
    there = _on(transfer.target, seen.copies)
    if transfer.kind is TransferKind.HEAL:
        if there is not None:
            yield Heal(element_id=there.element_id, digest=there.digest, source=transfer.source)
        return
    if _takes_a_pull(there, home):
        yield pull(transfer.target, there, home, moves=moves)
        return
    if not moves or there is None or there.state not in _FOLLOW_A_HOME:
        return
    if there.pair > home.pair or there.sha256 != home.sha256 or not there.bytes_present:
        return
    if not there.says_as(home) or there.is_set_aside:
        yield sync(there, home)
    elif not seen.making_home:
        yield MarkMoved(element_id=home.element_id, digest=home.digest, moved_to=there.element_id)


def _has_bytes(home: Copy, one: Copy) -> bool:
    """Whether the bytes of `one` may go: no others are freed than those that its home has."""
    return home.bytes_present and home.sha256 == one.sha256


def _healed(home: Copy, seen: Seen) -> Iterator[Step]:
    whole = [
        one
        for one in _in_state(seen.copies, {CopyState.ACTIVE, *MAY_BECOME_HOME})
        if one.bytes_present and one.sha256 == home.sha256
    ]
    if not whole:
        return
    source = max(whole, key=_BY_LATENESS).element_id
    for one in _in_state(seen.copies, {CopyState.ACTIVE, CopyState.COPY}):
        if not one.bytes_present and one.element_id not in seen.closed:
            yield Heal(element_id=one.element_id, digest=one.digest, source=source)


def _counted(home: Copy, seen: Seen, terms: Terms) -> Iterator[Step]:
    """Too many: those least wanted go, counted from what is here, open and up to date.

    Too few: one more is pulled once everybody has answered, so that an element's short silence
    makes no copies that must go again.
    """
    copies = [
        one
        for one in _in_state(seen.copies, {CopyState.COPY})
        if one.sha256 == home.sha256 and not one.is_set_aside
    ]
    current = [
        one
        for one in copies
        if one.pair == home.pair and one.bytes_present and one.element_id not in seen.closed
    ]
    current.sort(key=lambda one: (one.element_id not in terms.targets, one.element_id))
    for one in current[max(0, terms.copies - 1) :] if home.bytes_present else ():
        yield to_gone(one, home)
    if 1 + len(copies) >= terms.copies or not seen.everybody:
        return
    for element_id in terms.targets:
        there = _on(element_id, seen.copies)
        usable = element_id in seen.answered and element_id not in seen.closed
        if usable and _takes_a_pull(there, home):
            yield pull(element_id, there, home, moves=False)
            return


# --- the home is deleted ------------------------------------------------------------------


def _of_deleted(home: Copy, seen: Seen, terms: Terms, now: datetime) -> Iterator[Step]:
    """A tombstone outlives everything that it must stop."""
    others = [one for one in seen.copies if one is not home]
    if home.bytes_present:
        yield from _sync_copies(home, seen)
    for one in _in_state(others, MAY_BECOME_HOME):
        if one.pair > home.pair or one.element_id in seen.closed:
            continue
        if one.state is not CopyState.COPY or not home.bytes_present:
            yield to_gone(one, home)
    left = [one for one in others if one.state is not CopyState.GONE]
    over = _is_over(home.deleted_at or home.updated_at, terms.tombstone_keep, now)
    waits = seen.lost or seen.closed or seen.making_home or seen.transfer is not None
    if home.bytes_present or left or waits or not over or not seen.everybody:
        return
    for one in others or [home]:
        yield collect(one, Collected.PURGE)


# --- there is no home ---------------------------------------------------------------------


def _without_home(seen: Seen, now: datetime) -> Iterator[Step]:
    there = _in_state(seen.copies, MAY_BECOME_HOME)
    if not there:
        return
    switch = _switch(seen)
    if switch is not None:
        yield from _end_switch(*switch, seen, now)
        return
    if not seen.everybody:
        return
    known = [one for one in there if _is_known(one, seen)]
    witnessed = {
        one.moved_to
        for one in seen.copies
        if one.state is CopyState.GONE and one.element_id not in seen.closed
    }
    if known or any(one.element_id in witnessed for one in there):
        latest = max(
            there, key=lambda one: (one.pair, one.element_id not in seen.closed, one.lateness)
        )
        if not seen.making_home:
            yield activate(latest, seen, now, revision=None)
        return
    for one in there:
        if not one.is_set_aside and not one.is_of_deleted:
            yield SetAside(element_id=one.element_id, digest=one.digest)


def _is_known(one: Copy, seen: Seen) -> bool:
    """Whether its word counts: on an element that was not away, or was compared since."""
    return one.element_id not in seen.closed and not one.is_set_aside


def _switch(seen: Seen) -> tuple[Copy, Copy] | None:
    """The source and the target of a switch that only its end is missing of.

    Everybody need not answer for it: the source says where the home is to be. But it is none when
    anything here is of a later home, also a stub.
    """
    moved = max(_in_state(seen.copies, {CopyState.MOVED}), key=_BY_LATENESS, default=None)
    if moved is None or any(one.home_since > moved.home_since for one in seen.copies):
        return None
    target = _on(moved.moved_to, seen.copies)
    if target is None or target.state not in _FOLLOW_A_HOME or not _is_known(target, seen):
        return None
    if target.pair > moved.pair or target.sha256 != moved.sha256 or not target.bytes_present:
        return None
    return moved, target


def _end_switch(moved: Copy, target: Copy, seen: Seen, now: datetime) -> Iterator[Step]:
    """MarkMoved has counted the move: the target takes the source's revision."""
    if not target.says_as(moved):
        yield sync(target, moved)
    elif not seen.making_home:
        yield activate(target, seen, now, revision=moved.revision)


# --- words --------------------------------------------------------------------------------


def _in_state(copies: Iterable[Copy], states: Iterable[CopyState]) -> list[Copy]:
    return [one for one in copies if one.state in states]


def _on(element_id: str, copies: Iterable[Copy]) -> Copy | None:
    return next((one for one in copies if one.element_id == element_id), None)


def _is_over(since: datetime, keep: timedelta, now: datetime) -> bool:
    return since + keep <= now


def _takes_a_pull(there: Copy | None, home: Copy) -> bool:
    """Over nothing but nothing, a stub and an earlier source."""
    if there is None or there.state is CopyState.GONE:
        return True
    return there.state is CopyState.MOVED and there.pair <= home.pair
